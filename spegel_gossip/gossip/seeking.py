"""The loops that look for others: through seeds, and through what is remembered."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import trio

from spegel_gossip.gossip.memory import MAX_ADDRESSES, MemberMemory
from spegel_gossip.swim.address import Address

SEEDS_INTERVAL = (15.0, 60.0)
"""Seconds between two looks for seeds, at random, for ever: two halves always find each other."""

LONELY_SEEDS_INTERVAL = (1.0, 15.0)
"""The same while nobody was found: from the first, doubled each time, to the second."""

REMEMBERED_SEEDS = 16
"""Remembered addresses that are tried beside the seeds while we are alone."""

REMEMBER_DELAY = 2.0
"""Seconds after a change until it is written, so that a join of many is one write."""

REMEMBER_INTERVAL = 30.0
"""Least seconds between two writes of the remembered members."""

FindSeeds = Callable[[], Awaitable[Sequence[Address]]]


async def run_seeking(
    find_seeds: FindSeeds,
    join: Callable[[Sequence[Address]], None],
    is_alone: Callable[[], bool],
    memory: MemberMemory,
    rng: random.Random,
) -> None:
    """Look for seeds for ever and have them joined; while alone, remembered members too."""
    shortest, longest = LONELY_SEEDS_INTERVAL
    lonely_interval = shortest
    # At once: a node that restarts must not wait for a name server.
    remembered = _drawn(memory, rng)
    join(remembered)
    while True:
        seeds = await find_seeds()
        join([*seeds, *remembered] if is_alone() else seeds)
        # Others next time: those of the first may be the ones that are gone.
        remembered = _drawn(memory, rng)
        if is_alone():
            await trio.sleep(lonely_interval * rng.uniform(0.75, 1.25))
            lonely_interval = min(longest, 2 * lonely_interval)
        else:
            lonely_interval = shortest
            await trio.sleep(rng.uniform(*SEEDS_INTERVAL))


def _drawn(memory: MemberMemory, rng: random.Random) -> list[Address]:
    return rng.sample(memory.addresses, min(REMEMBERED_SEEDS, len(memory.addresses)))


class Remembering:
    """Writes the members' addresses down, some time after they changed."""

    def __init__(
        self, memory: MemberMemory, addresses: Callable[[], Sequence[Address]], rng: random.Random
    ) -> None:
        """Take the memory, and where the others are found at any moment."""
        self._memory = memory
        self._addresses = addresses
        self._rng = rng
        self._has_changed = trio.Event()

    def changed(self) -> None:
        """Note that members came or went."""
        self._has_changed.set()

    async def run(self) -> None:
        """Write for ever, in a thread."""
        while True:
            await self._has_changed.wait()
            await trio.sleep(REMEMBER_DELAY)
            self._has_changed = trio.Event()
            addresses = self._addresses()
            if not addresses:
                continue  # those we knew last are better than none
            chosen = self._rng.sample(addresses, min(MAX_ADDRESSES, len(addresses)))
            await trio.to_thread.run_sync(self._memory.remember, chosen)
            await trio.sleep(REMEMBER_INTERVAL)
