"""The machine around a configuration: files and directories that must be there at the start."""

from __future__ import annotations

import os
from pathlib import Path

from spegel_gossip.config import NodeConfig, default_of
from spegel_gossip.config.values import Store
from spegel_gossip.errors import ConfigError
from spegel_gossip.wire.keyring import load_keyring

_STATE_DIR_MODE = 0o700


def check_surroundings(config: NodeConfig) -> None:
    """Look at the files and directories that the configuration names; make the state directory.

    containerd's socket may be absent, and so may its default root: containerd may
    come later, and blobs can be read through it. A root that was given must be there.

    Raises:
        ConfigError: if one of them is missing, unusable or malformed.
    """
    if config.cluster_key_file is not None:
        load_keyring(config.cluster_key_file)
    _make_state_dir(config.state_dir)
    _check_dir("--admin-socket", config.admin_socket_path.parent, os.W_OK | os.X_OK)
    if config.containerd_root != default_of("containerd_root"):
        _check_dir("--containerd-root", config.containerd_root, os.X_OK)
    if config.store is Store.LAYOUT:
        _check_layout_root(config.layout_root_path)
    if config.write_hosts:
        _check_dir("--hosts-dir", config.hosts_dir, os.W_OK | os.X_OK)


def _make_state_dir(path: Path) -> None:
    if path.exists():
        _check_dir("--state-dir", path, os.W_OK | os.X_OK)
        return
    # Only the last step: a missing parent is a typing error or a volume that is not mounted.
    _check_dir("--state-dir", path.parent, os.W_OK | os.X_OK)
    try:
        path.mkdir(mode=_STATE_DIR_MODE)
    except OSError as exc:
        raise ConfigError(
            f"--state-dir: cannot make {path} ({exc.strerror}): give a directory that this user may write to"
        ) from exc


def _check_layout_root(path: Path) -> None:
    if path.exists():
        _check_dir("--layout-root", path, os.R_OK | os.X_OK)
    else:
        _check_dir("--layout-root", path.parent, os.W_OK | os.X_OK)


def _check_dir(flag: str, path: Path, wanted: int) -> None:
    if not path.is_dir():
        problem = "is not a directory" if path.exists() else "does not exist"
        raise ConfigError(f"{flag}: {path} {problem}: make or mount it, or give another directory")
    if not os.access(path, wanted):
        what = "written to" if wanted & os.W_OK else "entered"
        raise ConfigError(
            f"{flag}: {path} cannot be {what} by this user: change its permissions or its mount, "
            "or give another directory"
        )
