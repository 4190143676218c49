"""What an exchange between two members that know thousands costs the loop of one of them."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from spegel_gossip.gossip.long_lived import LongLived
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.exchange_codec import encode_push_pull
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.messages import BucketClaims

BOOT = 1_700_000_000_000
NOW = 1.0
PEER = "node-00000"


def whole_table(n: int) -> bytes:
    """The body that tells all of so many members."""
    claims = []
    for number in range(n):
        address = Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 29501)
        record = MemberRecord(f"node-{number:05}", BOOT, (address,), f"zone-{number % 3}", "0.1.0")
        claims.append(Claim(record, BOOT, MemberState.ALIVE))
    return encode_push_pull(BucketClaims(PEER, 0, (), tuple(claims)))


class Learner:
    """A member that is told of thousands, and how long it held its loop each time."""

    def __init__(self) -> None:
        own = MemberRecord("me", BOOT, (Address("10.99.0.1", 29501),))
        self.engine = Swim(own, SwimConfig(), random.Random(1))
        self.turns: list[float] = []
        """Seconds of CPU time, what the garbage collector took of them included."""
        self._long_lived = LongLived()

    def answer(self, body: bytes) -> bytes:
        """Answer a request of a push-pull in turns, as the driver does."""
        with self._turn():
            turns = self.engine.answer_push_pull_in_turns(body, PEER)
            next(turns)
        while True:
            with self._turn():
                try:
                    turns.send(NOW)
                except StopIteration as end:
                    answer: bytes = end.value
                    return answer
                self.engine.events()
                self._long_lived.grown_to(self.engine.n)

    def hash_table(self) -> bytes:
        """Make the first request of a push-pull, which is one turn."""
        with self._turn():
            return self.engine.push_pull_hashes(NOW)

    def collect(self) -> None:
        """Have a full collection, which is a turn as well."""
        with self._turn():
            gc.collect()

    def worst(self) -> float:
        """The longest turn so far, in seconds; forgets them."""
        longest = max(self.turns)
        self.turns = []
        return longest

    @contextmanager
    def _turn(self) -> Iterator[None]:
        began_at = time.thread_time()
        yield
        self.turns.append(time.thread_time() - began_at)
