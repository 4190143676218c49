import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import trio

from spegel_gossip.admin.server import AdminServer
from spegel_gossip.admin.shapes import PrefetchNodeShape, PrefetchShape
from spegel_gossip.cli.main import run_cli

Run = Callable[..., Awaitable[tuple[int, str, str]]]
IMAGE = "docker.io/library/app:v1"
MIB = 1 << 20


def node(name: str, state: str, *, size: int = 0, upstream: int = 0, peers: int = 0) -> PrefetchNodeShape:
    return {
        "name": name,
        "zone": "",
        "state": state,
        "here": size,
        "total": size,
        "upstream": upstream,
        "peers": peers,
        "seconds": 1.5,
        "problem": "",
        "detail": "",
    }


def answer(*nodes: PrefetchNodeShape, ended: bool) -> PrefetchShape:
    return {"id": "ab", "image": IMAGE, "ended": ended, "nodes": list(nodes)}


class Running:
    """A node whose answers are written down."""

    def __init__(self) -> None:
        self.answers: list[PrefetchShape] = []
        self.arguments: Mapping[str, str] = {}

    async def begin(self, arguments: Mapping[str, str]) -> PrefetchShape:
        self.arguments = arguments
        return self.answers.pop(0)

    async def show(self, query: Mapping[str, str]) -> PrefetchShape:
        assert query == {"id": "ab"}
        return self.answers.pop(0)


@pytest.fixture
def running() -> Running:
    return Running()


@pytest.fixture
async def run(
    running: Running, tmp_path: Path, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> Run:
    server = AdminServer(tmp_path / "admin.sock", {"/prefetch": running.show}, {"/prefetch": running.begin})
    await nursery.start(server.run)

    async def run_command(*arguments: str) -> tuple[int, str, str]:
        command = ["prefetch", *arguments, "--state-dir", str(tmp_path)]
        code = await trio.to_thread.run_sync(run_cli, command)
        return code, *capsys.readouterr()

    return run_command


async def test_each_node_has_a_line_when_it_ends_and_all_have_a_sum(running: Running, run: Run) -> None:
    done = node("a", "done", size=4 * MIB, upstream=4 * MIB)
    running.answers = [
        answer(node("a", "waiting"), node("b", "waiting"), ended=False),
        answer(done, node("b", "pulling", size=4 * MIB), ended=False),
        answer(done, node("b", "done", size=4 * MIB, peers=4 * MIB), ended=True),
    ]

    code, out, err = await run("app:v1", "--nodes", "2", "--at-once", "7")

    assert code == 0
    assert running.arguments == {"image": IMAGE, "nodes": "2", "at_once": "7"}
    assert err.splitlines() == [
        "a: 4.0 MiB in 1.5 s, 4.0 MiB from the registry, 0 B from nodes",
        "b: 4.0 MiB in 1.5 s, 0 B from the registry, 4.0 MiB from nodes",
    ]
    assert out == f"{IMAGE}: 2 of 2 nodes have it; 4.0 MiB from the registry, 4.0 MiB from other nodes\n"


async def test_a_node_that_fails_is_a_failure_and_says_what_to_do(running: Running, run: Run) -> None:
    failed = node("b", "failed") | {"problem": "unauthorised", "detail": "401 \x1b[2J"}
    running.answers = [answer(node("a", "done"), failed, ended=True)]

    code, out, err = await run("app:v1")

    assert code == 1
    assert "1 of 2 nodes have it" in out
    assert "a: it was there already" in err
    assert "b: failed (unauthorised): 401" in err
    assert "pull secrets of pods are not known" in err
    assert "\x1b" not in err


async def test_a_containerd_that_does_not_ask_the_mirror_is_named(running: Running, run: Run) -> None:
    running.answers = [answer(node("a", "done", size=MIB), ended=True)]

    code, _, err = await run("app:v1")

    assert code == 0
    assert "1 of 1 nodes pulled past their mirror (a)" in err


async def test_json_is_the_last_answer(running: Running, run: Run) -> None:
    last = answer(node("a", "done"), ended=True)
    running.answers = [answer(node("a", "waiting"), ended=False), last]

    code, out, err = await run("app:v1", "--json")

    assert (code, err) == (0, "")
    assert json.loads(out) == last


async def test_nobody_to_have_it_is_a_failure(running: Running, run: Run) -> None:
    running.answers = [answer(ended=True)]

    assert (await run("app:v1", "--nodes", "zone"))[0] == 1
