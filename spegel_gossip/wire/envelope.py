"""What surrounds the body of a datagram: who sends, to whom, sealed.

    clear header   version u8 (0 plaintext, 1 sealed), sender's name (u8 length,
                   UTF-8), boot u64, counter u64
    inner          cluster hash u64, target's name hash u64 (0: whoever listens
                   here), kind u8, body

The inner part is sealed with AES-256-GCM; the clear header is its associated data
and the counter its nonce, under a key derived for this life of the sender. All
numbers are big-endian. The target is named because addresses are used again: a
ping for the pod that had this address yesterday must not be answered.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spegel_gossip.swim.names import MAX_NAME_BYTES, name_hash
from spegel_gossip.wire.credentials import Credentials, first_counter
from spegel_gossip.wire.errors import EnvelopeError
from spegel_gossip.wire.kinds import DatagramKind
from spegel_gossip.wire.replay import ReplayGuard

MAX_DATAGRAM = 1200
"""Bytes of a whole datagram: passes every overlay network unfragmented (QUIC's choice, RFC 9000 14.1)."""

PLAINTEXT = 0
SEALED = 1
ANYBODY = 0
"""The target hash of a datagram for whoever listens: gossip to a seed whose name is not known."""

TAG_BYTES = 16
_LIFE = struct.Struct("!QQ")  # boot, counter
_INNER = struct.Struct("!QQB")  # cluster, target, kind


@dataclass(frozen=True, slots=True)
class Opened:
    """A datagram that is authentic and for us."""

    name: str
    boot: int
    kind: int
    """A `DatagramKind`, or a number of a newer release."""

    body: bytes


class Envelope:
    """Seals what we send and opens what arrives."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._replays = ReplayGuard()
        self._counter = first_counter()
        self._name = credentials.name.encode()
        self._name_hash = name_hash(credentials.name)
        self.max_body = MAX_DATAGRAM - (2 + len(self._name) + _LIFE.size + _INNER.size + TAG_BYTES)
        """Bytes of a body that fit into a datagram of ours; the same sealed and in clear."""

    def seal(self, kind: DatagramKind, body: bytes, *, target: str) -> bytes:
        """Return the datagram.

        Args:
            kind: what the body is about
            body: at most `max_body` bytes
            target: the member it is for; empty for whoever listens

        Raises:
            ValueError: the body is too long.
        """
        if len(body) > self.max_body:
            raise ValueError(f"a body of {len(body)} bytes; {self.max_body} fit")
        mine = self._credentials
        self._counter += 1
        is_sealed = mine.seals_for(target)
        version = SEALED if is_sealed else PLAINTEXT
        header = bytes((version, len(self._name))) + self._name + _LIFE.pack(mine.boot, self._counter)
        inner = _INNER.pack(mine.cluster_hash, name_hash(target) if target else ANYBODY, kind) + body
        if mine.keyring is None or not is_sealed:
            return header + inner
        key = mine.keyring.primary
        cipher = mine.ciphers.derive(key, name=mine.name, boot=mine.boot)
        mine.ciphers.keep(cipher, key, name=mine.name, boot=mine.boot)
        return header + cipher.encrypt(_nonce(self._counter), inner, header)

    def open_untrusted(self, data: bytes) -> Opened:
        """Return what a datagram holds.

        Raises:
            EnvelopeError: for everything that is not an authentic, new datagram for us.
        """
        version, name, boot, counter, inner_at = _parse_header_untrusted(data)
        mine = self._credentials
        if version == SEALED:
            inner = self._decrypt_untrusted(data, inner_at, name=name, boot=boot, counter=counter)
        elif mine.keyring is not None and not mine.accepts_plaintext:
            raise EnvelopeError("unsealed")
        else:
            inner = data[inner_at:]
        if len(inner) < _INNER.size:
            raise EnvelopeError("garbage")
        cluster, target, kind = _INNER.unpack_from(inner)
        if cluster != mine.cluster_hash:
            raise EnvelopeError("cluster")
        if target != self._name_hash and not (target == ANYBODY and kind == DatagramKind.GOSSIP):
            raise EnvelopeError("target")
        # In plaintext mode a window would only help an attacker: one forged counter
        # far ahead would silence the real sender.
        if version == SEALED and not self._replays.accept(name, boot, counter):
            raise EnvelopeError("replay")
        mine.heard(name, sealed=version == SEALED)
        return Opened(name=name, boot=boot, kind=kind, body=inner[_INNER.size :])

    def _decrypt_untrusted(self, data: bytes, inner_at: int, *, name: str, boot: int, counter: int) -> bytes:
        mine = self._credentials
        if mine.keyring is None:
            raise EnvelopeError("sealed")
        header, sealed = data[:inner_at], data[inner_at:]
        for key in mine.keyring.keys:
            cipher = mine.ciphers.derive(key, name=name, boot=boot)
            inner = _try_key(cipher, counter, sealed, header)
            if inner is not None:
                mine.ciphers.keep(cipher, key, name=name, boot=boot)
                return inner
        raise EnvelopeError("key")


def _try_key(cipher: AESGCM, counter: int, sealed: bytes, header: bytes) -> bytes | None:
    try:
        return cipher.decrypt(_nonce(counter), sealed, header)
    except InvalidTag:
        return None


def _parse_header_untrusted(data: bytes) -> tuple[int, str, int, int, int]:
    """Return version, name, boot, counter and where the inner part begins."""
    if len(data) < 2 or len(data) > MAX_DATAGRAM:
        raise EnvelopeError("garbage")
    version, name_bytes = data[0], data[1]
    if version not in {PLAINTEXT, SEALED}:
        raise EnvelopeError("version")
    inner_at = 2 + name_bytes + _LIFE.size
    if not 0 < name_bytes <= MAX_NAME_BYTES or len(data) < inner_at:
        raise EnvelopeError("garbage")
    try:
        name = data[2 : 2 + name_bytes].decode()
    except UnicodeDecodeError as exc:
        raise EnvelopeError("garbage") from exc
    boot, counter = _LIFE.unpack_from(data, 2 + name_bytes)
    return version, name, boot, counter, inner_at


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")
