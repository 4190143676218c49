"""Push-pull, and joining through seeds, which is push-pull with somebody unknown."""

from __future__ import annotations

import math
import random
from collections.abc import Container, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from spegel_gossip.backoff import backoff
from spegel_gossip.errors import DecodeError
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.buckets import bucket_count, bucket_hashes
from spegel_gossip.swim.claim_codec import array_header
from spegel_gossip.swim.claims import Claim, supersedes
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.exchange_codec import (
    ClaimReader,
    encode_bucket_claims,
    encode_push_pull,
    read_push_pull_untrusted,
)
from spegel_gossip.swim.introspection import SwimCounters
from spegel_gossip.swim.members import Entry
from spegel_gossip.swim.messages import BucketHashes
from spegel_gossip.swim.outbox import Outbox, PushPull
from spegel_gossip.swim.view import View

T = TypeVar("T")

SCALE_THRESHOLD = 32
"""Members up to which the push-pull interval is not stretched (memberlist's pushPullScale)."""

JOIN_FANOUT = 3
"""Seeds that are tried at once."""

MAX_JOIN_BACKOFF = 15.0
"""Longest wait in seconds before a seed that failed is tried again while we are alone."""

MEET_INTERVAL = 1.0
"""Least seconds between two push-pulls with members that we did not know to be alive."""

FOLLOW_UP_INTERVAL = 2.0
"""Seconds, give or take half, between a push-pull that brought new members and the next."""

STREAM_TIMEOUT = 60.0
"""Seconds after which a push-pull of which the driver says nothing is given up."""


CLAIMS_A_TURN = 32
"""Claims that are heard before others on the loop have their turn: a millisecond, and as much again
for what the directory makes of so many newcomers."""

ENTRIES_A_TURN = 512
"""Entries of our own table that are compared and told in one turn, which is much less work."""

Turns = Generator[None, float, T]
"""Work in turns: `send` the time to have the next one done; the result comes with StopIteration."""


def at_once(turns: Turns[T], now: float) -> T:
    """Do all turns without a pause, and return the result."""
    try:
        next(turns)
        while True:
            turns.send(now)
    except StopIteration as end:
        result: T = end.value
        return result


def push_pull_scale(n: int) -> int:
    """Return the factor for the push-pull interval: 1 + ceil(log2(n) - 5) above 32 members."""
    if n <= SCALE_THRESHOLD:
        return 1
    return 1 + math.ceil(math.log2(n) - math.log2(SCALE_THRESHOLD))


@dataclass(slots=True)
class _Seed:
    try_at: float
    failures: int = 0


