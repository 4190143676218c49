"""Who reads what from this node now: how many read a growing copy, and whom to name when there is no room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, unquote

MAX_OTHERS_NAMED: Final = 4
"""Nodes named to who finds this one busy: each of them has part of the blob, and it needs one."""


class Readers:
    """The uploads under way, by blob."""

    def __init__(self, max_partial: int) -> None:
        """Start with none; `max_partial` growing copies are sent at once."""
        self._max_partial = max_partial
        self._partial = 0
        self._readers: dict[str, Counter[str]] = {}

    def is_full(self, digest: str) -> bool:
        """Return whether as many read growing copies as may, and somebody reads this one.

        One that nobody reads yet is sent all the same: it may be the only one there is.
        """
        return self._partial >= self._max_partial and digest in self

    def __contains__(self, digest: str) -> bool:
        """Return whether somebody reads a blob here."""
        return digest in self._readers

    def others(self, digest: str, *, but: str) -> str:
        """Return who else has a part of a blob, as a header's value; empty for nobody."""
        names = [name for name in self._readers.get(digest, ()) if name != but]
        # The last to come have room: nobody was sent to them yet.
        return " ".join(quote(name, safe="") for name in names[-MAX_OTHERS_NAMED:])

    @contextmanager
    def reading(self, digest: str, name: str, *, is_partial: bool) -> Iterator[None]:
        """Count one upload while it lasts."""
        readers = self._readers.setdefault(digest, Counter())
        readers[name] += 1
        self._partial += is_partial
        try:
            yield
        finally:
            self._partial -= is_partial
            readers[name] -= 1
            if not readers[name]:
                del readers[name]
            if not readers and self._readers.get(digest) is readers:
                del self._readers[digest]


def parse_others_untrusted(value: str | None) -> tuple[str, ...]:
    """Read the header's value; names of whoever, to be looked up among the members."""
    return tuple(unquote(part) for part in (value or "").split(" ")[:MAX_OTHERS_NAMED] if part)
