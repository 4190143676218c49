"""How blob bytes share the loop, the disk and the patience of both sides."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpConfig:
    """Settings of the pump."""

    progress_timeout: float = 20.0
    """Seconds without any progress after which a transfer is given up.

    Well below containerd's own patience (1 to 5 minutes, and none in 1.6).
    """

    max_turn: int = 1 << 20
    """Bytes one transfer moves at most before others get the loop."""

    min_turn: int = 64 << 10
    """Bytes it may move however many others there are; less costs more in turns than in bytes."""

    turn_budget: int = 8 << 20
    """Bytes shared out among the active transfers per round.

    Measured with 64 transfers: 1 MiB turns make the loop 60 ms late; 128 KiB turns 5 to 8 ms, for three
    quarters of the CPU of 64 KiB turns; 256 KiB turns save little more and make it twice as late.
    """

    disk_threads: int = 8
    """Worker threads that may wait for the disk at once."""

    drop_cache_above: int | None = None
    """Bytes from which on a file's pages are dropped from the page cache once sent; None for never."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.progress_timeout <= 0:
            raise ConfigError(f"progress_timeout must be > 0 seconds, got {self.progress_timeout}")
        if not 0 < self.min_turn <= self.max_turn:
            raise ConfigError(f"0 < min_turn <= max_turn must hold, got {self.min_turn} and {self.max_turn}")
        if self.turn_budget < self.min_turn:
            raise ConfigError(f"turn_budget must be at least min_turn, got {self.turn_budget}")
        if self.drop_cache_above is not None and self.drop_cache_above < 0:
            raise ConfigError(f"drop_cache_above must not be negative, got {self.drop_cache_above}")
        if self.disk_threads < 1:
            raise ConfigError(f"disk_threads must be at least 1, got {self.disk_threads}")