class Exchanges:
    """Decides with whom to push-pull, and makes and takes in what is exchanged."""

    def __init__(
        self, view: View, config: SwimConfig, rng: random.Random, outbox: Outbox, counters: SwimCounters
    ) -> None:
        self._view = view
        self._config = config
        self._rng = rng
        self._outbox = outbox
        self._counters = counters
        self._push_pull_at: float | None = None
        self._meet_at = -math.inf
        self._under_way: dict[PushPull, float] = {}
        self._seeds: dict[Address, _Seed] = {}
        self._seed_names: dict[Address, str] = {}
        self.seeds_reached = 0

    def start(self, now: float) -> None:
        """Begin the periodic push-pull, the first within one interval at random."""
        self._push_pull_at = now + self._rng.random() * self._config.push_pull_interval

    def stop(self) -> None:
        """Begin no more push-pulls: we are leaving."""
        self._push_pull_at = None
        self._seeds.clear()

    def join(self, addresses: Sequence[Address], now: float) -> None:
        """Try these seeds in place of those given before; those we know cost nothing."""
        wanted = [address for address in dict.fromkeys(addresses) if not self._is_known(address)]
        if len(wanted) > self._config.max_seeds:
            wanted = self._rng.sample(wanted, self._config.max_seeds)
        self._seeds = {address: self._seeds.get(address) or _Seed(now) for address in wanted}
        kept = dict.fromkeys(addresses)
        self._seed_names = {one: name for one, name in self._seed_names.items() if one in kept}
        self._try_seeds(now)

    def meet(self, name: str, address: Address, now: float) -> None:
        """Push-pull with one who speaks though we did not know it to be alive."""
        if self._push_pull_at is not None and now >= self._meet_at:
            self._meet_at = now + MEET_INTERVAL
            self._open(PushPull(name, (address,)), now)

    def next_timer_at(self) -> float | None:
        """Return when a push-pull or another try of a seed is due."""
        times = [] if self._push_pull_at is None else [self._push_pull_at]
        if self._joins_under_way() < JOIN_FANOUT:
            times.extend(seed.try_at for seed in self._seeds.values())
        elif self._seeds:
            times.append(min(self._under_way.values()) + STREAM_TIMEOUT)
        return min(times, default=None)

    def handle_timer(self, now: float) -> None:
        """Open what is due."""
        for exchange, started_at in list(self._under_way.items()):
            if now - started_at >= STREAM_TIMEOUT:
                self.failed(exchange, now)
        if self._push_pull_at is not None and self._push_pull_at <= now:
            interval = self._config.push_pull_interval * push_pull_scale(self._view.table.n)
            self._push_pull_at = now + interval
            for peer in self._view.table.sample(1, self._rng):
                self._open(PushPull(peer.name, _addresses_of(peer)), now)
        self._try_seeds(now)

    def hashes(self, now: float) -> bytes:
        """Return the body of a push-pull's first request."""
        entries = self._told(now)
        return encode_push_pull(BucketHashes(_hashes_of(entries, bucket_count(len(entries)))))

    def answer(self, body: bytes, peer: str) -> Turns[bytes]:
        """Answer either request of a push-pull.

        Raises:
            DecodeError: the body is not one; what stood before the fault was taken in.
        """
        message = read_push_pull_untrusted(body)
        now = yield
        if isinstance(message, ClaimReader):
            yield from self._hear(message, peer)
            return b""
        self._counters.push_pulls_answered += 1
        count = len(message.hashes)
        entries = self._told(now)
        ours = _hashes_of(entries, count)
        differing = [at for at, theirs in enumerate(message.hashes) if theirs != ours[at]]
        told = yield from self._rows(entries, dict.fromkeys(differing), count)
        return encode_bucket_claims(self._view.name, count, differing, told)

    def claims(self, answer: bytes, exchange: PushPull) -> Turns[bytes | None]:
        """Take in the answer to the first request; return the body of the second, None if needless.

        Raises:
            DecodeError: the answer is not one; the exchange has failed.
        """
        message = read_push_pull_untrusted(answer)
        now = yield
        if not isinstance(message, ClaimReader):
            raise DecodeError("bucket hashes where claims belong")
        if not exchange.peer:
            self._reached(exchange, message.name)
        # Also if it bears our own name: ourselves we tell nothing new, and another process
        # under that name must hear of us, or nobody would show the conflict (departure 2).
        known = self._view.table.n
        theirs = yield from self._hear(message, message.name)
        if self._view.table.n > known:
            self._follow_up(now)
        count = max(1, message.bucket_count)
        differing = dict.fromkeys(message.buckets)
        news = yield from self._rows(self._told(now), differing, count, theirs)
        return encode_bucket_claims(self._view.name, 0, (), news) if news else None

    def _rows(
        self, entries: Sequence[Entry], buckets: Container[int], count: int,
        theirs: Mapping[str, Claim] = MappingProxyType({}),
    ) -> Turns[list[bytes]]:  # fmt: skip
        """Return as packed claims what is in these buckets and news to one who knows `theirs`."""
        rows: list[bytes] = []
        mask = count - 1
        now = yield
        for turn, entry in enumerate(entries, start=1):
            if entry.name_hash & mask in buckets and _is_news(entry, theirs.get(entry.name)):
                rows.append(_row(entry, now))
            if turn % ENTRIES_A_TURN == 0:
                now = yield
        return rows

    def _hear(self, message: ClaimReader, peer: str) -> Turns[dict[str, Claim]]:
        """Take in the claims of a body, and return them by name."""
        heard: dict[str, Claim] = {}
        spread = self._view.table.n > 1
        now = yield
        for turn, claim in enumerate(message, start=1):
            self._view.hear_push_pull(claim, peer, now, spread=spread)
            heard[claim.name] = claim
            if turn % CLAIMS_A_TURN == 0:
                now = yield
        return heard

    def done(self, exchange: PushPull, now: float) -> None:
        """Take in that a push-pull came to its end."""
        self._under_way.pop(exchange, None)
        self._try_seeds(now)

    def failed(self, exchange: PushPull, now: float) -> None:
        """Take in that a push-pull did not come to its end."""
        if self._under_way.pop(exchange, None) is None:
            return
        self._counters.push_pulls_failed += 1
        if not exchange.peer:
            self._retry(exchange.addresses[0], now)
        self._try_seeds(now)

    def _told(self, now: float) -> list[Entry]:
        return self._view.table.told(now, silent_age=self._config.tombstone_silent_age)

    def _open(self, exchange: PushPull, now: float) -> bool:
        if exchange in self._under_way or len(self._under_way) >= self._config.max_push_pulls:
            return False
        self._under_way[exchange] = now
        self._counters.push_pulls += 1
        self._outbox.open(exchange)
        return True

    def _joins_under_way(self) -> int:
        return sum(1 for exchange in self._under_way if not exchange.peer)

    def _try_seeds(self, now: float) -> None:
        for address, seed in list(self._seeds.items()):
            if self._is_known(address):
                del self._seeds[address]
            elif seed.try_at <= now and self._joins_under_way() < JOIN_FANOUT:
                # Until its end is heard; a driver that forgets does not stop it for ever.
                seed.try_at = now + STREAM_TIMEOUT
                if not self._open(PushPull("", (address,)), now):
                    seed.try_at = now + MEET_INTERVAL

    def _retry(self, address: Address, now: float) -> None:
        seed = self._seeds.get(address)
        if seed is None:
            return
        if self._view.table.n > 1:
            # We have company, so there is no hurry: the shell resolves seeds again soon.
            del self._seeds[address]
            return
        pause = backoff(seed.failures, first=1.0, longest=MAX_JOIN_BACKOFF)
        seed.failures += 1
        seed.try_at = now + pause * (0.75 + 0.5 * self._rng.random())

    def _reached(self, exchange: PushPull, name: str) -> None:
        address = exchange.addresses[0]
        self._seeds.pop(address, None)
        if len(self._seed_names) < self._config.max_seeds:
            self._seed_names[address] = name
        if name == self._view.name:
            return  # a DNS name that has ourselves among its addresses: nobody was reached
        self.seeds_reached += 1

    def _follow_up(self, now: float) -> None:
        """Look again soon: what brought news once may do so again.

        Those who join in the same second miss some of each other, because the transmit
        limit of a cluster that is still small is low; each further look doubles what is
        known. Where all is known already, and gossip brings what is new, this is rare.
        """
        if self._push_pull_at is not None:
            soon = now + FOLLOW_UP_INTERVAL * (0.5 + self._rng.random())
            self._push_pull_at = min(self._push_pull_at, soon)

    def _is_known(self, address: Address) -> bool:
        own = self._view.own.member.record
        name = self._seed_names.get(address)
        return (
            address in own.addresses
            or name == own.name
            or self._view.table.at_address(address) is not None
            or (name is not None and self._view.table.is_live_other(name))
        )


def _addresses_of(entry: Entry) -> tuple[Address, ...]:
    """Return a member's addresses, the one in use in front."""
    return tuple(dict.fromkeys((entry.address, *entry.member.record.addresses)))


def _hashes_of(entries: Sequence[Entry], count: int) -> tuple[int, ...]:
    return bucket_hashes([(entry.name_hash, entry.claim_hash) for entry in entries], count)


def _row(entry: Entry, now: float) -> bytes:
    return array_header(entry.packed.count) + entry.packed.fields(entry.age(now))


def _is_news(ours: Entry, theirs: Claim | None) -> bool:
    if theirs is None:
        return True
    member = ours.member
    # Most often both say the same of the same record, and nothing need be built to see it.
    is_same = member.record is theirs.record and member.incarnation == theirs.incarnation
    return not (is_same and member.state is theirs.state) and supersedes(member, theirs)
