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

    min_upload_rate: int = 64 << 10
    """Bytes a second left for each upload under `upload_rate`: where it is too low for `max_uploads`, fewer
    are sent at once. Four times what a reader finds too little."""

    manifest_cache_bytes: int = 16 << 20
    """Verified manifests kept in memory. All of containerd ask for the same few in one roll-out."""

    @property
    def uploads_at_once(self) -> int:
        """Blobs sent at once: no more than the upload rate has enough for."""
        if self.upload_rate is None:
            return self.max_uploads
        return min(self.max_uploads, self.upload_rate // self.min_upload_rate)

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name in ("first_byte_timeout", "stall_timeout", "answer_timeout", "slow_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be > 0 seconds, got {getattr(self, name)}")
        if self.min_upload_rate < 1:
            raise ConfigError(f"min_upload_rate must be at least 1 byte a second, got {self.min_upload_rate}")
        if self.upload_rate is not None and self.upload_rate < self.min_upload_rate:
            raise ConfigError(
                f"an upload limit of {self.upload_rate} bytes a second is too low for a single upload, which "
                f"every reader would give up: give at least {self.min_upload_rate >> 10}KiB"
            )
        if not 0 <= self.slow_fraction < 1:
            raise ConfigError(f"slow_fraction must be in [0, 1), got {self.slow_fraction}")
        if self.min_rate < 0:
            raise ConfigError(f"min_rate must not be negative, got {self.min_rate}")
        for name in ("max_sources", "max_uploads", "max_partial_uploads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.manifest_cache_bytes < 0:
            raise ConfigError(f"manifest_cache_bytes must not be negative, got {self.manifest_cache_bytes}")
