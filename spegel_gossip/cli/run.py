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
        failure = foreseen_failure(group)
        if failure is None:
            raise
        raise failure from group


def foreseen_failure(group: BaseExceptionGroup) -> SpegelGossipError | None:
    """Return the first failure of a group that has no bug in it; None if it has one.

    Several tasks may fail for one cause, and a nursery wraps each; an operator wants
    one sentence, and a bug its whole traceback.
    """
    foreseen, bugs = group.split(SpegelGossipError)
    if foreseen is None or bugs is not None:
        return None
    first: BaseException = foreseen
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, SpegelGossipError) else None
