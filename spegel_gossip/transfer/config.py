"""How hard a node tries its holders, and how much it gives to others."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfig:
    """Settings of the transfers between nodes."""

    first_byte_timeout: float = 2.0
    """Seconds for a holder's answer to begin, connecting included; after it the next one is asked."""

    stall_timeout: float = 2.0
    """Seconds without a byte, or with hardly any, from a holder that has the whole blob; after it the next
    one goes on."""

    answer_timeout: float = 20.0
    """Seconds for finding a source at all; after it containerd is told to ask upstream.

    Well below its own patience (1 to 5 minutes, and none in 1.6).
    """

    slow_timeout: float = 10.0
    """Seconds of waiting for a slow source after which its pace is judged."""

    slow_fraction: float = 0.125
    """Of the usual rate (the median of recent transfers): below it another source is looked for."""

    min_rate: int = 16 << 10
    """Bytes a second below which a source counts as silent: after the stall timeout where there is another,
    after the slow timeout whether or not there is."""

    max_sources: int = 5
    """Holders tried for one request. containerd asks again, and upstream after that."""

    max_uploads: int = 256
    """Blobs sent at once; who asks for one more is told to go elsewhere."""

    max_partial_uploads: int = 8
    """Growing copies sent at once, of all blobs; who asks for one more is named those who read them."""

    upload_rate: int | None = None
    """Bytes a second sent to other nodes, all together; None for as many as the network takes."""

    manifest_cache_bytes: int = 16 << 20
    """Verified manifests kept in memory. All of containerd ask for the same few in one roll-out."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in ("first_byte_timeout", "stall_timeout", "answer_timeout", "slow_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be > 0 seconds, got {getattr(self, name)}")
        if self.upload_rate is not None and self.upload_rate < 1:
            raise ConfigError(f"upload_rate must be at least 1 byte a second, got {self.upload_rate}")
        if not 0 <= self.slow_fraction < 1:
            raise ConfigError(f"slow_fraction must be in [0, 1), got {self.slow_fraction}")
        if self.min_rate < 0:
            raise ConfigError(f"min_rate must not be negative, got {self.min_rate}")
        for name in ("max_sources", "max_uploads", "max_partial_uploads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.manifest_cache_bytes < 0:
            raise ConfigError(f"manifest_cache_bytes must not be negative, got {self.manifest_cache_bytes}")
