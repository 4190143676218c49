"""What of the tags survives a restart: when upstream said what, and what was purged.

Without it every image found at the start would be of unknown age, and a policy of
`fresh:` would send the whole cluster to the registry after each roll-out of this program.
One small JSON file, replaced whole. It is a convenience: one that is missing, damaged or
cannot be written costs a warning and no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from spegel_gossip.durable import replace_file
from spegel_gossip.lookup.tags import MAX_ANSWERS, TagObservations
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidReferenceError
from spegel_gossip.oci.reference import TagName

log = structlog.get_logger(__name__)

FILE_NAME: Final = "tags.json"
MAX_FILE_BYTES: Final = 8 * 1024 * 1024
"""4,096 observations and as many purges, with the longest names there are."""

SAVE_INTERVAL: Final = 2.0
"""Seconds a change waits for others before it is written."""


class TagMemory:
    """The file, and when to write it."""

    def __init__(self, state_dir: Path | None, tags: TagObservations) -> None:
        """Read the file, if there is one, into `tags`."""
        self._path = None if state_dir is None else state_dir / FILE_NAME
        self._tags = tags
        self._changed = trio.Event()
        self._is_writable = True
        self.purged: dict[TagName, int] = {}
        """The purges that were in force when it was written, and up to when each, in milliseconds."""
        if self._path is not None:
            self._load(self._path)

    def changed(self) -> None:
        """Have the file written soon."""
        self._changed.set()

    async def run(self, purges: Callable[[], Mapping[TagName, int]]) -> None:
        """Write the file whenever something changed, until cancelled."""
        while self._path is not None:
            await self._changed.wait()
            await trio.sleep(SAVE_INTERVAL)
            self._changed = trio.Event()
            content = self._encode(purges())
            await trio.to_thread.run_sync(self._write, self._path, content)

    def save(self, purges: Mapping[TagName, int]) -> None:
        """Write the file now, if anything changed; blocks for the disk, at the very end."""
        if self._path is not None and self._changed.is_set():
            self._write(self._path, self._encode(purges))

    def _encode(self, purges: Mapping[TagName, int]) -> bytes:
        observed = [[str(name), str(digest), at] for name, (digest, at) in self._tags.observed.items()]
        return json.dumps(
            {"observed": observed, "purged": [[str(name), at_ms] for name, at_ms in purges.items()]}
        ).encode()

    def _write(self, path: Path, content: bytes) -> None:
        try:
            replace_file(path, content)
        except OSError as exc:
            if self._is_writable:
                log.warning(
                    "observations of tags cannot be remembered: after a restart their age is unknown",
                    path=str(path),
                    reason=exc.strerror,
                )
            self._is_writable = False
        else:
            self._is_writable = True

    def _load(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                observed, purged = _parse_untrusted(file.read(MAX_FILE_BYTES))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as exc:
            log.warning(
                "remembered observations of tags cannot be read, starting without",
                path=str(path),
                reason=str(exc),
            )
            return
        self.purged = purged
        for name, digest, at in observed:
            self._tags.recall(name, digest, at)


def _parse_untrusted(data: bytes) -> tuple[list[tuple[TagName, Digest, float]], dict[TagName, int]]:
    """Return observations and purges.

    Raises:
        ValueError: the file is not one of ours, or damaged.
    """
    try:
        content: Any = json.loads(data)
        observed = [
            (TagName.parse(name), Digest.parse(digest), float(at))
            for name, digest, at in content["observed"][:MAX_ANSWERS]
        ]
        purged = {TagName.parse(name): int(at_ms) for name, at_ms in content["purged"][:MAX_ANSWERS]}
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as exc:
        raise ValueError(f"not a file of remembered tags: {exc!r}") from exc
    except (InvalidReferenceError, InvalidDigestError) as exc:
        raise ValueError(f"not a file of remembered tags: {exc}") from exc
    return observed, purged
