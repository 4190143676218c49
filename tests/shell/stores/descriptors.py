"""Which files this process has open, of one test: others may leave some to the garbage collector."""

from contextlib import suppress
from pathlib import Path


def descriptors_below(directory: Path) -> int:
    """Return how many of this process's descriptors are of what is, or was, in a directory."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        # The one that lists them is gone by now.
        with suppress(FileNotFoundError):
            count += str(descriptor.readlink()).startswith(f"{directory}/")
    return count
