from __future__ import annotations

import pytest
import trio

from shell.wire.endpoints import Endpoints
from spegel_gossip.wire import streams
from spegel_gossip.wire.errors import PeerUnreachableError
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.keyring import Keyring


async def test_a_drained_server_answers_what_was_asked_and_takes_no_more(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    asked, may_answer = trio.Event(), trio.Event()
    answers: list[bytes] = []

    async def slow(request: PeerRequest, exchange: PeerExchange) -> None:
        asked.set()
        await may_answer.wait()
        await exchange.answer(200, body=b"at last")

    async def ask() -> None:
        answers.append((await a.client.call(b.peer, "GET", "/slow")).body)

    b.server.route("/slow", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await asked.wait()
        nursery.start_soon(b.server.drain)
        await trio.testing.wait_all_tasks_blocked()

        with pytest.raises(PeerUnreachableError):
            await a.client.call(b.peer, "GET", "/slow")
        may_answer.set()

    assert answers == [b"at last"]


async def test_a_server_with_idle_connections_only_is_drained_at_once(
    endpoints: Endpoints, keyring: Keyring | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "FAREWELL_TIMEOUT", 10.0)  # no farewell is waited for either
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    await a.client.call(b.peer, "GET", "/nothing")

    with trio.fail_after(5.0):
        await b.server.drain()
