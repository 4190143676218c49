"""What has to change under containerd's `config_path`, decided without touching it.

A folder there is named after a registry; `_default` is for every registry that has
none. What somebody else wrote is left as it is, and said so: it is theirs, and
guessing at a merge could cut a node off from its registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from spegel_gossip.hosts.document import is_ours, render
from spegel_gossip.hosts.registry_url import RegistryUrl

DEFAULT_FOLDER = "_default"


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder as it was found."""

    content: bytes | None = None
    """Its `hosts.toml`; None if it has none, or one that is not a plain file."""

    has_others: bool = False
    """It holds something else besides: certificates, a link in place of the file."""

    @property
    def is_ours(self) -> bool:
        """Whether its `hosts.toml` is one of ours."""
        return self.content is not None and is_ours(self.content)

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else means something by it.

        Certificates alone count: containerd reads them only while there is no
        `hosts.toml` beside them.
        """
        return not self.is_ours and (self.content is not None or self.has_others)


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put `content` into the folder's `hosts.toml`."""

    folder: str
    content: bytes


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Take our `hosts.toml` away, and the folder if nothing else is in it."""

    folder: str


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


def wanted_files(
    mirror: str, registries: Sequence[RegistryUrl], seen: Mapping[str, Folder]
) -> dict[str, bytes]:
    """Return what should be in which folder: one for all registries, or one for each that is mirrored."""
    if not registries:
        return {DEFAULT_FOLDER: render(mirror, None)}
    return {folder_name(registry, seen): render(mirror, registry) for registry in registries}


def folder_name(registry: RegistryUrl, seen: Mapping[str, Folder]) -> str:
    """Return the folder in which containerd looks for a registry.

    It looks for `host_port_` before `host:port`, which not every file system can hold.
    """
    host, colon, port = registry.host.rpartition(":")
    portable = f"{host}_{port}_"
    return portable if colon and portable in seen else registry.host


def plan_write(wanted: Mapping[str, bytes], seen: Mapping[str, Folder]) -> list[Step]:
    """Return the steps to what is wanted; none if everything is so already.

    Files of ours that are no longer wanted go; foreign folders stay.
    """
    steps: list[Step] = [
        WriteFile(name, content)
        for name, content in wanted.items()
        if not (folder := seen.get(name, Folder())).is_foreign and folder.content != content
    ]
    steps.extend(step for step in plan_remove(seen) if step.folder not in wanted)
    return steps


def plan_remove(seen: Mapping[str, Folder]) -> list[Step]:
    """Return the steps after which nothing of ours is left."""
    return [RemoveFile(name) for name, folder in sorted(seen.items()) if folder.is_ours]


def describe(wanted: Mapping[str, bytes], seen: Mapping[str, Folder]) -> list[HostsEntry]:
    """Return how every folder stands, the wanted ones first."""
    entries = [_describe_wanted(name, content, seen.get(name, Folder())) for name, content in wanted.items()]
    for name, folder in sorted(seen.items()):
        if name in wanted:
            continue
        if folder.is_ours:
            entries.append(
                HostsEntry(name, HostsState.OUTDATED, False, "no longer wanted: `hosts write` removes it")
            )
        else:
            entries.append(HostsEntry(name, HostsState.FOREIGN, False, _shadow(wanted)))
    return entries


def _describe_wanted(name: str, content: bytes, folder: Folder) -> HostsEntry:
    if folder.is_foreign:
        return HostsEntry(
            name,
            HostsState.FOREIGN,
            True,
            "not written by us and left alone: containerd does not ask this mirror",
        )
    if folder.content is None:
        return HostsEntry(name, HostsState.MISSING, True, "`hosts write` writes it")
    if folder.content != content:
        return HostsEntry(name, HostsState.OUTDATED, True, "`hosts write` brings it up to date")
    return HostsEntry(name, HostsState.CURRENT, True)


def _shadow(wanted: Mapping[str, bytes]) -> str:
    if DEFAULT_FOLDER in wanted:
        # An empty folder does so too: containerd takes the first that exists.
        return "not written by us and left alone: for this registry it stands in front of _default"
    return "not written by us and left alone"
