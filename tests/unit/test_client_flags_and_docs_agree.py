import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from spegel_gossip.cli.main import cli
from spegel_gossip.cli.registry_options import PASSWORD_ENVVAR
from spegel_gossip.client.config import MIB, ClientConfig

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def options_of(name: str) -> list[click.Option]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


@pytest.mark.parametrize("name", ["pull", "push", "serve"])
def test_every_flag_is_documented_with_its_metavar_and_default(name: str) -> None:
    for option in options_of(name):
        flag = f"{option.opts[0]} {option.metavar}" if option.metavar else option.opts[0]
        repeated = ", repeated" if option.multiple else ""
        rows = [
            line
            for line in DOCS.splitlines()
            if line.startswith(f"| `{flag}`".replace("|D", "\\|D") + repeated)
        ]
        assert rows, flag
        if option.show_default:
            assert any(f"`{option.default}`" in row for row in rows)


def test_no_flag_is_documented_that_is_not_there() -> None:
    known = {
        name for command in ("pull", "push", "serve") for one in options_of(command) for name in one.opts
    }

    assert set(re.findall(r"`(--[a-z-]+)", DOCS)) <= known


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    config = ClientConfig()

    assert (config.attempts, config.blobs_at_once, config.max_retry_after) == (5, 3, 60.0)
    assert f"{config.chunk_bytes // MIB} MiB" in DOCS
    assert set(re.findall(r"SPEGEL_GOSSIP_[A-Z_]+", DOCS)) == {PASSWORD_ENVVAR}


@pytest.mark.parametrize(
    "module", ["spegel_gossip.node.lifecycle", "spegel_gossip.cli.run", "spegel_gossip.cli.pull"]
)
def test_the_nodes_process_has_no_http_client(module: str) -> None:
    script = f"import sys, {module}; print(sorted({{'httpx', 'spegel_gossip.client'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
