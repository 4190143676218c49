"""Who this process is on the wire, and the keys derived from the cluster's."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from spegel_gossip.swim.names import name_hash
from spegel_gossip.wire.keyring import KEY_BYTES, Keyring

MAX_CIPHERS = 16_384
"""Derived ciphers kept: two uses and two boots of 4,000 members. One costs 10 us to derive again."""


COUNTER_START_BITS = 48


def first_counter() -> int:
    """Return where a counter that serves as nonce begins.

    At 0 a boot that came back (the clock set back, and a state directory that cannot be
    written) would use every nonce again under the same key. At random it would need
    two lives whose counters overlap, out of 2^48.
    """
    return secrets.randbits(COUNTER_START_BITS)


@dataclass(slots=True)
class Credentials:
    """What proves who we are; one object for all of the wire.

    `keyring` may be replaced while the process runs: everything derived is looked up
    by key, so the next datagram uses the new one.
    """

    name: str
    """Our member name."""

    boot: int
    """This life of the process (u64)."""

    cluster: str
    """The cluster's name; members of another are not listened to."""

    keyring: Keyring | None
    """None: plaintext mode, nothing is sealed or signed."""

    accepts_plaintext: bool = False
    """With a keyring: a cluster is on its way from plaintext to sealed, or back. Both are
    understood, and every peer is spoken to as it speaks, so that nobody is shut out."""

    ciphers: CipherCache = field(init=False)
    _sealing: dict[str, None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.ciphers = CipherCache(self.cluster)

    def seals_for(self, peer: str) -> bool:
        """Return whether what a peer gets is sealed and signed."""
        return self.keyring is not None and (not self.accepts_plaintext or peer in self._sealing)

    def heard(self, peer: str, *, sealed: bool) -> None:
        """Note how a peer speaks; counts only while both ways are accepted."""
        if not self.accepts_plaintext:
            return
        if not sealed:
            self._sealing.pop(peer, None)
        elif peer not in self._sealing:
            self._sealing[peer] = None
            if len(self._sealing) > MAX_CIPHERS:
                del self._sealing[next(iter(self._sealing))]

    @property
    def cluster_hash(self) -> int:
        """The cluster's name as 64 bits."""
        return name_hash(self.cluster)


class CipherCache:
    """Ciphers by (cluster key, sender, boot, use), derived with HKDF-SHA256.

    A key for each life of each sender, so that a counter can be the nonce and no
    nonce budget is ever spent (docs/security.md).
    """

    def __init__(self, cluster: str) -> None:
        self._info = cluster.encode()
        self._ciphers: dict[tuple[bytes, str, int, bytes], AESGCM] = {}

    def derive(self, key: bytes, *, name: str, boot: int, use: bytes = b"") -> AESGCM:
        """Return the cipher; it is remembered only by `keep`.

        Args:
            key: one of the cluster keys
            name: the sender's name
            boot: the sender's boot
            use: nothing for datagrams; another purpose gets another key
        """
        found = self._ciphers.get((key, name, boot, use))
        if found is not None:
            return found
        salt = name.encode() + boot.to_bytes(8, "big")
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, self._info + use).derive(key))

    def keep(self, cipher: AESGCM, key: bytes, *, name: str, boot: int, use: bytes = b"") -> None:
        """Remember a cipher that opened something.

        Only then, or anybody could fill the cache with names that do not exist.
        """
        self._ciphers.setdefault((key, name, boot, use), cipher)
        while len(self._ciphers) > MAX_CIPHERS:
            del self._ciphers[next(iter(self._ciphers))]
