import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import trio

from spegel_gossip.admin.server import AdminServer, Snapshot
from spegel_gossip.admin.shapes import HoldersShape, LeasesShape, MembersShape, RingShape, StatusShape
from spegel_gossip.cli.main import run_cli

DIGEST = "sha256:" + "ab" * 32

MEMBERS: MembersShape = {
    "cluster": "prod",
    "self": "node-a",
    "local_health": 0,
    "conflicts": [],
    "members": [
        {
            "name": "node-a",
            "state": "alive",
            "incarnation": 1,
            "boot": 1,
            "zone": "z1",
            "version": "0.1.0",
            "addresses": ["10.0.0.1:29501", "[fd00::1]:29501"],
            "address": "10.0.0.1:29501",
            "rtt_ms": None,
            "state_age_s": 3.0,
            "last_probe_age_s": None,
            "last_ack_age_s": None,
            "udp_blocked": False,
            "suspected_by": [],
            "suspicion_left_s": None,
            "clock_offset_s": None,
            "is_self": True,
        },
        {
            "name": "node-b",
            "state": "suspect",
            "incarnation": 2,
            "boot": 1,
            # A zone is what the other node says it is.
            "zone": "\x1b[2J\x1b]0;owned\x07",
            "version": "",
            "addresses": ["10.0.0.2:29501"],
            "address": "10.0.0.2:29501",
            "rtt_ms": 1.25,
            "state_age_s": 3.0,
            "last_probe_age_s": None,
            "last_ack_age_s": None,
            "udp_blocked": False,
            "suspected_by": ["node-a"],
            "suspicion_left_s": 4.5,
            "clock_offset_s": -172_800.0,
            "is_self": False,
        },
    ],
}
RING: RingShape = {
    "epoch": "00ff",
    "members": [
        {"name": "node-a", "share": 0.25, "tokens": 128},
        {"name": "node-b", "share": 0.75, "tokens": 128},
    ],
}
LEASES: LeasesShape = {
    "granted": [
        {
            "digest": DIGEST,
            "holder": "node-b",
            "offset": 1 << 20,
            "total": 2 << 20,
            "age": 1.5,
            "receivers": 3,
        }
    ],
    "fetching": [],
    "waiting": 2,
    "counts": {
        "granted": 4,
        "attached": 9,
        "refused": 0,
        "lost": {"stalled": 1, "silent": 0, "ended": 2},
    },
    "held": {"now": 1, "total": 7},
    "yields": 3,
    "bytes": {"upstream": 1 << 20, "complete": 1 << 20, "partial": 2 << 20, "saved": 3 << 20},
}
STATUS: StatusShape = {
    "node": "node-a",
    "cluster": "prod",
    "version": "0.1.0",
    "ready": True,
    "reasons": ["no seed reached"],
    "uptime_s": 3725.4,
    "store": {
        "kind": "containerd",
        "connected": False,
        "readable": True,
        "reason": "no socket",
        "blobs": 3,
        "tags": 1,
        "partials": 0,
    },
    "members": {"alive": 2},
    "records": {"owned": 4},
    "listen": {"registry": "127.0.0.1:29500"},
    "resident_bytes": 64 * 1024 * 1024,
    "zero_copy": True,
}

Run = Callable[..., Awaitable[str]]


def always(value: object) -> Snapshot:
    async def snapshot(query: Mapping[str, str]) -> object:
        return value

    return snapshot


async def ring(query: Mapping[str, str]) -> RingShape:
    if "key" not in query:
        return RING
    owners = [{"name": "node-b", "young": True}, {"name": "node-a", "young": False}]
    return {**RING, "key": {"key": query["key"], "owners": owners}}  # type: ignore[typeddict-item]  # as JSON


async def holders(query: Mapping[str, str]) -> HoldersShape:
    key = query["key"]
    if key == DIGEST:
        return {"key": key, "owners": ["node-a"], "holders": [], "named_by": {"node-a": []}}
    holder = {"name": "node-b", "zone": "", "kind": "complete", "size": 1536}
    named_by = {"node-a": ["node-b"]}
    return {
        "key": key,
        "digest": DIGEST,
        "owners": ["node-a"],
        "holders": [holder],  # type: ignore[list-item]
        "named_by": named_by,
    }


