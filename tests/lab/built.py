"""The container image that scripts/image has written."""

import platform
from pathlib import Path

from lab.absent import not_run
from spegel_gossip.version import __version__

_DIST = Path(__file__).resolve().parents[2] / "dist"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def image_archive() -> Path:
    """The OCI archive for this machine's processor; the test is not run where there is none."""
    path = _DIST / f"spegel-gossip-{__version__}-{_ARCHITECTURES[platform.machine()]}.tar"
    if not path.exists():
        not_run(f"there is no {path}: scripts/image builds it")
    return path
