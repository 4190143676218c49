import socket
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from spegel_gossip.admin.client import AdminError, ask_node, tell_node
from spegel_gossip.admin.server import MAX_BODY_BYTES, MAX_CONNECTIONS, MAX_HEAD_BYTES, AdminServer
from spegel_gossip.errors import ConfigError, SpegelGossipError
from spegel_gossip.oci.digest import Digest


async def members(query: Mapping[str, str]) -> object:
    return {"members": [], "query": dict(query)}


async def holders(query: Mapping[str, str]) -> object:
    return {"key": str(Digest.parse(query["key"]))}


async def no_answer(query: Mapping[str, str]) -> object:
    raise SpegelGossipError("no owner answered")


async def bug(query: Mapping[str, str]) -> object:
    raise RuntimeError("secret of the traceback")


ROUTES = {"/members": members, "/holders": holders, "/unreachable": no_answer, "/bug": bug}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


@pytest.fixture
async def served(path: Path, nursery: trio.Nursery) -> Path:
    await nursery.start(AdminServer(path, ROUTES).run)
    return path


async def ask(path: Path, route: str, query: Mapping[str, str] | None = None) -> object:
    answer: object = await trio.to_thread.run_sync(ask_node, path, route, query)
    return answer


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def is_there(path: Path) -> bool:
    return path.exists()


async def raw(path: Path, request: bytes) -> bytes:
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        await stream.send_all(request)
        answer = b""
        async for chunk in stream:
            answer += chunk
        return answer


async def test_a_question_is_answered_with_its_query(served: Path) -> None:
    key = "docker.io/library/nginx:1.27 & more"
    assert await ask(served, "/members", {"key": key}) == {"members": [], "query": {"key": key}}


async def test_only_the_owner_may_open_the_socket(served: Path) -> None:
    assert mode_of(served) == 0o600


async def test_what_a_dead_node_left_is_replaced(path: Path, nursery: trio.Nursery) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    await nursery.start(AdminServer(path, ROUTES).run)

    assert await ask(path, "/members") == {"members": [], "query": {}}


async def test_a_living_node_keeps_its_socket(served: Path) -> None:
    with pytest.raises(ConfigError, match="running node"):
        await AdminServer(served, ROUTES).run()

    assert await ask(served, "/members") == {"members": [], "query": {}}


def test_a_file_in_the_place_of_the_socket_is_not_touched(path: Path) -> None:
    path.write_text("precious")

    with pytest.raises(ConfigError, match="not a socket"):
        trio.run(AdminServer(path, ROUTES).run)

    assert path.read_text() == "precious"


async def test_a_missing_directory_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--admin-socket"):
        await AdminServer(tmp_path / "missing" / "admin.sock", ROUTES).run()


async def test_the_socket_goes_with_the_node(path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(AdminServer(path, ROUTES).run)
        nursery.cancel_scope.cancel()

    assert not is_there(path)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /nowhere HTTP/1.1", b"404"),
        (b"POST /members HTTP/1.1", b"405"),
        (b"GET /holders?key=latest HTTP/1.1", b"400"),
        (b"GET /unreachable HTTP/1.1", b"503"),
        (b"GET /bug HTTP/1.1", b"500"),
        (b"\x16\x03\x01\x02\x00 nonsense", b"400"),
    ],
)
async def test_a_failure_has_its_status_and_leaves_the_server_running(
    served: Path, request_line: bytes, status: bytes
) -> None:
    answer = await raw(served, request_line + b"\r\nHost: x\r\n\r\n")

    assert answer.split()[1] == status
    assert b"secret" not in answer
    assert await ask(served, "/members") == {"members": [], "query": {}}


async def test_a_request_without_end_is_refused(served: Path) -> None:
    answer = await raw(served, b"GET /members HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MAX_HEAD_BYTES)

    assert answer.split()[1] == b"431"


async def test_who_says_nothing_is_sent_away(
    path: Path, nursery: trio.Nursery, autojump_clock: object
) -> None:
    await nursery.start(AdminServer(path, ROUTES).run)

    assert (await raw(path, b"")).split()[1] == b"408"


async def test_more_than_the_limit_of_silent_connections_are_closed(
    path: Path, nursery: trio.Nursery, autojump_clock: object
) -> None:
    await nursery.start(AdminServer(path, ROUTES).run)
    silent = [await trio.open_unix_socket(str(path)) for _ in range(MAX_CONNECTIONS)]
    await trio.testing.wait_all_tasks_blocked()

    assert await raw(path, b"") == b""

    for stream in silent:
        await stream.aclose()


async def test_the_client_tells_the_error_that_the_node_told(served: Path) -> None:
    with pytest.raises(AdminError, match="no owner answered"):
        await ask(served, "/unreachable")


def test_a_missing_socket_asks_whether_the_node_runs(path: Path) -> None:
    with pytest.raises(AdminError, match="is the node running"):
        ask_node(path, "/members")


def test_a_left_over_socket_asks_whether_the_node_runs(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with pytest.raises(AdminError, match="nobody listens"):
        ask_node(path, "/members")


async def forget(arguments: Mapping[str, str]) -> object:
    return {"forgotten": arguments["what"]}


@pytest.fixture
async def commanded(path: Path, nursery: trio.Nursery) -> Path:
    await nursery.start(AdminServer(path, ROUTES, {"/forget": forget}).run)
    return path


async def test_a_command_is_carried_out_with_its_arguments(commanded: Path) -> None:
    answer = await trio.to_thread.run_sync(tell_node, commanded, "/forget", {"what": "a \u00fc b"})
    assert answer == {"forgotten": "a \u00fc b"}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"what": 1}', b"[" * 50_000])
async def test_arguments_that_are_none_are_refused(commanded: Path, body: bytes) -> None:
    head = b"POST /forget HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert (await raw(commanded, head + body)).startswith(b"HTTP/1.1 400 ")


async def test_a_command_is_not_carried_out_by_asking(commanded: Path) -> None:
    answer = await raw(commanded, b"GET /forget HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"allow: post" in answer.lower()


async def test_a_body_beyond_the_limit_is_not_kept(commanded: Path) -> None:
    head = b"POST /forget HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    assert (await raw(commanded, head + bytes(MAX_BODY_BYTES + 1))).startswith(b"HTTP/1.1 413 ")
