"""Whom an asker asks about its keys, when it asks the next, and what it may conclude.

One owner is asked; another when the first is slow, or when it says "nobody" but may
not know. An inquiry ends when every key has holders, or a "nobody" that counts: from
an owner that is not young and sees the same owners, or from all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.messages import KeyAnswer
from spegel_gossip.swim.names import name_hash

HEDGE_AFTER: Final = (0.025, 0.1)
"""Seconds from the start after which the second and the third owner are asked too."""

REPEAT_AFTER: Final = 0.4
"""Seconds from the start after which owners that are silent are asked again, over TCP."""

INQUIRY_TIMEOUT: Final = 1.0
"""Seconds from the start after which the inquiry ends with what it has."""


class Verdict(Enum):
    """How an inquiry ended for one key."""

    FOUND = "found"
    NOBODY = "nobody"
    UNREACHABLE = "unreachable"


def view_of(owners: Sequence[str]) -> int:
    """Return the hash of a preference list, by which asker and owner compare theirs."""
    hasher = hashlib.blake2b(digest_size=8)
    for owner in owners:
        hasher.update(name_hash(owner).to_bytes(8, "big"))
    return int.from_bytes(hasher.digest(), "big")


def reading_order(owners: Sequence[str], asker: str) -> tuple[str, ...]:
    """Return whom to ask in turn when any owner will do.

    The asker itself goes first where it is an owner: that costs no packet. Others
    begin at one of the three by the asker's hash, so that the owners of a key that
    everybody wants share the questions.
    """
    if not owners:
        return ()
    first = owners.index(asker) if asker in owners else name_hash(asker) % len(owners)
    return (*owners[first:], *owners[:first])


class Inquiry:
    """One asker's questions about keys that have the same owners."""

    def __init__(self, keys: Sequence[PackedKey], order: Sequence[str], now: float) -> None:
        """Begin.

        Args:
            keys: what is asked for
            order: the live owners, in the order in which they are to be asked
            now: the start, from which everything is counted
        """
        self._open = dict.fromkeys(keys)
        self._order = tuple(order)
        self._started_at = now
        self._asked: dict[str, None] = {}
        self._answered: dict[str, None] = {}
        self._failed: dict[str, None] = {}
        self._repeated = False
        self._wants_next = True
        self._answers: dict[PackedKey, tuple[KeyAnswer, Verdict]] = {}
        self._heard: dict[PackedKey, int] = dict.fromkeys(keys, 0)

    @property
    def open_keys(self) -> tuple[PackedKey, ...]:
        """The keys without a verdict."""
        return tuple(self._open)

    @property
    def hedges(self) -> int:
        """How many owners beyond the first were asked."""
        return max(0, len(self._asked) - 1)

    def owners_to_ask(self, now: float) -> list[str]:
        """Return the owners to ask now, about `open_keys`; each is named once."""
        owners = []
        due = 1 + sum(self._is_after(delay, now) for delay in HEDGE_AFTER)
        for owner in self._order:
            if owner in self._asked:
                continue
            if not self._open or (len(self._asked) >= due and not self._wants_next):
                break
            self._asked[owner] = None
            self._wants_next = False
            owners.append(owner)
        return owners

    def owners_to_repeat(self, now: float) -> list[str]:
        """Return, once, the silent owners to ask again over TCP."""
        if self._repeated or not self._is_after(REPEAT_AFTER, now) or not self._open:
            return []
        self._repeated = True
        return [owner for owner in self._asked if owner not in self._answered]

    def next_timer_at(self) -> float | None:
        """Return when to look again if no answer comes; None when it has ended."""
        if not self._open:
            return None
        asked = len(self._asked)
        after = [delay for count, delay in enumerate(HEDGE_AFTER, 1) if asked <= count < len(self._order)]
        if not self._repeated:
            after.append(REPEAT_AFTER)
        after.append(INQUIRY_TIMEOUT)
        return self._started_at + min(after)

    def handle_timer(self, now: float) -> None:
        """End what has waited long enough."""
        if self._is_after(INQUIRY_TIMEOUT, now) or not self._order:
            # Who may not know said "nobody", if anybody did, and who may know was silent.
            self._give_up()

    def failed(self, owner: str) -> None:
        """Take in that an owner cannot be reached at all; the next is asked at once."""
        if owner in self._asked and owner not in self._answered:
            self._wants_next = True
            self._failed[owner] = None
            if all(name in self._answered or name in self._failed for name in self._order):
                self._give_up()

    def answered(self, owner: str, answers: Mapping[PackedKey, KeyAnswer]) -> None:
        """Take in what an owner says; anybody's holders count, not anybody's "nobody"."""
        if owner not in self._order:
            return
        is_first_time = owner not in self._answered
        self._answered[owner] = None
        for key, answer in answers.items():
            if key not in self._open:
                continue
            self._heard[key] += is_first_time
            if not answer.is_nobody:
                self._answers[key] = (answer, Verdict.FOUND)
                del self._open[key]
            elif answer.is_authoritative or self._heard[key] == len(self._order):
                self._conclude(key, Verdict.NOBODY)
            else:
                self._wants_next = True

    def outcome(self) -> Mapping[PackedKey, tuple[KeyAnswer, Verdict]]:
        """Return the verdicts so far, with the answer that each rests on."""
        return self._answers

    def _give_up(self) -> None:
        for key in self.open_keys:
            self._conclude(key, Verdict.UNREACHABLE)

    def _is_after(self, delay: float, now: float) -> bool:
        # The sum as in next_timer_at: a difference may round to just below the delay, and spin.
        return now >= self._started_at + delay

    def _conclude(self, key: PackedKey, verdict: Verdict) -> None:
        self._answers[key] = (KeyAnswer(is_young=True, has_same_view=False), verdict)
        del self._open[key]
