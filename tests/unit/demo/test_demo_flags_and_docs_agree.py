import re
from pathlib import Path

import click
import pytest

from spegel_gossip.cli.main import cli

DOCS = (Path(__file__).parents[3] / "docs" / "demo.md").read_text()
README = (Path(__file__).parents[3] / "README.md").read_text()


def options() -> list[click.Option]:
    command = cli.get_command(click.Context(cli), "demo")
    assert command is not None
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


@pytest.mark.parametrize("option", options(), ids=lambda option: str(option.name))
def test_every_flag_is_documented_with_its_default(option: click.Option) -> None:
    flag = f"{option.opts[0]} {option.metavar}" if option.metavar else option.opts[0]
    (row,) = [line for line in DOCS.splitlines() if line.startswith(f"| `{flag}`")]

    if option.show_default:
        assert row.split("|")[2].strip() == f"`{option.default}`"
    if isinstance(option.type, click.IntRange) and option.name == "nodes":
        assert f"{option.type.min} to {option.type.max}" in row


def test_no_flag_is_documented_that_is_not_there() -> None:
    known = {name for option in options() for name in option.opts}

    named = set(re.findall(r"`(--[a-z-]+)", DOCS)) | set(re.findall(r"scripts/demo (--[a-z-]+)", README))
    assert named <= known
