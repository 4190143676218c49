"""Brings `hosts.toml` files to what they should be, and undoes that."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts.disk import ChangedUnderneathError, apply, observe, recover
from spegel_gossip.hosts.document import Wish, mirror_url
from spegel_gossip.hosts.plan import Folder, HostsEntry, Step, describe, plan_remove, plan_write, wanted_in
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.swim.address import Address

MAX_ATTEMPTS = 3
"""Times that the files are looked at again because somebody wrote to them meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsConfig:
    """Which files there should be, and where."""

    hosts_dir: Path
    """containerd's `config_path`."""

    mirror: Address
    """Where containerd on this machine finds our registry."""

    registries: tuple[RegistryUrl, ...] = ()
    """The registries to be a mirror of; empty for all."""

    recheck_interval: float = 60.0
    """Seconds between two looks at files that others may rewrite (k3s does)."""

    @property
    def mirror_url(self) -> str:
        """Our registry as `hosts.toml` names it."""
        return mirror_url(self.mirror)


def write_hosts(config: HostsConfig) -> tuple[list[Step], list[HostsEntry]]:
    """Bring the files to what is wanted; return what was done and how everything stands now.

    Doing it again changes nothing. Blocks on the disk.

    Raises:
        ConfigError: the directory is missing, or something in it cannot be written to. What could be
            done is done nevertheless.
    """
    with _locked(config.hosts_dir):
        steps = _take_steps(
            config.hosts_dir, lambda seen: plan_write(config.mirror_url, _wanted(config, seen), seen)
        )
        return steps, _described(config)


def remove_hosts(config: HostsConfig) -> list[Step]:
    """Take everything of ours out; return what was done. Blocks on the disk.

    Raises:
        ConfigError: the directory is missing, or something in it cannot be written to.
    """
    with _locked(config.hosts_dir):
        return _take_steps(config.hosts_dir, lambda seen: plan_remove(config.mirror_url, seen))


def show_hosts(config: HostsConfig) -> list[HostsEntry]:
    """Return how the files stand; changes nothing. Blocks on the disk.

    Raises:
        ConfigError: the directory is missing or cannot be read.
    """
    with _translated(config.hosts_dir):
        return _described(config)


def _described(config: HostsConfig) -> list[HostsEntry]:
    seen = observe(config.hosts_dir)
    return describe(config.mirror_url, _wanted(config, seen), seen)


def _wanted(config: HostsConfig, seen: dict[str, Folder]) -> dict[str, Wish]:
    return wanted_in(config.mirror_url, config.registries, seen)


def _take_steps(hosts_dir: Path, plan: Callable[[dict[str, Folder]], list[Step]]) -> list[Step]:
    taken: list[Step] = []
    failed: dict[str, OSError] = {}
    recover(hosts_dir)
    for _ in range(MAX_ATTEMPTS):
        steps = [step for step in plan(observe(hosts_dir)) if step.folder not in failed]
        if not steps:
            break
        for step in steps:
            try:
                apply(hosts_dir, step)
                taken.append(step)
            except OSError as exc:
                # One folder that is mounted read-only must not keep the others from their mirror.
                failed[step.folder] = exc
            except ChangedUnderneathError:
                recover(hosts_dir)
    for error in failed.values():
        raise error
    return taken


@contextlib.contextmanager
def _locked(hosts_dir: Path) -> Iterator[None]:
    # `hosts write` and the running node share the names of what is temporary.
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
