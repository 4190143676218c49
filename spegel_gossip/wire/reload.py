"""The keyring file, read again when it changes: keys are replaced without a restart."""

from __future__ import annotations

from pathlib import Path

import structlog
import trio

from spegel_gossip.errors import ConfigError
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import Keyring, load_keyring

log = structlog.get_logger(__name__)

LOOK_INTERVAL = 10.0
"""Seconds between two looks. The kubelet brings a changed secret within a minute or so."""


async def run_keyring_reload(path: Path, credentials: Credentials) -> None:
    """Take over the file's keys whenever they differ from those in use.

    The file is read rather than watched: a secret's volume swaps a symbolic link two
    directories up, and the file is one page. A file that is gone or damaged changes
    nothing: the keys in use go on working.
    """
    problem = ""
    while True:
        await trio.sleep(LOOK_INTERVAL)
        found = await trio.to_thread.run_sync(_load, path)
        if isinstance(found, str):
            if found != problem:
                log.warning("the keyring was not read again, the keys in use stay", problem=found)
            problem = found
            continue
        problem = ""
        if found != credentials.keyring:
            credentials.keyring = found
            log.info("the keyring changed", keys=len(found.keys))


def _load(path: Path) -> Keyring | str:
    """Return the keyring, or why there is none."""
    try:
        return load_keyring(path)
    except ConfigError as exc:
        return str(exc)
