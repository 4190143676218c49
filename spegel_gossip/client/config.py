"""How patient the client is, and how much it does at once."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.errors import ConfigError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Bounds on everything that a slow, failing or hostile registry could stretch."""

    blobs_at_once: int = 3
    """Blobs that move at the same time: docker's and containerd's own number."""

    attempts: int = 5
    """Failures in a row, without a byte of progress between them, that end it."""

    attempts_to_connect: int = 3
    """The same for connections that never came about: a mistyped port should be told of soon."""

    max_resumes: int = 100
    """Failures of one blob in all: a source that sends one byte a connection ends here."""

    first_delay: float = 0.5
    """Seconds before the second attempt, doubled for each further one."""

    max_delay: float = 15.0
    """Seconds between two attempts at most."""

    max_retry_after: float = 60.0
    """Seconds of a registry's Retry-After that are waited; for more, the person is told to come back."""

    connect_timeout: float = 10.0
    """Seconds for a connection, TLS included."""

    stall_timeout: float = 30.0
    """Seconds without a byte, in either direction, after which a connection is given up."""

    chunk_bytes: int = 16 * MIB
    """Bytes of one part of a chunked upload; some registries have a larger minimum, and say so."""

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ConfigError: a number that no attempt could be made with.
        """
        if min(self.blobs_at_once, self.attempts, self.attempts_to_connect, self.chunk_bytes) < 1:
            raise ConfigError(
                "blobs_at_once, attempts, attempts_to_connect and chunk_bytes must be at least 1"
            )
