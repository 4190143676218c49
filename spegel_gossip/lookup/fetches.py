"""Asks the owners whom to read a blob from, follows what arrives here, and tells the owners of it.

`directory.fetch_desk` decides as an owner, `swarm.receptions` remembers as a receiver; this
moves the bytes of both, and waits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog
import trio

from spegel_gossip.content import BlobAdded, ContentEvent, PartialChanged, PartialLeft, PartialRemoved
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.fetch_desk import FetchDesk
from spegel_gossip.directory.fetch_messages import FetchTold, Verdict
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.lookup import metrics
from spegel_gossip.lookup.asking import unix_ms
from spegel_gossip.lookup.choice import HolderChoice
from spegel_gossip.lookup.counting import CountLater
from spegel_gossip.lookup.question import MAX_UNHEARD, Question, found_of, name_of_verdict
from spegel_gossip.lookup.reporting import progress_items
from spegel_gossip.lookup.slots import Slots
from spegel_gossip.lookup.transport import Transport
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import (
    FetchLeasedError,
    FetchNeed,
    Holders,
    NoHolderError,
    OwnersUnreachableError,
    Peer,
    SlotWantedError,
)
from spegel_gossip.swarm.lacking import Lacking
from spegel_gossip.swarm.patience import URGENT_AFTER
from spegel_gossip.swarm.receptions import Receptions
from spegel_gossip.swarm.uplink import Uplink

log = structlog.get_logger(__name__)

SILENT_PAUSE: Final = 10.0
"""Seconds for which an owner that was silent is asked last."""

MAX_ROUNDS: Final = 4
"""Times the owners are asked anew because those they named cannot be reached from here."""


class Fetches:
    """This node's way into the swarm (`routing.FetchRouter`)."""

    def __init__(
        self,
        directory: Directory,
        transport: Transport,
        choice: HolderChoice,
        wake_driver: Callable[[], None],
        *,
        first_id: int,
        uplink: Uplink,
    ) -> None:
        """Take the parts of the lookup; nothing is sent before somebody asks.

        Args:
            directory: of this node
            transport: to members
            choice: which holder first
            wake_driver: has waiting requests begun
            first_id: ids and tokens count up from here; of another boot they must be others
            uplink: of this node; to be read
        """
        self._uplink = uplink
        self._directory = directory
        self._transport = transport
        self._choice = choice
        self._wake_driver = wake_driver
        self._desk = FetchDesk(directory, first_token=first_id, first_id=first_id)
        self._receptions = Receptions()
        self.slots = Slots(self._receptions)
        """The line for containerd's slots."""

        self._lacking = Lacking()
        self._questions: dict[int, Question] = {}
        self._silent_until: dict[str, float] = {}
        self._wakeup = trio.Event()
        self._sleeps_until = -math.inf
        self._counting = CountLater()
        self._counted: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        """What owners said since the start; `wait` once a request, before what they said in the end."""

    @property
    def held(self) -> int:
        """Requests of this node that wait, because their owner said so."""
        return sum(question.is_held for question in self._questions.values())

    @property
    def desk(self) -> FetchDesk:
        """What this node decides as an owner; to be read."""
        return self._desk

    @property
    def receptions(self) -> Receptions:
        """What arrives at this node; to be read."""
        return self._receptions

    # -- the port -----------------------------------------------------------------------------

    async def lookup_to_fetch(self, digest: Digest, need: FetchNeed) -> Holders:
        """Return whom to read a blob from, waiting for as long as somebody else receives it.

        Raises:
            FetchLeasedError: this node is to fetch it from upstream.
            SlotWantedError: it is not, and the request gives way.
            NoHolderError: nobody has it, and this node may fetch it or not.
            OwnersUnreachableError: no owner answers such a question.
        """
        started_at = trio.current_time()
        if not need.gives_way:
            self._follow(digest, need)
        failed = list(need.failed)
        was_busy = False
        for _ in range(MAX_ROUNDS):
            question = await self._ask_owners(digest, need, failed, started_at)
            told = None if question is None else question.told
            self._verdict(told)
            if question is None or told is None:
                raise OwnersUnreachableError(digest)
            if told.verdict == Verdict.WAIT:
                raise SlotWantedError(digest)
            if need.gives_way:
                self._follow(digest, need)
            if told.verdict == Verdict.LEASE:
                self._receptions.leased(digest, told.token, question.owner, now=trio.current_time())
                self._wake()
                raise FetchLeasedError(digest)
            if told.verdict not in {Verdict.READ, Verdict.ATTACH}:
                raise NoHolderError(digest)
            named = self._peers(told)
            peers = self._choice.order(named, trio.current_time()) or (named if was_busy else [])
            if peers:
                self._receptions.attached(digest, told.stamp, question.owner, peers[0].name)
                return found_of(digest, told, peers)
            if named:
                # Skipped here for a while, which may be over nothing. Taken for failed, with all others
                # behind it in the chain, the owner would send this node upstream.
                need, was_busy = replace(need, busy=(*need.busy, *(peer.name for peer in named))), True
            else:
                failed += self._names(told)
        raise NoHolderError(digest)

    def place_of(self, digest: Digest) -> tuple[int, int]:
        """Return how many bytes of a blob have arrived here, and our stamp among its receivers."""
        return self._receptions.place_of(digest)

    def is_given_up(self, digest: Digest, offset: int) -> bool:
        """Return whether nobody need wait for more of a blob than so many bytes."""
        return self._receptions.is_given_up(digest, offset)

    def left(self, digest: Digest) -> None:
        """Take in that a request ended before its blob did; its owners then keep no place for it."""
        self._receptions.left(digest, trio.current_time())
        self._wake()

    def peer(self, name: str) -> Peer | None:
        """Return a live member as somebody who can be talked to."""
        return self._transport.peer(name)

    def lacks(self, parts: Mapping[Digest, int]) -> None:
        """Take in what this node lacks of an image that it is about to pull, with the sizes in bytes."""
        self._lacking.note(parts)

    # -- news ---------------------------------------------------------------------------------

    def receive(self, body: bytes, sender: str) -> bytes | None:
        """Take in a fetch message; return its answer, if it wants one.

        Raises:
            DecodeError: for every malformed input.
        """
        reply = self._desk.receive(body, sender, trio.current_time(), unix_ms())
        self.flush()
        return reply

    def flush(self) -> None:
        """Send what this node has to say and hand on what it was told: also after news of the directory's."""
        now = trio.current_time()
        for message in self._desk.messages_to_send():
            self._transport.send(message, now)
        for owner, told in self._desk.answers_received():
            # All askers had better ask the same one: another knows of its leases by reports alone.
            self._silent_until.pop(owner, None)
            if told.is_crowded:
                self._receptions.crowded(now)
            question = self._questions.get(told.id)
            if question is not None and question.owner == owner:
                question.told, question.unheard = told, 0
                question.changed.set()
                if question.is_open and not question.is_held:
                    question.is_held = True
                    self._verdict(told)
        if self._transport.streams:
            self._wake_driver()
        timer_at = self._desk.next_timer_at()
        if timer_at is not None and timer_at < self._sleeps_until:
            self._wake()

    def on_content(self, event: ContentEvent) -> None:
        """Follow the ingests of the local store."""
        match event:
            case PartialChanged(digest, status):
                now = trio.current_time()
                self._receptions.changed(digest, offset=status.offset, total=status.total, now=now)
            case BlobAdded(digest):
                self._receptions.ended(digest, is_done=True)
            case PartialRemoved(digest) | PartialLeft(digest):
                self._receptions.ended(digest, is_done=False)
            case _:
                return
        # An ingest grows fifty times a second, and is told of twice.
        if self._next_timer_at() < self._sleeps_until:
            self._wake()

    def member_gone(self, name: str) -> None:
        """Take in that a member is dead or left."""
        self._silent_until.pop(name, None)
        self._desk.member_gone(name, trio.current_time(), unix_ms())
        self.flush()
        for question in self._questions.values():
            if question.owner == name:
                question.changed.set()

    async def run(self) -> None:
        """Report and look after leases until cancelled."""
        while True:
            now = trio.current_time()
            self._desk.handle_timer(now, unix_ms())
            self._report(now)
            self.flush()
            self._count(now)
            self._wakeup = trio.Event()
            self._sleeps_until = self._next_timer_at()
            with trio.move_on_at(self._sleeps_until):
                await self._wakeup.wait()

    # -- helpers ------------------------------------------------------------------------------

    async def _ask_owners(
        self, digest: Digest, need: FetchNeed, failed: Sequence[str], started_at: float
    ) -> Question | None:
        """Return the word of the first owner that decides; the young and the silent are passed over."""
        now, key = trio.current_time(), pack_key(digest)
        owners = sorted(
            self._directory.live_owners(key), key=lambda name: self._silent_until.get(name, 0.0) > now
        )
        young: list[str] = []
        must_decide = bool(owners) and owners[0] != self._directory.live_owners(key)[0]
        former = self._directory.former_owner(key, now)
        while owners:
            owner = owners.pop(0)
            question = await self._ask(digest, owner, need, failed, started_at, must_decide=must_decide)
            if question is None:
                self._silent_until[owner] = trio.current_time() + SILENT_PAUSE
                must_decide = not young
            elif question.verdict == Verdict.YOUNG:
                young.append(owner)
                must_decide = False
                if former is not None and former not in young:
                    # All askers agree on it, whichever of the new owners they know of.
                    owners = [former, *(name for name in owners if name != former)]
                    former, must_decide = None, True
            else:
                return question
        if young:
            return await self._ask(digest, young[0], need, failed, started_at, must_decide=True)
        return None

    async def _ask(
        self,
        digest: Digest,
        owner: str,
        need: FetchNeed,
        failed: Sequence[str],
        started_at: float,
        *,
        must_decide: bool,
    ) -> Question | None:
        """Return an owner's decision, waiting while it says to wait; None if it is silent or gone."""
        key = pack_key(digest)
        question = Question(owner, key, need.gives_way)
        burden, together = self._burden(key), self._lacking.together(digest)
        id_: int | None = None
        try:
            while True:
                now = trio.current_time()
                id_ = self._desk.ask(
                    key,
                    owner,
                    id_=id_,
                    offset=need.offset,
                    total=need.total,
                    failed=failed,
                    stalled=need.stalled,
                    must_decide=must_decide,
                    is_urgent=need.is_last and now - started_at + need.waited >= URGENT_AFTER,
                    is_crowded=self._receptions.is_crowded(now),
                    is_blind=need.is_blind,
                    burden=burden,
                    busy=need.busy,
                    together=together,
                    gives_way=need.gives_way,
                    now=now,
                    unix_ms=unix_ms(),
                )
                self._questions[id_] = question
                question.unheard += 1
                self.flush()
                self._wake_driver()
                with trio.move_on_after(question.repeat_interval):
                    while question.is_open:
                        question.changed = trio.Event()
                        await question.changed.wait()
                        if owner not in self._directory.members:
                            return None
                if not question.is_open:
                    return question
                if question.unheard >= MAX_UNHEARD:
                    return None
        finally:
            if id_ is not None:
                self._questions.pop(id_, None)

    def _follow(self, digest: Digest, need: FetchNeed) -> None:
        self._receptions.asked(digest, offset=need.offset, total=need.total, now=trio.current_time())

    def _burden(self, key: PackedKey) -> int:
        """Return how many other blobs this node fetches from upstream, or may be told to in a moment."""
        fetched = {pack_key(one.digest) for one in self._receptions.leases()}
        asked = {question.key for question in self._questions.values()}
        return len((fetched | asked) - {key})

    def _report(self, now: float) -> None:
        report = self._receptions.report(now)
        if report is None:
            return
        self._desk.report(
            progress_items(report),
            deciders=[one.decider for one in report.receptions],
            sharing=report.sharing,
            is_growing=report.is_growing,
            uplink=self._uplink.rate(now),
            has_spare=self._uplink.has_spare(now),
            now=now,
            unix_ms=unix_ms(),
        )

    def _next_timer_at(self) -> float:
        timers = (self._desk.next_timer_at(), self._receptions.next_report_at(), self._counting.at)
        return min(at for at in timers if at is not None)

    def _count(self, now: float) -> None:
        if not self._counting.is_due():
            return
        leases = self._desk.leases
        for what, count in leases.counts.items():
            metrics.LEASES.labels(what).inc(count - self._counted[what])
            self._counted[what] = count
        metrics.LEASES_HELD.set(len(leases.views(now)))
        metrics.QUESTIONS_WAITING.set(leases.waiting())

    def _verdict(self, told: FetchTold | None) -> None:
        name = name_of_verdict(told)
        self.verdicts[name] += 1
        metrics.FETCHES.labels(name).inc()

    def _wake(self) -> None:
        self._wakeup.set()

    def _names(self, told: FetchTold) -> list[str]:
        names = (self._desk.name_of(one) for one in told.sources)
        return [name for name in names if name is not None]

    def _peers(self, told: FetchTold) -> list[Peer]:
        peers = (self._transport.peer(name) for name in self._names(told))
        return [peer for peer in peers if peer is not None]
