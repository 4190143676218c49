"""Where containerd is, and how patiently it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spegel_gossip.errors import ConfigError

CONTENT_PLUGIN = "io.containerd.content.v1.content"
"""The directory of the content store beneath containerd's root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerdConfig:
    """The containerd of this node."""

    address: Path = Path("/run/containerd/containerd.sock")
    """containerd's socket. In a pod its *directory* is mounted, so that a restarted containerd is found."""

    namespace: str = "k8s.io"
    """The namespace whose images are shared; the kubelet's is k8s.io."""

    root: Path = Path("/var/lib/containerd")
    """containerd's own root; blobs are read from the content store beneath it."""

    call_timeout: float = 5.0
    """Seconds for one small call. containerd answers in 1 ms; longer than this it is hung."""

    list_timeout: float = 30.0
    """Seconds for a call that answers with everything there is, and for reading bytes by gRPC."""

    ping_interval: float = 10.0
    """Seconds between signs of life asked of a connected containerd: a hung one closes nothing."""

    reconcile_interval: float = 300.0
    """Seconds between two full comparisons; what no event told is noticed then."""

    min_retry_interval: float = 0.1
    """Seconds before the first new attempt after containerd was lost; doubles each time."""

    max_retry_interval: float = 10.0
    """Seconds between attempts while containerd stays away; it is retried for ever."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: naming the flag and the remedy.
        """
        if not self.address.is_absolute():
            raise ConfigError(
                f"--containerd-address {self.address}: give the absolute path of containerd's socket"
            )
        if not self.root.is_absolute():
            raise ConfigError(f"--containerd-root {self.root}: give the absolute path of containerd's root")
        if not self.namespace or not all(c.isalnum() or c in "._-" for c in self.namespace):
            raise ConfigError(
                f"--containerd-namespace {self.namespace!r}: use letters, digits, '.', '_' and '-' (k8s.io)"
            )
