from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import trio

from spegel_gossip.admin.explained import (
    DecisionShape,
    ExplainedOwnerShape,
    ExplainedPartShape,
    ExplainShape,
    PurgeShape,
)
from spegel_gossip.admin.server import AdminServer
from spegel_gossip.cli.main import run_cli

OLD, NEW = "sha256:" + "aa" * 32, "sha256:" + "bb" * 32


def owner(
    name: str, *, state: str = "alive", young: bool = False, answered: bool = True
) -> ExplainedOwnerShape:
    return {
        "name": name,
        "state": state,
        "answered": answered,
        "young": young,
        "agrees": True,
        "hidden": ["node-z"] if young else [],
    }


def part(role: str, decision: DecisionShape) -> ExplainedPartShape:
    return {
        "role": role,
        "digest": NEW,
        "size": 2048,
        "platform": "linux/amd64" if role == "manifest" else "",
        "owners": [
            owner("node-a"),
            owner("node-b", young=True),
            owner("node-c", state="suspect", answered=False),
        ],
        "holders": [
            {"name": f"node-{number}", "zone": "z", "kind": "complete", "state": "alive"}
            for number in range(6)
        ],
        "leases": [],
        "partials": [],
        "waiting": 0,
        "decision": decision,
    }


def arriving() -> ExplainedPartShape:
    shape = part("layer", {"source": "peer", "members": ["node-f"], "why": "node-f fetches it"})
    shape["holders"] = []
    shape["leases"] = [{"holder": "node-f", "offset": 3 << 20, "total": 8 << 20, "age": 2.04}]
    shape["partials"] = [
        {
            "name": "node-f",
            "zone": "z",
            "state": "alive",
            "offset": 3 << 20,
            "total": 8 << 20,
            "reads_from": "",
        },
        {
            "name": "node-r",
            "zone": "",
            "state": "suspect",
            "offset": 0,
            "total": 0,
            "reads_from": "node-f",
        },
    ]
    shape["waiting"] = 2
    return shape


EXPLAINED: ExplainShape = {
    "image": "nginx",
    "node": "node-a",
    "tag": {
        "name": "docker.io/library/nginx:latest",
        "policy": "fresh:30s",
        "digest": NEW,
        "observed_at": 5_000.0,
        "purged_at": 1.0,
        "namings": [
            {"digest": NEW, "observed_at": 5_000.0, "holders": ["node-b"]},
            {"digest": OLD, "observed_at": 1_000.0, "holders": ["node-c"]},
        ],
        "owners": [owner("node-b")],
        "holders": [],
        "decision": {"source": "upstream", "members": [], "why": "too old for fresh:30s"},
    },
    "parts": [
        part("manifest", {"source": "local", "members": [], "why": "held here"}),
        part(
            "layer",
            {"source": "peer", "members": ["node-1", "node-2"], "why": "6 holders, the first of this zone"},
        ),
        part("layer", {"source": "upstream", "members": [], "why": "no member holds it"}),
    ],
}

Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def asked() -> list[Mapping[str, str]]:
    return []


@pytest.fixture
async def run(
    tmp_path: Path,
    nursery: trio.Nursery,
    capsys: pytest.CaptureFixture[str],
    asked: list[Mapping[str, str]],
) -> Run:
    async def explain(query: Mapping[str, str]) -> ExplainShape:
        asked.append(query)
        return EXPLAINED

    async def purge(arguments: Mapping[str, str]) -> PurgeShape:
        asked.append(arguments)
        return {"tag": arguments["tag"], "at": 1.0, "members": 3, "told": 2}

    await nursery.start(AdminServer(tmp_path / "admin.sock", {"/explain": explain}, {"/purge": purge}).run)

    async def run_command(*arguments: str) -> tuple[int, str]:
        code = await trio.to_thread.run_sync(run_cli, [*arguments, "--state-dir", str(tmp_path)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run_command


async def test_explain_shows_the_tag_its_conflict_and_what_each_part_would_do(run: Run) -> None:
    _, out = await run("explain", "nginx")
    lines = out.splitlines()

    assert lines[0] == "a pull of nginx on node-a"
    assert lines[1] == f"tag docker.io/library/nginx:latest -> {NEW}"
    assert "policy fresh:30s: upstream, too old for fresh:30s" in lines[2]
    assert any("purged" in line for line in lines)
    assert any(f"conflict: {NEW} at node-b, the newest" in line for line in lines)
    assert any(f"conflict: {OLD} at node-c, older by 1h6m" in line for line in lines)
    manifest, with_peer, without = lines[-3:]
    assert manifest.startswith("manifest linux/amd64")
    assert "held here" in manifest
    assert "node-b (young; doubts node-z)" in manifest
    assert "node-c (suspect; silent)" in manifest
    assert "node-0 (z), node-1 (z), node-2 (z), node-3 (z) and 2 more" in manifest
    assert "node-1, node-2" in with_peer
    assert "no member holds it" in without


async def test_explain_shows_who_fetches_and_who_reads_from_whom(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPLAINED, "parts", [arriving()])
    _, out = await run("explain", "nginx")
    heading, fetching, reading, waiting = out.splitlines()[-4:]
    assert heading.split() == ["ARRIVING", "AT", "HAS", "FROM"]
    assert "node-f (z)" in fetching
    assert "3.0 MiB of 8.0 MiB" in fetching
    assert "registry, lease of 2.0 s" in fetching
    assert "node-r (suspect)" in reading
    assert reading.endswith("node-f")
    assert "2 more wait" in waiting


async def test_explain_prints_json(run: Run, asked: list[Mapping[str, str]]) -> None:
    _, out = await run("explain", "nginx", "--json")
    assert json.loads(out) == EXPLAINED
    assert asked == [{"image": "nginx"}]


async def test_purge_sends_the_full_name_and_says_who_has_heard(
    run: Run, asked: list[Mapping[str, str]]
) -> None:
    code, out = await run("purge", "nginx")
    assert code == 0
    assert "docker.io/library/nginx:latest purged: 2 of 3 members have heard it" in out
    assert "as soon as they can be reached" in out
    assert asked == [{"tag": "docker.io/library/nginx:latest"}]


@pytest.mark.parametrize("command", ["explain", "purge"])
async def test_what_is_no_image_is_refused_before_the_node_is_asked(
    run: Run, asked: list[Mapping[str, str]], command: str
) -> None:
    code, out = await run(command, "NOT AN IMAGE")
    assert code == 2
    assert "give an image" in out
    assert asked == []
