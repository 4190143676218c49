"""Whether a request that arrived may be served."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.swim.names import MAX_NAME_BYTES
from spegel_gossip.wire import signing
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.nonces import NonceMemory, Verdict

SKEW_WINDOW = 30.0
"""Seconds a request's time may be off ours, either way."""

NAMELESS_PREFIX = "/gossip/"
"""Only gossip may be sent to whoever listens at an address: nobody else talks to strangers."""

_NONCE_DIGITS = 32


class RequestRefusedError(SpegelGossipError):
    """A request that must not be served.

    `reason` is one of a fixed few, for the metrics; the peer is told no more than
    the status, except the time where that is what it lacks.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        super().__init__(f"refused with {status}: {reason}")


class RequestVerifier:
    """Checks the head of each request, before its body is read."""

    def __init__(self, credentials: Credentials, clock: Callable[[], float]) -> None:
        """Take the clock as unix seconds."""
        self._credentials = credentials
        self._clock = clock
        self._nonces = NonceMemory()

    def check(self, method: str, target: str, headers: Mapping[str, str]) -> str:
        """Return the name of the member who sent a request.

        Raises:
            RequestRefusedError: it is not signed, for somebody else, too old, a replay, or cannot be
                remembered.
        """
        mine = self._credentials
        is_signed = signing.SIGNATURE in headers
        if mine.keyring is not None and (is_signed or not mine.accepts_plaintext):
            self._check_signature(mine.keyring, method, target, headers)
        if headers.get(signing.CLUSTER) != f"{mine.cluster_hash:016x}":
            raise RequestRefusedError(403, "cluster")
        recipient = signing.decode_name(headers.get(signing.RECIPIENT, ""))
        if recipient != mine.name and not (recipient == "" and target.startswith(NAMELESS_PREFIX)):
            raise RequestRefusedError(403, "recipient")
        sender = signing.decode_name(headers.get(signing.SENDER, ""))
        if not 0 < len(sender.encode()) <= MAX_NAME_BYTES:
            raise RequestRefusedError(403, "sender")
        mine.heard(sender, sealed=is_signed)
        return sender

    def _check_signature(
        self, keyring: Keyring, method: str, target: str, headers: Mapping[str, str]
    ) -> None:
        cluster = self._credentials.cluster
        key = signing.signing_key_of_request(keyring, cluster, method, target, headers)
        if key is None:
            raise RequestRefusedError(401, "signature" if signing.SIGNATURE in headers else "unsigned")
        nonce, time_ms = headers.get(signing.NONCE, ""), headers.get(signing.TIME, "")
        if len(nonce) != _NONCE_DIGITS or not (
            time_ms.isdecimal() and len(time_ms) <= signing.MAX_TIME_DIGITS
        ):
            raise RequestRefusedError(401, "form")
        now = self._clock()
        sent_at = int(time_ms) / 1000
        if abs(sent_at - now) > SKEW_WINDOW:
            # Only to holders of the key, and signed together with their nonce: nobody
            # else can move a peer's idea of our clock.
            ours = str(round(now * 1000))
            raise RequestRefusedError(
                401,
                "skew",
                {signing.TIME: ours, signing.SIGNATURE: signing.sign_time(key, cluster, nonce, ours)},
            )
        sender = headers.get(signing.SENDER, "")
        verdict = self._nonces.accept(nonce, sender=sender, expires_at=sent_at + SKEW_WINDOW, now=now)
        if verdict is Verdict.SEEN:
            raise RequestRefusedError(401, "replay")
        if verdict is Verdict.NO_ROOM:
            raise RequestRefusedError(503, "nonces_full")
