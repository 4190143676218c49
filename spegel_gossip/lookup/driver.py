"""Drives the directory's engine over both peer sockets.

One task (`run`) owns the engine's timers and whatever waits; handlers and the
router's own methods touch the engine in between, never across an await, and wake
that task when a deadline may have moved.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio

from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.fetch_codec import is_fetch_message
from spegel_gossip.directory.keys import PackedKey, unpack_key_untrusted
from spegel_gossip.directory.messages import PurgeItem
from spegel_gossip.directory.outgoing import Outgoing
from spegel_gossip.errors import DecodeError
from spegel_gossip.lookup import metrics
from spegel_gossip.lookup.asking import Asker, unix_ms
from spegel_gossip.lookup.counting import CountLater
from spegel_gossip.lookup.fetches import Fetches
from spegel_gossip.lookup.transport import MAX_STREAMS, Transport
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import REBUILD_CHANGES, Ring
from spegel_gossip.wire.datagrams import Sender
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest

log = structlog.get_logger(__name__)

MAX_LATER: Final = 64
"""Pieces of background work that wait to be begun."""


class Driver:
    """The only task that sleeps for the engine."""

    def __init__(
        self,
        directory: Directory,
        transport: Transport,
        *,
        has: Callable[[Digest], Awaitable[bool]],
        set_note: Callable[[str, bytes], None],
        on_purged: Callable[[PurgeItem], None],
        make_fetches: Callable[[Callable[[], None]], Fetches],
    ) -> None:
        self._directory = directory
        self._transport = transport
        self._has = has
        self._set_note = set_note
        self._on_purged = on_purged
        self.asker = Asker(directory, transport, self.wake_for_streams)
        self.fetches = make_fetches(self.wake_if_due)
        self._later: deque[Callable[[], Awaitable[None]]] = deque(maxlen=MAX_LATER)
        self._rechecks: deque[PackedKey] = deque()
        self._streaming = 0
        self._wakeup = trio.Event()
        self._sleeps_until = -math.inf
        self._counting = CountLater()
        self._counted = directory.tally()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the engine until cancelled."""
        self._directory.start(trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fetches.run)
            task_status.started()
            while True:
                await self._change_ring()
                self._directory.handle_timer(trio.current_time())
                self._flush()
                self._start_waiting(nursery)
                self._count()
                self._wakeup = trio.Event()
                self._sleeps_until = self._next_timer_at()
                with trio.move_on_at(self._sleeps_until):
                    await self._wakeup.wait()

    def wake(self) -> None:
        """Have `run` look at the engine again: a deadline may have moved, or something wait."""
        self._wakeup.set()

    def do_later(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have something done in the background; where too much waits already, the oldest is not done."""
        self._later.append(work)
        self.wake()

    def wake_for_streams(self) -> None:
        """Wake `run` where requests wait to be sent."""
        if self._transport.streams:
            self.wake()

    def wake_if_due(self) -> None:
        """Wake `run` where something waits for it, or a deadline moved.

        For questions and answers, of which there are thousands, and after which there is nothing to do.
        """
        self._counting.soon()
        if self._transport.streams or self._rechecks or self._next_timer_at() < self._sleeps_until:
            self.wake()

    def _next_timer_at(self) -> float:
        timers = (self._directory.next_timer_at(), self._directory.ring_change_at(), self._counting.at)
        return min(at for at in timers if at is not None)

    async def _change_ring(self) -> None:
        change_at = self._directory.ring_change_at()
        if change_at is None or change_at > trio.current_time():
            return
        members = dict(self._directory.members)
        if self._directory.ring.changes_to(members) > REBUILD_CHANGES:
            # 0.3 s of computing for a thousand members.
            ring = await trio.to_thread.run_sync(Ring.of, members)
        else:
            ring = self._directory.ring.changed_to(members)
        change = self._directory.change_to(ring)
        while change.look_at_some():
            await trio.lowlevel.checkpoint()
        self._directory.apply(change, trio.current_time())
        metrics.RING_CHANGES.inc()
        metrics.RING_MEMBERS.set(len(members))
        log.info("ring changed", members=len(members), epoch=f"{ring.epoch:016x}")

    def _flush(self) -> None:
        """Do outside what the engine decided."""
        now = trio.current_time()
        for message in self._directory.messages_to_send():
            self._transport.send(message, now)
        for answer in self._directory.answers_received():
            self.asker.answered(answer)
        for name, note in self._directory.notes_to_set():
            self._set_note(name, note)
        for item in self._directory.purges.news():
            self._on_purged(item)
        self._rechecks.extend(self._directory.keys_to_recheck())
        self.fetches.flush()  # who waits for a blob is answered as a record comes

    def _start_waiting(self, nursery: trio.Nursery) -> None:
        # No more than are sent: a task that waits for its turn would be past the bound of those that wait.
        while self._transport.streams and self._streaming < MAX_STREAMS:
            self._streaming += 1
            nursery.start_soon(self._stream, self._transport.streams.popleft())
        while self._rechecks:
            nursery.start_soon(self._recheck, self._rechecks.popleft())
        while self._later:
            nursery.start_soon(self._later.popleft())

    def _count(self) -> None:
        if not self._counting.is_due():
            return
        before, self._counted = self._counted, self._directory.tally()
        now = self._counted
        for kind, count in now.records.items():
            metrics.RECORDS.labels(kind).set(count)
        metrics.ADVERTISED.set(now.advertised)
        metrics.MOVED.inc(now.moved - before.moved)
        metrics.RESYNCS.inc(now.resyncs - before.resyncs)
        metrics.REFUSED.inc(now.refused - before.refused)

    def receive_datagram(self, body: bytes, sender: Sender) -> None:
        """Take in a datagram of the directory's.

        Raises:
            DecodeError: for every malformed input.
        """
        self._transport.heard(sender.name, sender.address)
        reply = self._receive(body, sender.name)
        if reply is not None:
            self._transport.reply(reply, to=sender.address, target=sender.name)
        if not is_fetch_message(body):  # which leaves the directory as it was
            self._flush()
            self.wake_if_due()

    async def serve_batch(self, request: PeerRequest, exchange: PeerExchange) -> None:
        """Take in a message that did not come as a datagram, and answer as one would be.

        Raises:
            DecodeError: for every malformed input.
        """
        if request.method != "POST":
            await exchange.answer(405, headers={"Allow": "POST"})
            return
        reply = self._receive(request.body, request.sender)
        self._flush()
        self.wake()
        await exchange.answer(200, body=reply or b"", sealed=True)

    async def _stream(self, message: Outgoing) -> None:
        try:
            reply = await self._transport.stream(message)
        finally:
            self._streaming -= 1
        now = trio.current_time()
        if reply is None or not self._is_understood(reply, message.to):
            self._directory.failed(message.to, message.id, now)
            self.asker.failed(message.id)
        self._flush()
        self.wake()

    def _receive(self, body: bytes, sender: str) -> bytes | None:
        if is_fetch_message(body):
            return self.fetches.receive(body, sender)
        return self._directory.receive(body, sender, trio.current_time(), unix_ms())

    def _is_understood(self, reply: bytes, sender: str) -> bool:
        try:
            # Nothing is what a message that wants no answer is answered with.
            if reply:
                self._receive(reply, sender)
        except DecodeError as exc:
            log.debug("directory request failed", to=sender, reason=str(exc))
            return False
        return True

    async def _recheck(self, key: PackedKey) -> None:
        digest = unpack_key_untrusted(key)  # one of our own keys
        is_here = isinstance(digest, Digest) and await self._has(digest)
        metrics.MISSES.labels("false" if is_here else "true").inc()
        self._directory.rechecked(key, is_here=is_here, now=trio.current_time())
        self.wake()
