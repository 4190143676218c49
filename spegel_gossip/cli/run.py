"""`spegel-gossip run`: read every setting, check the machine, start the node."""

from __future__ import annotations

import click

from spegel_gossip.cli.logs import configure_logs
from spegel_gossip.cli.settings import load_settings, setting_options
from spegel_gossip.config import SETTINGS, NodeConfig
from spegel_gossip.config.surroundings import check_surroundings
from spegel_gossip.errors import SpegelGossipError


@click.command("run")
@setting_options(*SETTINGS)
def command(**flags: object) -> None:
    """Run the node: the mirror, its membership and its share of the directory.

    Each flag is also an environment variable, shown in brackets, and a key of the
    TOML file; a flag wins over the environment, the environment over the file. In
    the environment lists are separated by commas, or by line breaks if there are any.
    """
    config = NodeConfig(**load_settings(flags))
    check_surroundings(config)
    configure_logs(config.log_level, config.log_format)
    _run(config)


def _run(config: NodeConfig) -> None:
    # Only here: everything above must answer fast, and a wrong setting first of all.
    import trio

    from spegel_gossip.node import run_node

    try:
        trio.run(run_node, config)
    except BaseExceptionGroup as group:
        # What a nursery wrapped is one failure to the operator, unless it is a bug.
        foreseen, bugs = group.split(SpegelGossipError)
        if bugs is not None or foreseen is None:
            raise
        raise _first_of(foreseen) from group


def _first_of(group: BaseExceptionGroup[SpegelGossipError]) -> SpegelGossipError:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
