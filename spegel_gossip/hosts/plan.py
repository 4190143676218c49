"""What has to change under containerd's `config_path`, decided without touching it.

A folder there is named after a registry and hides `_default`, which is for every
registry that has none; so to be asked for everything, our mirror has to stand in
every folder that there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from spegel_gossip.hosts.block import Made
from spegel_gossip.hosts.document import (
    NO_CERTIFICATES,
    Certificates,
    LeftAloneError,
    Wish,
    is_spegels,
    names_mirror,
    with_ours,
    without_ours,
)
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import normalize_registry

DEFAULT_FOLDER: Final = "_default"

SPEGELS_BACKUP: Final = "_backup"
"""Where Spegel puts what it found; containerd never looks there."""

_PORTABLE: Final = re.compile(r"(?P<host>.+)_(?P<port>[0-9]{1,5})_")


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder as it was found."""

    content: bytes | None = None
    """Its `hosts.toml`, if it has one that can be changed."""

    certificates: Certificates = NO_CERTIFICATES
    obstacle: str = ""
    """Why its `hosts.toml` can be neither made nor changed, if that is so."""


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put `content` into the folder's `hosts.toml`."""

    folder: str
    content: bytes
    was: bytes | None
    """What it said when this was decided; None if it was not there."""


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Take the folder's `hosts.toml` away."""

    folder: str
    was: bytes
    with_folder: bool
    """The folder too, if nothing else is in it: it was not there before us."""


Step = WriteFile | RemoveFile


class HostsState(StrEnum):
    """How a folder stands."""

    CURRENT = "current"
    OUTDATED = "outdated"
    MISSING = "missing"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class HostsEntry:
    """A folder, for people: how it stands, and what that means."""

    folder: str
    state: HostsState
    is_wanted: bool
    """Whether our mirror should be in it."""

    note: str = ""


def wanted_in(mirror: str, registries: Sequence[RegistryUrl], seen: Mapping[str, Folder]) -> dict[str, Wish]:
    """Return what should be in which folder: our mirror in all of them, or in those of `registries`."""
    if registries:
        return {folder_name(one, seen): Wish(mirror=mirror, registry=one) for one in registries}
    names = [DEFAULT_FOLDER, *sorted(name for name in seen if is_registry_folder(name))]
    return dict.fromkeys(names, Wish(mirror=mirror))


def folder_name(registry: RegistryUrl, seen: Mapping[str, Folder]) -> str:
    """Return the folder in which containerd looks for a registry.

    It looks for `host_port_` before `host:port`, which not every file system can hold.
    """
    host, colon, port = registry.host.rpartition(":")
    portable = f"{host}_{port}_"
    return portable if colon and portable in seen else registry.host


def is_registry_folder(name: str) -> bool:
    """Return whether containerd may look for a registry in a folder of this name."""
    portable = _PORTABLE.fullmatch(name)
    try:
        normalize_registry(name if portable is None else f"{portable['host']}:{portable['port']}")
    except InvalidReferenceError:
        return False
    return True


def plan_write(mirror: str, wanted: Mapping[str, Wish], seen: Mapping[str, Folder]) -> list[Step]:
    """Return the steps to what is wanted; none if everything is so already.

    Ours goes where it is no longer wanted; what cannot be changed stays as it is.
    """
    steps: list[Step] = []
    for name, wish in wanted.items():
        folder = seen.get(name)
        was = None if folder is None else folder.content
        content, _ = _becomes(wish, folder)
        if content is not None and content != was:
            steps.append(WriteFile(name, content, was))
    unwanted = {name: folder for name, folder in seen.items() if name not in wanted}
    return steps + plan_remove(mirror, unwanted)


def plan_remove(mirror: str, seen: Mapping[str, Folder]) -> list[Step]:
    """Return the steps after which nothing of ours is left."""
    steps: list[Step] = []
    for name, folder in sorted(seen.items()):
        if folder.content is None:
            continue
        try:
            rest, made = without_ours(folder.content, mirror)
        except LeftAloneError:
            continue
        if made in {Made.FILE, Made.FOLDER} and not rest.strip():
            steps.append(RemoveFile(name, folder.content, with_folder=made is Made.FOLDER))
        elif rest != folder.content:
            steps.append(WriteFile(name, rest, folder.content))
    return steps


def describe(mirror: str, wanted: Mapping[str, Wish], seen: Mapping[str, Folder]) -> list[HostsEntry]:
    """Return how every folder stands, the wanted ones first."""
    entries = [_describe_wanted(name, wish, seen.get(name)) for name, wish in wanted.items()]
    for name, folder in sorted(seen.items()):
        if name in wanted:
            continue
        if plan_remove(mirror, {name: folder}):
            note = "no longer wanted: `hosts write` takes ours out"
            entries.append(HostsEntry(name, HostsState.OUTDATED, False, note))
        else:
            entries.append(HostsEntry(name, HostsState.FOREIGN, False, _foreign_note(name)))
    return entries


def _becomes(wish: Wish, folder: Folder | None) -> tuple[bytes | None, str]:
    """Return what the file should say; None, and why, if it must be left alone."""
    if folder is None:
        return with_ours(None, wish, NO_CERTIFICATES, is_new_folder=True), ""
    if folder.obstacle:
        return None, folder.obstacle
    try:
        return with_ours(folder.content, wish, folder.certificates, is_new_folder=False), ""
    except LeftAloneError as exc:
        return None, str(exc)


def _describe_wanted(name: str, wish: Wish, folder: Folder | None) -> HostsEntry:
    content, reason = _becomes(wish, folder)
    if content is None:
        return HostsEntry(
            name, HostsState.FOREIGN, True, f"left alone, containerd passes this mirror by: {reason}"
        )
    if folder is None or folder.content is None:
        return HostsEntry(name, HostsState.MISSING, True, "`hosts write` writes it")
    if folder.content != content:
        return HostsEntry(name, HostsState.OUTDATED, True, "`hosts write` brings it up to date")
    return HostsEntry(name, HostsState.CURRENT, True, _current_note(folder.content, wish.mirror))


def _current_note(content: bytes, mirror: str) -> str:
    if names_mirror(content, mirror):
        return "names this mirror itself, and is left as it is"
    if is_spegels(content):
        return "Spegel's mirrors stand after ours: uninstall Spegel"
    return ""


def _foreign_note(name: str) -> str:
    if name == SPEGELS_BACKUP:
        return (
            "Spegel's backup of what it found: its uninstallation moves this back; if Spegel is gone, remove "
            "the other folders and move these up by hand"
        )
    return "not asked for: left alone"
