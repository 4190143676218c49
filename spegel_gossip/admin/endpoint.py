"""The file of the Unix socket: ours alone, and never stolen from a node that lives."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from spegel_gossip.errors import ConfigError

_OWNER_ONLY = 0o600
_BACKLOG = 16


def listen_at(path: Path) -> socket.socket:
    """Return a listening, non-blocking socket at `path`; what a dead node left there is replaced.

    Raises:
        ConfigError: a living node has it, something else is there, or it cannot be made.
    """
    try:
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as exc:
        raise _cannot(path, exc) from exc
    try:
        listener.setblocking(False)
        listener.bind(os.fspath(path))
        # Before listen(), so that there is no instant at which others could connect.
        path.chmod(_OWNER_ONLY)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise _cannot(path, exc) from exc
    return listener


def _cannot(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"--admin-socket: cannot listen at {path} ({error.strerror or error}): "
        "give a path in a directory that this user may write to"
    )


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"--admin-socket: {path} is not a socket: move it away, or give another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Non-blocking: a node too busy to accept is alive too.
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise ConfigError(
        f"--admin-socket: a running node answers at {path}: stop it, or give this one its own --state-dir"
    )
