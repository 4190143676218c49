import subprocess
import sys

import pytest

# What each takes stays taken: a node runs for months, and needs none of them as long as nobody chose it.
HEAVY = ("rich", "pygments", "tomlkit", "kubernetes", "httpx", "hypothesis")


@pytest.mark.parametrize("module", HEAVY)
def test_a_node_does_not_load_what_it_does_not_use(module: str) -> None:
    program = f"import spegel_gossip.cli.run, spegel_gossip.node, sys; print({module!r} in sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout == "False\n"


def test_a_command_that_draws_still_finds_rich() -> None:
    program = (
        "import spegel_gossip.cli.run\n"
        "from spegel_gossip.cli.output import print_table\n"
        "print_table(['A'], [['1']])"
    )

    drawn = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert drawn.stdout.split() == ["A", "1"]