@pytest.fixture
async def run(tmp_path: Path, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]) -> Run:
    routes = {
        "/members": always(MEMBERS),
        "/ring": ring,
        "/holders": holders,
        "/leases": always(LEASES),
        "/status": always(STATUS),
    }
    await nursery.start(AdminServer(tmp_path / "admin.sock", routes).run)

    async def run_command(*arguments: str) -> str:
        code = await trio.to_thread.run_sync(run_cli, [*arguments, "--state-dir", str(tmp_path)])
        assert code == 0
        return capsys.readouterr().out

    return run_command


def words(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


async def test_members_are_a_row_each(run: Run) -> None:
    header, first, second = words(await run("members"))

    assert header[0] == "NAME"
    assert first[:4] == ["node-a", "alive", "z1", "10.0.0.1:29501"]
    assert first[-2:] == ["this", "node"]
    assert second[-7:] == ["suspected", "by", "node-a;", "clock", "172800", "s", "behind"]


async def test_what_other_nodes_say_of_themselves_cannot_steer_the_terminal(run: Run) -> None:
    output = await run("members")

    assert not {"\x1b", "\x07"} & set(output)
    assert "\x1b" not in await run("members", "--json")


async def test_without_a_terminal_there_is_no_colour_and_no_cut_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")

    assert len((await run("members")).splitlines()) == 1 + len(MEMBERS["members"])


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [(["members"], MEMBERS), (["ring"], RING), (["status"], STATUS)],
)
async def test_json_is_the_nodes_own_answer(run: Run, arguments: list[str], answer: object) -> None:
    assert json.loads(await run(*arguments, "--json")) == answer


async def test_the_ring_is_shown_by_share(run: Run) -> None:
    assert words(await run("ring"))[1:] == [["node-a", "25.0%", "128"], ["node-b", "75.0%", "128"]]


async def test_the_owners_of_a_key_are_shown_in_order(run: Run) -> None:
    rows = words(await run("ring", "--digest", DIGEST))

    assert [row[:2] for row in rows[1:]] == [["node-b", "1"], ["node-a", "2"]]
    assert rows[1][2] == "young:"


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("ghcr.io/a/b:v1", "ghcr.io/a/b:v1"),
        (f"nginx:1@{DIGEST}", DIGEST),
        (DIGEST, DIGEST),
    ],
)
async def test_an_image_is_asked_for_by_its_full_name(run: Run, typed: str, key: str) -> None:
    assert json.loads(await run("holders", typed, "--json"))["key"] == key


async def test_holders_are_shown_with_what_they_have(run: Run) -> None:
    output = await run("holders", "nginx")

    assert DIGEST in output.splitlines()[0]
    assert words(output)[2] == ["node-b", "-", "complete", "1.5", "KiB"]


async def test_leases_are_shown_with_how_far_they_are(run: Run) -> None:
    output = await run("leases")

    assert "fetches nothing; 2 questions wait" in output
    assert words(output)[2] == [DIGEST, "node-b", "1.0", "MiB", "2.0", "MiB", "1.5", "s", "3"]
    assert "4; lost: 1 stalled, 0 silent, 2 ended; refused 0" in output
    assert "1 now, 7 in all; slots yielded 3" in output
    assert "3.0 MiB (75 %)" in output
    assert json.loads(await run("leases", "--json")) == LEASES


async def test_nobody_is_said_in_words(run: Run) -> None:
    assert "nobody holds it" in await run("holders", DIGEST)


async def test_status_says_what_is_wrong(run: Run) -> None:
    output = await run("status")

    assert "yes; no seed reached" in output
    assert "not connected (no socket)" in output
    assert "1h2m" in output
    assert "64.0 MiB" in output


@pytest.mark.parametrize("typed", ["UPPER", "sha256:zz", ""])
def test_what_is_no_image_is_a_wrong_argument(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["holders", typed]) == 2
    assert "give an image such as nginx:1.27, or a digest" in capsys.readouterr().err
