"""Reads and changes the folders of `config_path` so that containerd never sees half of anything.

Each change becomes visible by one rename: a file's, or a whole folder's where the
folder is new, since an empty folder in the way of `_default` means something too. What
a crash leaves behind has names of ours, which containerd never looks for, and the
next call clears it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.hosts.block import Made, part
from spegel_gossip.hosts.document import Certificates
from spegel_gossip.hosts.plan import Folder, RemoveFile, Step, WriteFile

HOSTS_FILE: Final = "hosts.toml"

MAX_FILE_BYTES: Final = 256 * 1024
"""A longer file is left alone."""

MAX_FOLDERS: Final = 4096
"""Folders looked at; each is a registry."""

_TEMPORARY_FILE: Final = ".hosts.toml.spegel-gossip"
_TEMPORARY_FOLDER: Final = ".spegel-gossip."
"""Before the name of a folder that is not there yet, or no longer."""

_FILE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755


class ChangedUnderneathError(SpegelGossipError):
    """Somebody else wrote to the file since it was read; look again."""


def observe(hosts_dir: Path) -> dict[str, Folder]:
    """Return the folders as they are.

    Raises:
        OSError: the directory cannot be read.
    """
    folders = [entry for entry in sorted(hosts_dir.iterdir()) if entry.is_dir() and not _is_temporary(entry)]
    return {entry.name: _observe_folder(entry) for entry in folders[:MAX_FOLDERS]}


def recover(hosts_dir: Path) -> None:
    """Clear what a crash left between two steps; nobody else may be at it.

    Raises:
        OSError: it cannot be cleared.
    """
    for entry in sorted(hosts_dir.iterdir()):
        if _is_temporary(entry):
            _clear(entry, hosts_dir / entry.name.removeprefix(_TEMPORARY_FOLDER))
        elif entry.is_dir() and not entry.is_symlink():
            # A folder that refuses this refuses its step too, and is named then.
            with contextlib.suppress(OSError):
                (entry / _TEMPORARY_FILE).unlink(missing_ok=True)


def apply(hosts_dir: Path, step: Step) -> None:
    """Take one step.

    Raises:
        OSError: the disk refused.
        ChangedUnderneathError: the file is not what it was when the step was decided.
    """
    folder = hosts_dir / step.folder
    match step:
        case WriteFile(_, content, was) if folder.exists():
            _replace(folder, content, was)
        case WriteFile(_, content):
            _make(hosts_dir, folder, content)
        case RemoveFile(_, was, with_folder):
            _remove(hosts_dir, folder, was, with_folder=with_folder)


def _is_temporary(entry: Path) -> bool:
    return entry.name.startswith(_TEMPORARY_FOLDER)


def _observe_folder(folder: Path) -> Folder:
    if folder.is_symlink():
        # To another folder here, which gets ours itself, or to a place that is none of our business.
        return Folder(obstacle="the folder is a link")
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
        content = _read(folder)
    except OSError as exc:
        return Folder(obstacle=f"it cannot be read ({(exc.strerror or str(exc)).lower()})")
    if content is not None and len(content) > MAX_FILE_BYTES:
        return Folder(obstacle=f"its {HOSTS_FILE} is longer than {MAX_FILE_BYTES // 1024} KiB")
    if content is None and os.path.lexists(folder / HOSTS_FILE):
        # Replacing a link by a file would undo somebody's arrangement.
        return Folder(obstacle=f"its {HOSTS_FILE} is no plain file")
    return Folder(content, _certificates(names))


def _certificates(names: list[str]) -> Certificates:
    keys = {name.removesuffix(".key") for name in names if name.endswith(".key")}
    certificates = [name.removesuffix(".cert") for name in names if name.endswith(".cert")]
    return Certificates(
        tuple(name for name in names if name.endswith(".crt")),
        tuple((f"{stem}.cert", f"{stem}.key" if stem in keys else "") for stem in certificates),
    )


def _read(folder: Path) -> bytes | None:
    try:
        if not stat.S_ISREG((folder / HOSTS_FILE).lstat().st_mode):
            return None
        with (folder / HOSTS_FILE).open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None


def _make(hosts_dir: Path, folder: Path, content: bytes) -> None:
    temporary = hosts_dir / f"{_TEMPORARY_FOLDER}{folder.name}"
    temporary.mkdir()
    temporary.chmod(_FOLDER_MODE)
    _write_file(temporary / _TEMPORARY_FILE, content, None)
    # A file of that name is whole in whatever folder it stands: that is how `_clear` knows ours.
    (temporary / _TEMPORARY_FILE).rename(temporary / HOSTS_FILE)
    _sync(temporary)
    if folder.exists():
        # A rename would replace an empty folder in silence.
        raise ChangedUnderneathError(str(folder))
    temporary.rename(folder)
    _sync(hosts_dir)


def _replace(folder: Path, content: bytes, was: bytes | None) -> None:
    temporary = folder / _TEMPORARY_FILE
    _write_file(temporary, content, folder / HOSTS_FILE)
    if _read(folder) != was:
        temporary.unlink()
        raise ChangedUnderneathError(str(folder))
    temporary.rename(folder / HOSTS_FILE)
    _sync(folder)


def _write_file(path: Path, content: bytes, like: Path | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if like is not None and like.exists():
            # It may hold credentials, and belong to somebody.
            old, new = like.stat(), os.fstat(file.fileno())
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
        else:
            # containerd may run as another user, whatever our umask says.
            os.fchmod(file.fileno(), _FILE_MODE)
        os.fsync(file.fileno())


def _remove(hosts_dir: Path, folder: Path, was: bytes, *, with_folder: bool) -> None:
    if _read(folder) != was:
        raise ChangedUnderneathError(str(folder))
    if with_folder and [entry.name for entry in folder.iterdir()] == [HOSTS_FILE]:
        # Emptied in its place it would stand in the way of `_default` until it is gone.
        temporary = hosts_dir / f"{_TEMPORARY_FOLDER}{folder.name}"
        folder.rename(temporary)
        _clear(temporary, folder)
        _sync(hosts_dir)
    else:
        (folder / HOSTS_FILE).unlink()
        _sync(folder)


def _clear(temporary: Path, folder: Path) -> None:
    """Remove a folder under its temporary name, or give it back its own if it holds more than ours."""
    names = {entry.name for entry in temporary.iterdir()} - {_TEMPORARY_FILE}
    if names <= {HOSTS_FILE} and _is_all_ours(_read(temporary)):
        shutil.rmtree(temporary)
    elif not folder.exists():
        temporary.rename(folder)


def _is_all_ours(content: bytes | None) -> bool:
    if content is None:
        return True
    with contextlib.suppress(UnicodeDecodeError):
        parted = part(content.decode())
        return parted.made is Made.FOLDER and not parted.theirs.strip()
    return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
