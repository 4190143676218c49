"""Looks after `hosts.toml` while the node runs: k3s and others rewrite what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import structlog
import trio

from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts import metrics
from spegel_gossip.hosts.files import HostsConfig, write_hosts
from spegel_gossip.hosts.plan import HostsEntry, HostsState, Step, WriteFile

log = structlog.get_logger(__name__)


async def run_hosts(
    config: HostsConfig, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Write the files, and again whenever they are found changed, until cancelled.

    Started once the first attempt was made, whether or not it succeeded: a directory
    that cannot be written to is logged once, and tried again.
    """
    told: object = None
    is_started = False
    while True:
        try:
            steps, entries = await trio.to_thread.run_sync(write_hosts, config)
        except ConfigError as exc:
            metrics.FAILURES.inc()
            if told != str(exc):
                told = str(exc)
                log.warning("hosts.toml cannot be written", reason=told)
        else:
            blocked = _blocked(entries)
            _count(steps, blocked)
            for step in steps:
                log.info("hosts.toml changed", change=_change(step), folder=step.folder)
            if blocked and told != blocked:
                log.warning("hosts.toml left alone: containerd passes this mirror by", folders=blocked)
            told = blocked
        if not is_started:
            is_started = True
            task_status.started()
        await trio.sleep(config.recheck_interval)


def _blocked(entries: Sequence[HostsEntry]) -> dict[str, str]:
    return {
        entry.folder: entry.note for entry in entries if entry.is_wanted and entry.state is HostsState.FOREIGN
    }


def _count(steps: Sequence[Step], blocked: Mapping[str, str]) -> None:
    for step in steps:
        metrics.CHANGES.labels(_change(step)).inc()
    metrics.BLOCKED.set(len(blocked))


def _change(step: Step) -> str:
    return "written" if isinstance(step, WriteFile) else "removed"
