"""What askers say of sources that failed them, and which of it an owner heeds.

A source that sends nothing is at fault only if it had something to send. That is a matter of
the moment: a complaint takes a while to arrive, above all where the first owner is silent and the
second one hears it, and by then the source may have been given the lease, and bytes with it.
Whoever is no source any more to those behind it is a reason to fetch the blob a second time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from spegel_gossip.directory.spread import REPORT_INTERVAL, STEP_BYTES, Receiver, Spread

FAILED_INTERVAL: Final = 30.0
"""Seconds for which a source that failed a node is not named to it."""


class Complaint(NamedTuple):
    """A source sent nothing for too long."""

    source: str
    at: float
    """When whoever read from it gave it up."""


def heed(
    spread: Spread,
    receiver: Receiver,
    failed: Sequence[str],
    stalled: Sequence[Complaint],
    holders: Collection[str],
    now: float,
) -> None:
    """Name sources that failed a node to it no more, for a while.

    One that had nothing more to send is not at fault, and another would have no more.
    """
    names = [complaint.source for complaint in stalled]
    guilty = {
        name
        for name, at in stalled
        # Twice, where others have it all: whatever it waits for, nobody need wait with it.
        if (holders and names.count(name) > 1)
        or _had_more(spread, name, receiver, at, is_holder=name in holders)
    }
    for name in (*failed, *guilty):
        receiver.failed[name] = now + FAILED_INTERVAL


def _had_more(spread: Spread, name: str, receiver: Receiver, at: float, *, is_holder: bool) -> bool:
    """Return whether a source had bytes that it might have sent by then, as far as is known."""
    source = spread.receivers.get(name)
    if source is None:
        return True
    has_more = is_holder or source.offset > receiver.offset + STEP_BYTES
    # By less than a report's time it would hardly have got there.
    return has_more and source.grows_since + REPORT_INTERVAL <= at
