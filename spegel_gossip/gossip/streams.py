"""Membership over streams: push-pulls and TCP pings, of ours and of others.

They are in step with the driver by its `settle`, which carries out what the engine wants
and moves the timer; it is called after every word with the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from spegel_gossip.errors import DecodeError
from spegel_gossip.gossip.announcer import Announcer
from spegel_gossip.routing import Peer
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.exchanges import Turns
from spegel_gossip.swim.outbox import PushPull, Stream, TcpPing
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.errors import WireError
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest
from spegel_gossip.wire.quiet import QuietLog

PUSH_PULL_PATH = "/gossip/push-pull"
PING_PATH = "/gossip/ping"

PUSH_PULL_TIMEOUT = 10.0
"""Seconds for each of the two requests (memberlist's TCPTimeout)."""

MAX_STREAMS = 32
"""Push-pulls and TCP pings under way; the engine asks for far fewer."""

MAX_ANSWERS = 16
"""Push-pulls of others that are answered at a time; the rest wait in line. At 5,000 members an answer
may have half a megabyte, and when thousands start at once, thousands ask the same seed."""

T = TypeVar("T")


class Streams:
    """Opens what the engine wants, and answers what others opened."""

    def __init__(
        self, engine: Swim, client: PeerClient, announcer: Announcer, settle: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._client = client
        self._announcer = announcer
        self._settle = settle
        self._answering = trio.CapacityLimiter(MAX_ANSWERS)
        self._log_failed = QuietLog("membership over a stream failed")
        self.under_way = 0
        """Streams of ours."""

    def open(self, stream: Stream, nursery: trio.Nursery) -> None:
        """Open a stream in the background, unless there are too many."""
        if self.under_way >= MAX_STREAMS:
            if isinstance(stream, PushPull):
                self._engine.push_pull_failed(stream, trio.current_time())
            return
        self.under_way += 1
        nursery.start_soon(self._run, stream)

    async def answer_push_pull(self, request: PeerRequest, exchange: PeerExchange) -> None:
        """Answer either request of another's push-pull."""
        if request.method != "POST":
            await exchange.answer(405, headers={"Allow": "POST"})
            return
        async with self._answering:
            body = await self._in_turns(self._engine.answer_push_pull_in_turns(request.body, request.sender))
            await exchange.answer(200, body=body, sealed=True)

    async def answer_ping(self, _request: PeerRequest, exchange: PeerExchange) -> None:
        """Answer a ping whose datagram went astray."""
        await exchange.answer(200, sealed=True)

    async def _run(self, stream: Stream) -> None:
        try:
            match stream:
                case PushPull():
                    await self._push_pull(stream)
                case TcpPing():
                    await self._tcp_ping(stream)
        finally:
            self.under_way -= 1
            self._settle()

    async def _push_pull(self, exchange: PushPull) -> None:
        engine = self._engine
        peer = Peer(exchange.peer, "", exchange.addresses)
        try:
            answer = await self._post(peer, engine.push_pull_hashes(trio.current_time()))
            claims = await self._in_turns(engine.push_pull_claims_in_turns(answer, exchange))
            if claims is not None:
                await self._post(peer, claims)
        except (WireError, DecodeError) as exc:
            self._announcer.tell_failure(exchange.peer, exchange.addresses, str(exc))
            engine.push_pull_failed(exchange, trio.current_time())
        except Exception as exc:  # noqa: BLE001 - an answer that meets a bug must not end the node
            self._log_failed.failed(exc, peer=exchange.peer)
            self._announcer.tell_failure(exchange.peer, exchange.addresses, str(exc))
            engine.push_pull_failed(exchange, trio.current_time())
        else:
            engine.push_pull_done(exchange, trio.current_time())

    async def _in_turns(self, turns: Turns[T]) -> T:
        """Have the engine work through a body; between two turns all others on the loop have theirs."""
        next(turns)
        while True:
            try:
                turns.send(trio.current_time())
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self._settle()
            await trio.lowlevel.checkpoint()

    async def _post(self, peer: Peer, body: bytes) -> bytes:
        answer = await self._client.call(peer, "POST", PUSH_PULL_PATH, body=body, timeout=PUSH_PULL_TIMEOUT)
        if answer.status != 200:
            raise DecodeError(f"push-pull was answered with {answer.status}")
        return answer.body

    async def _tcp_ping(self, ping: TcpPing) -> None:
        peer = Peer(ping.peer, "", ping.addresses)
        try:
            answer = await self._client.call(peer, "GET", PING_PATH)
        except WireError:
            return
        if answer.status == 200:
            self._engine.tcp_ping_answered(ping, trio.current_time())
