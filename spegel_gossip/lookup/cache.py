"""Answers that named holders, for a second: what was looked up ahead, and a HEAD's before its GET.

"Nobody" is never kept: the next moment somebody has it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.messages import KeyAnswer

CACHE_INTERVAL: Final = 1.0
"""Seconds an answer is used for."""

MAX_CACHED: Final = 4_096
"""Answers kept; the oldest goes first."""


class AnswerCache:
    """Answers by key, each with its end."""

    def __init__(self) -> None:
        self._answers: OrderedDict[PackedKey, tuple[float, KeyAnswer]] = OrderedDict()

    def get(self, key: PackedKey, now: float) -> KeyAnswer | None:
        """Return the answer for a key, if it is recent."""
        until, answer = self._answers.get(key, (now, None))
        return answer if until > now else None

    def put(self, key: PackedKey, answer: KeyAnswer, now: float) -> None:
        """Keep an answer from now on."""
        self._answers.pop(key, None)
        self._answers[key] = (now + CACHE_INTERVAL, answer)
        while len(self._answers) > MAX_CACHED or next(iter(self._answers.values()))[0] <= now:
            self._answers.popitem(last=False)

    def drop(self, key: PackedKey) -> None:
        """Forget the answer for a key: it turned out wrong."""
        self._answers.pop(key, None)
