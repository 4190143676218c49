"""What survives a restart: our last boot, and where members were.

One small JSON file in the state directory, replaced whole. It is a convenience: a
file that is missing, damaged or cannot be written costs a warning, and the node
goes on with its clock and its seeds.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import structlog

from spegel_gossip.durable import replace_file
from spegel_gossip.errors import ConfigError
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import INCARNATION_LIMIT

log = structlog.get_logger(__name__)

FILE_NAME = "members.json"
MAX_ADDRESSES = 256
"""Of any cluster that many are more than enough to find it again."""

MAX_FILE_BYTES = 256 * 1024


class MemberMemory:
    """The remembered boot and addresses, and their file."""

    def __init__(self, state_dir: Path) -> None:
        """Read the file, if there is one."""
        self._path = state_dir / FILE_NAME
        self._is_writable = True
        # The loop writes a boot and a thread the addresses, through the same temporary file.
        self._writing = threading.Lock()
        self.boot = 0
        self.addresses: tuple[Address, ...] = ()
        try:
            with self._path.open("rb") as file:
                self.boot, self.addresses = _parse_untrusted(file.read(MAX_FILE_BYTES))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as exc:
            log.warning(
                "remembered members cannot be read, starting without", path=str(self._path), reason=str(exc)
            )

    def next_boot(self, now: float) -> int:
        """Return the number of the life that begins, and remember it before it is used.

        Args:
            now: unix seconds
        """
        self.remember_boot(max(round(now * 1000), self.boot + 1))
        return self.boot

    def remember_boot(self, boot: int) -> None:
        """Keep a boot, so that the next life's is higher even if the clock goes back."""
        self.boot = boot
        self._write()

    def remember(self, addresses: Sequence[Address]) -> None:
        """Keep addresses of members; blocks for the disk, so call it from a thread."""
        self.addresses = tuple(addresses[:MAX_ADDRESSES])
        self._write()

    def _write(self) -> None:
        with self._writing:
            self._write_alone()

    def _write_alone(self) -> None:
        # Read in here: who writes last writes what is newest of both.
        content = {"boot": self.boot, "addresses": [[one.host, one.port] for one in self.addresses]}
        try:
            replace_file(self._path, json.dumps(content).encode())
        except OSError as exc:
            if self._is_writable:
                log.warning(
                    "members cannot be remembered: after a restart this node needs its seeds again",
                    path=str(self._path),
                    reason=exc.strerror,
                )
            self._is_writable = False
        else:
            self._is_writable = True


def _parse_untrusted(data: bytes) -> tuple[int, tuple[Address, ...]]:
    """Return boot and addresses.

    Raises:
        ValueError: the file is not one of ours, or damaged.
    """
    try:
        content = json.loads(data)
        boot = content["boot"]
        addresses = tuple(Address.make(host, port) for host, port in content["addresses"][:MAX_ADDRESSES])
    except (KeyError, TypeError, AttributeError, RecursionError, ConfigError) as exc:
        raise ValueError(f"not a file of remembered members: {exc!r}") from exc
    if not isinstance(boot, int) or not 0 <= boot < INCARNATION_LIMIT - 1:
        raise ValueError("not a file of remembered members: its boot is no boot")
    return boot, addresses
