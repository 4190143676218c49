"""`spegel-gossip cleanup node|wait`: what the chart's uninstall hook runs.

The pods of one DaemonSet undo what was done to their nodes and then accept connections;
the pod of a Job finds them through a headless Service and connects until all accept. So
helm knows when it is done, and nobody needs the API server's leave for it.
"""

from __future__ import annotations

import shutil
import signal
import socket
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from spegel_gossip.cli.hosts import SETTINGS, hosts_config, print_steps
from spegel_gossip.cli.settings import load_settings, setting_options
from spegel_gossip.config.values import SeedAddress, parse_listen_address
from spegel_gossip.errors import ConfigError, SpegelGossipError
from spegel_gossip.hosts.files import remove_hosts as undo_hosts

ROUNDS = 3
"""Rounds in a row in which the same nodes are found and all accept: in the first, pods may be coming up."""

ROUND_INTERVAL = 2.0
CONNECT_TIMEOUT = 1.0


class NotCleanedError(SpegelGossipError):
    """Some nodes did not say that they are done."""


@click.group("cleanup")
def command() -> None:
    """Undo what was done to nodes, and wait for it: the chart's uninstall hook."""


@command.command("node")
@setting_options(*SETTINGS, "state_dir")
@click.option(
    "--remove-hosts/--keep-hosts", default=True, help="Whether hosts.toml is ours to undo.", show_default=True
)
@click.option("--remove-state", is_flag=True, help="Empty the state directory too.")
@click.option(
    "--answer", metavar="ADDRESS:PORT", required=True, help="Where to accept connections once all is done."
)
def node(remove_hosts: bool, remove_state: bool, answer: str, **flags: object) -> None:
    """Take ours out of this node's hosts.toml, then accept connections until ended."""
    address = parse_listen_address(answer)
    # The first process of a container gets no signal that it did not ask for.
    signal.signal(signal.SIGTERM, _end)
    if remove_hosts:
        config = hosts_config(flags)
        print_steps(config.hosts_dir, undo_hosts(config))
    if remove_state:
        _empty(load_settings(flags)["state_dir"])
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.create_server((address.host, address.port), family=family) as listener:
        click.echo(f"done; saying so on {address}")
        while True:
            listener.accept()[0].close()


@command.command("wait")
@click.option("--nodes", metavar="NAME:PORT", required=True, help="A name that resolves to all the nodes.")
@click.option("--timeout", type=click.FloatRange(min=1), default=120.0, show_default=True, metavar="SECONDS")
def wait(nodes: str, timeout: float) -> None:
    """Wait until all nodes behind a name have been cleaned."""
    seed = SeedAddress.parse(nodes)
    if seed.port is None:
        raise ConfigError(f"--nodes: {nodes!r} has no port: write NAME:PORT")
    deadline = time.monotonic() + timeout
    rounds, before = 0, frozenset[str]()
    while rounds < ROUNDS:
        found = _resolve(seed.host, seed.port)
        missing = sorted(host for host in found if not _accepts(host, seed.port))
        rounds = rounds + 1 if found and found == before and not missing else 0
        before = found
        if time.monotonic() > deadline:
            told = ", ".join(missing[:10]) or f"{nodes} resolves to nothing"
            raise NotCleanedError(
                f"not all nodes are cleaned ({told}) after {timeout:g} s: run `hosts remove` on those"
            )
        time.sleep(ROUND_INTERVAL)  # noqa: TID251 - no event loop here, and nothing else to do
    click.echo(f"{len(before)} nodes are cleaned")


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _empty(directory: Path) -> None:
    # The directory is a mount, which cannot be removed from inside.
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _resolve(host: str, port: int) -> frozenset[str]:
    try:
        return frozenset(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError:
        return frozenset()


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True
