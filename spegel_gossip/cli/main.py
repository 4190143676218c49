"""The command group, and what a failure looks like to a person or a script.

Exit codes: 0 done, 1 a failure that this project foresaw, 2 a setting or an argument
is wrong and nothing was started. Commands are imported when they are called: a
person who asks for `version` does not wait for an event loop to be imported.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from spegel_gossip.errors import ConfigError, SpegelGossipError

PROGRAM: Final = "spegel-gossip"

FAILED: Final = 1
WRONG_SETTING: Final = 2
BROKEN_PIPE: Final = 141
"""128 + SIGPIPE: what a shell reports of a program that wrote to a pipe nobody reads."""

INTERRUPTED: Final = 130
"""128 + SIGINT."""

_COMMANDS: Final = {
    "run": "Run the node: the mirror, its membership and its share of the directory.",
    "status": "Show how the running node is.",
    "members": "Show the members of the cluster as this node sees them.",
    "ring": "Show each member's share of the ring, or who owns a key.",
    "holders": "Show which nodes hold an image or a digest.",
    "leases": "Show which nodes fetch what from the registry now.",
    "explain": "Show what a pull of an image would do on this node, and why.",
    "prefetch": "Have nodes pull an image before anything needs it.",
    "purge": "Have all nodes forget what a tag names.",
    "pull": "Pull an image from a registry into an image layout.",
    "push": "Push an image from an image layout to a registry.",
    "serve": "Serve an image layout as a read-only registry.",
    "gc": "Remove from an image layout what no image of it needs.",
    "hosts": "Write, remove or show containerd's hosts.toml.",
    "cleanup": "Undo what was done to nodes: the chart's uninstall hook.",
    "demo": "Run a whole cluster on this machine, and see what it does.",
    "keyring": "Make cluster keys.",
    "version": "Print the version.",
}
"""In the order of the help text; the summaries stand here so that help imports no command."""


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported when named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the help text."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """Import and return the command; None if there is no such."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"spegel_gossip.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    name=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)
def cli() -> None:
    """A peer-to-peer image mirror for Kubernetes nodes: what one node has, all have."""


def main() -> None:
    """Run the program and exit."""
    code = run_cli(sys.argv[1:])
    sys.exit(code)


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code; failures end as one sentence on stderr."""
    try:
        code = cli.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
        # A pipe that nobody reads shows here, not at the interpreter's end.
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return WRONG_SETTING
    except click.UsageError as exc:
        return _fail(_usage(exc), WRONG_SETTING)
    except click.ClickException as exc:
        return _fail(exc.format_message(), exc.exit_code)
    except ConfigError as exc:
        return _fail(str(exc), WRONG_SETTING)
    except SpegelGossipError as exc:
        return _fail(str(exc), FAILED)
    except BrokenPipeError:
        # What is buffered still would be written at exit, and fail again, loudly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _usage(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx is not None else PROGRAM
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; `{command} --help` lists what there is"


def _fail(message: str, code: int) -> int:
    # One line, whatever a file name or a library's message brought along.
    click.echo(f"{PROGRAM}: {' '.join(message.split())}", err=True)
    return code
