"""Sealed bodies of requests and answers: push-pull and the directory.

    version u8 (1), boot u64, counter u64, AES-256-GCM of the body

Like a datagram's, the key belongs to one life of the sender and the counter is the
nonce; it is another key, since it is another counter. The associated data names the
request, so that an answer cannot be passed off as the answer to another question.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag

from spegel_gossip.errors import DecodeError
from spegel_gossip.wire.credentials import Credentials, first_counter

BODY_VERSION = 1
USE = b"\0bodies"
_HEADER = struct.Struct("!BQQ")  # version, boot, counter


class BodySealer:
    """Seals and opens HTTP bodies; one for all connections of the process."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._counter = first_counter()

    @property
    def has_key(self) -> bool:
        """Whether bodies are sealed at all: not in plaintext mode."""
        return self._credentials.keyring is not None

    @property
    def accepts_plaintext(self) -> bool:
        """Whether bodies may also be in clear: a peer that cannot seal could not open them."""
        return self._credentials.accepts_plaintext

    def seal(self, body: bytes, *, context: str) -> bytes:
        """Return the body as it travels.

        Args:
            body: anything
            context: what it belongs to; needed again to open it
        """
        mine = self._credentials
        if mine.keyring is None:
            raise RuntimeError("nothing is sealed without a key")
        self._counter += 1
        key = mine.keyring.primary
        cipher = mine.ciphers.derive(key, name=mine.name, boot=mine.boot, use=USE)
        mine.ciphers.keep(cipher, key, name=mine.name, boot=mine.boot, use=USE)
        header = _HEADER.pack(BODY_VERSION, mine.boot, self._counter)
        return header + cipher.encrypt(self._counter.to_bytes(12, "big"), body, header + context.encode())

    def open_untrusted(self, data: bytes, *, sender: str, context: str) -> bytes:
        """Return the body of what `sender` sealed.

        Raises:
            DecodeError: it did not, or not in this context.
        """
        mine = self._credentials
        if mine.keyring is None:
            raise DecodeError("a sealed body, and no key to open it")
        if len(data) < _HEADER.size or data[0] != BODY_VERSION:
            raise DecodeError("no sealed body")
        _, boot, counter = _HEADER.unpack_from(data)
        header, sealed = data[: _HEADER.size], data[_HEADER.size :]
        for key in mine.keyring.keys:
            cipher = mine.ciphers.derive(key, name=sender, boot=boot, use=USE)
            try:
                body = cipher.decrypt(counter.to_bytes(12, "big"), sealed, header + context.encode())
            except InvalidTag:
                continue
            mine.ciphers.keep(cipher, key, name=sender, boot=boot, use=USE)
            return body
        raise DecodeError(f"the body from {sender} does not open")


def request_context(nonce: str) -> str:
    """Return what the body of the request with that nonce is bound to."""
    return f"request {nonce}"


def answer_context(nonce: str, status: int) -> str:
    """Return what the body of the answer to that request is bound to."""
    return f"answer {nonce} {status}"
