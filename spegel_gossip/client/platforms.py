"""Which manifest of an index is meant: the choice of a platform, and this machine's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.manifest import IndexEntry, Platform

_MACHINES = {
    "x86_64": Platform("linux", "amd64"),
    "aarch64": Platform("linux", "arm64"),
    "arm64": Platform("linux", "arm64"),
    "armv7l": Platform("linux", "arm", "v7"),
    "armv6l": Platform("linux", "arm", "v6"),
    "i686": Platform("linux", "386"),
    "ppc64le": Platform("linux", "ppc64le"),
    "riscv64": Platform("linux", "riscv64"),
    "s390x": Platform("linux", "s390x"),
}
"""What the kernel calls a machine, and what Go and so every image does."""

_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_IMPLIED_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
"""What an architecture without a variant stands for (containerd's normalisation)."""


def platform_of_machine(machine: str) -> Platform:
    """Return the platform of a Linux machine by what `uname -m` says of it.

    Raises:
        ConfigError: no image is named after such a machine as far as is known here.
    """
    try:
        return _MACHINES[machine]
    except KeyError:
        raise ConfigError(
            f"--platform: this machine is {machine!r}: say which images it runs, as os/arch"
        ) from None


def parse_platform(text: str) -> Platform:
    """Parse `os/arch` or `os/arch/variant`.

    Raises:
        ConfigError: it is neither.
    """
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(_PART.fullmatch(part) for part in parts):
        raise ConfigError(f"--platform: {text!r} is not os/arch[/variant]: give one such as linux/arm64")
    return Platform(*parts)


def choose(entries: Sequence[IndexEntry], wanted: Platform) -> IndexEntry | None:
    """Return the entry of an index to run on `wanted`, or None if there is none.

    The best variant that the machine runs, the first of equals: an ARM of one generation
    runs code for the generations before it, and so does an x86-64 level.
    """
    usable = [
        (rank, -position, entry)
        for position, entry in enumerate(entries)
        if not entry.is_attestation
        and entry.platform is not None
        and (rank := _rank(entry.platform, wanted)) is not None
    ]
    return max(usable, key=lambda one: one[:2])[2] if usable else None


def _rank(offered: Platform, wanted: Platform) -> int | None:
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    have, want = _variant(offered), _variant(wanted)
    if have == want:
        # The very thing, before any number that a variant may stand for.
        return 1_000
    have_level, want_level = _level(have), _level(want)
    if have_level is None or want_level is None or have_level > want_level:
        return None
    return have_level


def _variant(platform: Platform) -> str:
    return platform.variant or _IMPLIED_VARIANTS.get(platform.architecture, "")


def _level(variant: str) -> int | None:
    digits = variant.removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 3 else None
