"""Signatures of requests: what is signed, in which order, under which key.

Everything that can change what a request means is signed: method, target, Range,
and every `Spegel-Gossip-` header, among them sender, recipient, cluster, time,
nonce and the body's hash. The recipient keeps a recorded request from working
elsewhere, time and nonce from working twice.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, unquote

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from spegel_gossip.wire.keyring import KEY_BYTES, MAX_KEYS, Keyring

PREFIX = "spegel-gossip-"
CLUSTER = PREFIX + "cluster"  # the cluster's name hash, 16 hex digits
SENDER = PREFIX + "sender"  # percent-encoded
RECIPIENT = PREFIX + "recipient"  # percent-encoded; empty: whoever listens there
TIME = PREFIX + "time"  # unix milliseconds, by the recipient's clock as far as known
NONCE = PREFIX + "nonce"  # 32 hex digits
BODY_HASH = PREFIX + "body-sha256"  # hex, of the body as it travels; absent: no body
SEALED = PREFIX + "sealed"  # "1": the body is sealed, and the answer's must be
SIGNATURE = PREFIX + "signature"  # hex

MAX_TIME_DIGITS = 16
EMPTY_BODY_HASH = sha256(b"").hexdigest()


def encode_name(name: str) -> str:
    """Return a member's name as a header value."""
    return quote(name, safe="")


def decode_name(value: str) -> str:
    """Return the member's name in a header value."""
    return unquote(value)


def sign_request(key: bytes, cluster: str, method: str, target: str, headers: Mapping[str, str]) -> str:
    """Return the signature of a request.

    Args:
        key: a cluster key
        cluster: the cluster's name
        method: in capitals
        target: path and query as they travel
        headers: all headers by lower-case name; those that are not signed are ignored
    """
    signed = sorted(
        f"{name}:{value}"
        for name, value in headers.items()
        if name == "range" or (name.startswith(PREFIX) and name != SIGNATURE)
    )
    return _mac(key, cluster, "request", method, target, *signed)


def sign_time(key: bytes, cluster: str, nonce: str, time_ms: str) -> str:
    """Return the signature of a server's clock, as the answer to the request with that nonce."""
    return _mac(key, cluster, "time", nonce, time_ms)


def signing_key_of_request(
    keyring: Keyring, cluster: str, method: str, target: str, headers: Mapping[str, str]
) -> bytes | None:
    """Return the cluster key under which a request is signed, or None."""
    signature = headers.get(SIGNATURE, "").encode()
    for key in keyring.keys:
        if hmac.compare_digest(signature, sign_request(key, cluster, method, target, headers).encode()):
            return key
    return None


def is_signed_time(keyring: Keyring, cluster: str, nonce: str, time_ms: str, signature: str) -> bool:
    """Return whether a member of the cluster said so."""
    return any(
        hmac.compare_digest(signature.encode(), sign_time(key, cluster, nonce, time_ms).encode())
        for key in keyring.keys
    )


def _mac(key: bytes, cluster: str, *lines: str) -> str:
    # Header values, targets and methods hold no newline: h11 refuses them.
    return hmac.new(_signing_key(key, cluster), "\n".join(lines).encode(), sha256).hexdigest()


@lru_cache(maxsize=4 * MAX_KEYS)
def _signing_key(key: bytes, cluster: str) -> bytes:
    # Not the cluster key itself: that one only ever feeds the derivation.
    return HKDF(SHA256(), KEY_BYTES, None, b"signing\0" + cluster.encode()).derive(key)
