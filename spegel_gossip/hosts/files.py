"""Reads and changes `hosts.toml` files so that containerd never sees half of one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts.document import mirror_url
from spegel_gossip.hosts.plan import (
    Folder,
    HostsEntry,
    RemoveFile,
    Step,
    WriteFile,
    describe,
    plan_remove,
    plan_write,
    wanted_files,
)
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.swim.address import Address

HOSTS_FILE = "hosts.toml"

MAX_FILE_BYTES = 256 * 1024
"""A longer file is certainly not ours; what was read of it is enough to know that."""

_TEMPORARY = ".hosts.toml.spegel-gossip"
_FILE_MODE = 0o644
_DIR_MODE = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsConfig:
    """Which files there should be, and where."""

    hosts_dir: Path
    """containerd's `config_path`."""

    mirror: Address
    """Where our registry listens."""

    registries: tuple[RegistryUrl, ...] = ()
    """The registries to be a mirror of; empty for all."""

    recheck_interval: float = 60.0
    """Seconds between two looks at files that others may rewrite (k3s does)."""


def write_hosts(config: HostsConfig) -> tuple[list[Step], list[HostsEntry]]:
    """Bring the files to what is wanted; return what was done and how everything stands now.

    Doing it again changes nothing. Blocks on the disk.

    Raises:
        ConfigError: the directory is missing or cannot be written to.
    """
    with _locked(config.hosts_dir):
        seen = _observe(config.hosts_dir)
        wanted = _wanted(config, seen)
        steps = plan_write(wanted, seen)
        _apply(config.hosts_dir, steps)
        return steps, describe(wanted, _observe(config.hosts_dir))


def remove_hosts(hosts_dir: Path) -> list[Step]:
    """Remove every file of ours; return what was done. Blocks on the disk.

    Raises:
        ConfigError: the directory is missing or cannot be written to.
    """
    with _locked(hosts_dir):
        steps = plan_remove(_observe(hosts_dir))
        _apply(hosts_dir, steps)
        return steps


def show_hosts(config: HostsConfig) -> list[HostsEntry]:
    """Return how the files stand; changes nothing. Blocks on the disk.

    Raises:
        ConfigError: the directory is missing or cannot be read.
    """
    with _translated(config.hosts_dir):
        seen = _observe(config.hosts_dir)
    return describe(_wanted(config, seen), seen)


def _wanted(config: HostsConfig, seen: dict[str, Folder]) -> dict[str, bytes]:
    return wanted_files(mirror_url(config.mirror), config.registries, seen)


@contextlib.contextmanager
def _locked(hosts_dir: Path) -> Iterator[None]:
    # `hosts write` and the running node share the name of the temporary file.
    with _translated(hosts_dir):
        descriptor = os.open(hosts_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _translated(hosts_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        where = exc.filename if isinstance(exc.filename, str) else hosts_dir
        remedy = {
            errno.ENOENT: "make or mount it, and set it as config_path in containerd's own configuration",
            errno.EROFS: "mount it writable",
            errno.EACCES: "run as root, or let this user write to it",
            errno.EPERM: "run as root, or let this user write to it",
            errno.ENOSPC: "make room on that disk",
        }.get(exc.errno or 0, "give another directory")
        raise ConfigError(f"--hosts-dir: {where}: {(exc.strerror or str(exc)).lower()}: {remedy}") from exc


def _observe(hosts_dir: Path) -> dict[str, Folder]:
    return {entry.name: _observe_folder(entry) for entry in sorted(hosts_dir.iterdir()) if entry.is_dir()}


def _observe_folder(folder: Path) -> Folder:
    names = {entry.name for entry in folder.iterdir()} - {_TEMPORARY}
    content = None
    # A link is somebody's arrangement: replacing it by a file would undo that.
    if HOSTS_FILE in names and stat.S_ISREG((folder / HOSTS_FILE).lstat().st_mode):
        with (folder / HOSTS_FILE).open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
        names.discard(HOSTS_FILE)
    return Folder(content, has_others=bool(names))


def _apply(hosts_dir: Path, steps: Sequence[Step]) -> None:
    for step in steps:
        match step:
            case WriteFile(folder, content):
                _write(hosts_dir, hosts_dir / folder, content)
            case RemoveFile(folder):
                _remove(hosts_dir, hosts_dir / folder)


def _write(hosts_dir: Path, folder: Path, content: bytes) -> None:
    if not folder.exists():
        folder.mkdir(_DIR_MODE)
        _sync_dir(hosts_dir)
    temporary = folder / _TEMPORARY
    # Left behind by a crash; the lock says that nobody is writing it now.
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        # containerd may run as another user, whatever our umask says.
        os.fchmod(file.fileno(), _FILE_MODE)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / HOSTS_FILE)
    _sync_dir(folder)


def _remove(hosts_dir: Path, folder: Path) -> None:
    (folder / HOSTS_FILE).unlink(missing_ok=True)
    (folder / _TEMPORARY).unlink(missing_ok=True)
    _sync_dir(folder)
    with contextlib.suppress(OSError):
        # Fails when something else is in it, which is then somebody's and stays.
        folder.rmdir()
        _sync_dir(hosts_dir)


def _sync_dir(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
