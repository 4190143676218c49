"""A request before it is sent, and how it is signed for one attempt."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import h11
import structlog

from spegel_gossip.routing import Peer
from spegel_gossip.wire import metrics, signing
from spegel_gossip.wire.bodies import BodySealer, request_context
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.response import MAX_HEAD_BYTES, PeerResponse

log = structlog.get_logger(__name__)

MAX_REMEMBERED = 8192
"""Peers of whom something is remembered: the clock's offset, the address that works."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask of whom."""

    to: Peer
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    is_sealed: bool
    """Whether both bodies are to be sealed, if there is a key."""

    @property
    def peer(self) -> str:
        """How to call the peer in errors and tables: its name, or a nameless seed's address."""
        return self.to.name or ", ".join(str(address) for address in self.to.addresses) or "nobody"


class Signer:
    """Signs each attempt with a new nonce and the time as its recipient's clock has it."""

    def __init__(self, credentials: Credentials, sealer: BodySealer, clock: Callable[[], float]) -> None:
        self._credentials = credentials
        self._sealer = sealer
        self._clock = clock
        self._offsets: dict[str, float] = {}

    def sign(self, question: Question) -> tuple[str, h11.Connection, bytes]:
        """Return the nonce, h11's connection for the answer, and the bytes to send."""
        mine = self._credentials
        nonce = secrets.token_hex(16)
        body = question.body
        is_signed = mine.seals_for(question.peer)
        is_sealed = question.is_sealed and is_signed
        if is_sealed and body:
            body = self._sealer.seal(body, context=request_context(nonce))
        now = self._clock() + self._offsets.get(question.peer, 0.0)
        headers = {name.lower(): value for name, value in question.headers.items()}
        headers |= {
            "host": signing.encode_name(question.to.name) or "seed",
            signing.CLUSTER: f"{mine.cluster_hash:016x}",
            signing.SENDER: signing.encode_name(mine.name),
            signing.RECIPIENT: signing.encode_name(question.to.name),
            signing.TIME: str(round(now * 1000)),
            signing.NONCE: nonce,
        }
        if is_sealed:
            headers[signing.SEALED] = "1"
        if body:
            headers[signing.BODY_HASH] = sha256(body).hexdigest()
            headers["content-length"] = str(len(body))
        if mine.keyring is not None and is_signed:
            headers[signing.SIGNATURE] = signing.sign_request(
                mine.keyring.primary, mine.cluster, question.method, question.path, headers
            )
        return nonce, *_render(question, headers, body)

    def signs(self, question: Question) -> bool:
        """Return whether a request is signed, as we know its recipient now."""
        return self._credentials.seals_for(question.peer)

    def learn_mode(self, question: Question, *, was_signed: bool) -> bool:
        """Speak to a peer that refused us the other way from now on; False if there is only one way."""
        mine = self._credentials
        if mine.keyring is None or not mine.accepts_plaintext:
            return False
        # What it said meanwhile may have taught us already, so the refused way counts.
        mine.heard(question.peer, sealed=not was_signed)
        return True

    def set_clock_offset(self, peer: str, seconds: float) -> None:
        """Take in by how much a member's clock is ahead of ours."""
        remember(self._offsets, peer, seconds)

    def learn_clock(self, question: Question, response: PeerResponse) -> bool:
        """Take over the recipient's time from a refusal; False if it did not prove one."""
        mine = self._credentials
        time_ms = response.headers.get(signing.TIME, "")
        signature = response.headers.get(signing.SIGNATURE, "")
        if mine.keyring is None or not (time_ms.isdecimal() and len(time_ms) <= signing.MAX_TIME_DIGITS):
            return False
        if not signing.is_signed_time(mine.keyring, mine.cluster, response.nonce, time_ms, signature):
            return False
        offset = int(time_ms) / 1000 - self._clock()
        self.set_clock_offset(question.peer, offset)
        metrics.CLOCKS_CORRECTED.inc()
        log.warning(
            "the clock of a member is off from ours, which is allowed for: set both by NTP",
            peer=question.peer,
            seconds=round(offset),
        )
        return True


def remember(table: dict[str, T], key: str, value: T) -> None:
    """Put into a bounded table, forgetting what was put there first."""
    table.pop(key, None)
    table[key] = value
    if len(table) > MAX_REMEMBERED:
        del table[next(iter(table))]


def _render(question: Question, headers: Mapping[str, str], body: bytes) -> tuple[h11.Connection, bytes]:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    events: list[h11.Event] = [
        h11.Request(method=question.method, target=question.path, headers=list(headers.items()))
    ]
    if body:
        events.append(h11.Data(data=body))
    events.append(h11.EndOfMessage())
    return connection, b"".join(connection.send(event) or b"" for event in events)
