"""`spegel-gossip hosts write|remove|show`: containerd's way to this mirror."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import click

from spegel_gossip.cli.output import print_json, print_table
from spegel_gossip.cli.settings import load_settings, setting_options
from spegel_gossip.hosts.disk import HOSTS_FILE
from spegel_gossip.hosts.files import HostsConfig, remove_hosts, show_hosts, write_hosts
from spegel_gossip.hosts.plan import HostsEntry, HostsState, Step, WriteFile

SETTINGS = ("hosts_dir", "registry_listen", "mirror_address", "mirror_registries")


@click.group("hosts")
def command() -> None:
    """Write, remove or show the hosts.toml files that send containerd to this mirror.

    containerd reads them at every pull; it need not be restarted, but its own
    configuration must name their directory as config_path.
    """


@command.command("write")
@setting_options(*SETTINGS)
@click.option(
    "--lenient", is_flag=True, help="Do not fail because some files had to be left alone; say which."
)
@click.pass_context
def write(context: click.Context, /, lenient: bool, **flags: object) -> None:
    """Put this mirror first in every registry's file; keep what else they say."""
    config = hosts_config(flags)
    steps, entries = write_hosts(config)
    print_steps(config.hosts_dir, steps)
    for entry in entries:
        if entry.note:
            click.echo(f"{config.hosts_dir / entry.folder}: {entry.note}", err=True)
    if not lenient and any(entry.is_wanted and entry.state is not HostsState.CURRENT for entry in entries):
        context.exit(1)


@command.command("remove")
@setting_options(*SETTINGS)
def remove(**flags: object) -> None:
    """Take ours out: files are then as they were, or, if changed since, without our table."""
    config = hosts_config(flags)
    print_steps(config.hosts_dir, remove_hosts(config))


@command.command("show")
@setting_options(*SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool, **flags: object) -> None:
    """Show which files are in place, which are others', and what would be written."""
    config = hosts_config(flags)
    entries = show_hosts(config)
    if as_json:
        print_json({"hosts_dir": str(config.hosts_dir), "entries": [_as_json(entry) for entry in entries]})
        return
    print_table(
        ("REGISTRY", "STATE", "NOTE"),
        [(_registry(entry), entry.state.value, entry.note) for entry in entries],
    )


def hosts_config(flags: Mapping[str, object]) -> HostsConfig:
    """Return what the flags, the environment and the file say about hosts.toml."""
    values = load_settings(flags)
    return HostsConfig(
        hosts_dir=values["hosts_dir"],
        mirror=values["mirror_address"] or values["registry_listen"],
        registries=values["mirror_registries"],
    )


def print_steps(hosts_dir: Path, steps: list[Step]) -> None:
    """Say what was done, or that nothing had to be."""
    for step in steps:
        change = "wrote" if isinstance(step, WriteFile) else "removed"
        click.echo(f"{change} {hosts_dir / step.folder / HOSTS_FILE}")
    if not steps:
        click.echo(f"nothing to change in {hosts_dir}")


def _registry(entry: HostsEntry) -> str:
    return "all others (_default)" if entry.folder == "_default" else entry.folder


def _as_json(entry: HostsEntry) -> dict[str, object]:
    return dataclasses.asdict(entry)
