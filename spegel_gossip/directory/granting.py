"""Who gets the leave to fetch from upstream, and who loses it: an owner's rules for one blob at a time.

A lease is given where no bytes are to be had in the cluster, to whoever bears the least of
the image already, and it is kept by progress.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from spegel_gossip.backoff import backoff
from spegel_gossip.directory.fetch_messages import FetchTold, Progress, ProgressItem, Verdict
from spegel_gossip.directory.spread import REPORT_INTERVAL, Lease, Receiver, Spread

MAX_LEASES: Final = 3
"""Leases of one blob at the same time."""

BYTELESS_PAUSE: Final = 60.0
"""Seconds for which a node that lost a lease without a byte gets none for that blob, if another wants it."""

MAX_LOSSES: Final = 3
"""Leases in a row that waited for a byte in vain, after which everybody is left to fetch for itself."""

REFUSAL_INTERVAL: Final = 30.0
"""Seconds for which it is so: what three nodes cannot fetch, a fourth need not be waited for."""

FAILED_PAUSE: Final = 1.0
"""Seconds until the next lease, after one whose holder's pull failed before a byte came; then twice that, ...

A registry that is away refuses at once: each node that is sent there loses its pull, and containerd 2 with it
all that it had. Whoever waits keeps both. What three are refused in a moment, a fourth had better wait for.
"""

MAX_FAILED_PAUSE: Final = 4.0
"""Seconds, at most: an asker that cannot wait any longer comes first anyway."""

WORD_INTERVAL: Final = 2 * REPORT_INTERVAL
"""Seconds without a report after which a holder is silent, and nobody knows whether it stalls: it may be
the owner who was cut off for a moment. Either way it has until it was silent for long enough."""

CROWD_INTERVAL: Final = 2.0
"""Seconds within which another member's question for the same blob makes a crowd."""

FETCHED_AT_ONCE: Final = 3
"""Blobs that a node fetches without being passed over.

containerd gets three at once. Sharing out these too was tried in simulation: where all requests
share three slots, nodes that hold each other's layers in them took half as long again for four layers,
and thrice as long for twenty; where they do not, nothing was gained.
"""

SHARING_INTERVAL: Final = 0.1
"""Seconds for which an asker of a crowd that has other blobs to fetch waits for one that has fewer.

One node that got there first would else fetch all layers, and all of them would hang on it.
"""


class Grants:
    """The leases that one owner gives and takes."""

    def __init__(self, first_token: int, counts: Counter[str]) -> None:
        """Start with none.

        Args:
            first_token: tokens count up from here
            counts: of what happened
        """
        self._token = first_token
        self._counts = counts

    def decide(self, spread: Spread, receiver: Receiver, id_: int, now: float) -> FetchTold | None:
        """Answer a node for which there is no source; None to let it wait."""
        if not receiver.is_urgent and (
            now < spread.paused_until
            or _may_hope(spread, receiver, now)
            or _must_yield(spread, receiver, now)
            or _has_failed_more_than_others(spread, receiver, now)
        ):
            return None
        if len(spread.leases()) < MAX_LEASES:
            return self._grant(spread, receiver, id_, now)
        return self.refuse(id_) if receiver.is_urgent else None

    def refuse(self, id_: int) -> FetchTold:
        """Leave a node to fetch for itself."""
        self._counts["refused"] += 1
        return FetchTold(id_, Verdict.REFUSED)

    def progress(
        self,
        spread: Spread,
        receiver: Receiver,
        report: Progress,
        item: ProgressItem,
        *,
        grown: int,
        now: float,
    ) -> None:
        """Take in what a lease's holder says of it; what was said under a lost one is not believed."""
        lease = receiver.lease
        if lease is None:
            # Granted by another owner, which may be gone by the time that this one must decide.
            lease = receiver.lease = Lease(item.token, granted_at=now, stepped_at=now, heard_at=now)
            receiver.depth, receiver.has_lost = 1, False
            spread.detach(receiver)
        # Two owners may have granted one each, if an answer was late: the holder says which it goes by.
        lease.token = item.token
        lease.is_complete = 0 < item.total <= item.offset
        if grown > 0:
            lease.stepped(grown, now)
            spread.serves()
        elif report.is_growing and not lease.has_stepped:
            lease.stepped_at = now
        lease.heard_at, lease.sharing = now, report.sharing

    def lose_if_due(self, spread: Spread, receiver: Receiver, now: float) -> None:
        """Take a lease from a holder that is silent, or does not get on."""
        lease = receiver.lease
        if lease is None:
            return
        if lease.silent_at <= now:
            self.lose(spread, receiver, "lost_silent", now)
        elif lease.stalled_at <= now < lease.heard_at + WORD_INTERVAL:
            self.lose(spread, receiver, "lost_stalled", now)

    def lose(
        self, spread: Spread, receiver: Receiver, reason: str, now: float, *, has_failed: bool = False
    ) -> None:
        """Take a lease away; who has it goes on fetching, and is believed no more.

        Args:
            spread: of the blob
            receiver: who has the lease
            reason: under which it is counted
            now: the time
            has_failed: whether its holder lives, and its pull has ended
        """
        lease = receiver.lease
        if lease is None:
            return
        spread.fence(lease.token)
        receiver.lease, receiver.grown_until, spread.gather_until = None, 0.0, 0.0
        receiver.has_lost = True
        self._counts[reason] += 1
        if lease.has_stepped:
            return
        if has_failed or lease.heard_at > lease.granted_at:
            # Of one that it never spoke of, its holder may not know: the word of it was lost, or came late.
            spread.byteless_until[receiver.name] = now + BYTELESS_PAUSE
        if has_failed:
            spread.paused_until = now + backoff(spread.failures, first=FAILED_PAUSE, longest=MAX_FAILED_PAUSE)
            spread.failures += 1
            return
        spread.losses += 1
        if spread.losses >= MAX_LOSSES:
            spread.losses = 0
            spread.refused_until = now + REFUSAL_INTERVAL

    def _grant(self, spread: Spread, receiver: Receiver, id_: int, now: float) -> FetchTold:
        self._token += 1
        receiver.lease = Lease(self._token, granted_at=now, stepped_at=now, heard_at=now)
        receiver.depth = 1
        spread.was_leased = True
        spread.gather(now)
        self._counts["granted"] += 1
        return FetchTold(id_, Verdict.LEASE, token=self._token)


def _may_hope(spread: Spread, receiver: Receiver, now: float) -> bool:
    """Return whether some other node gets bytes that this one may yet be told to read."""
    return any(
        one is not receiver
        and not one.is_blind
        and receiver.failed.get(one.name, 0.0) <= now
        and (
            spread.gets_bytes(one.name, without=receiver.name, holders=(), now=now)
            or spread.grows_by_unheard(one, now)
        )
        for one in spread.receivers.values()
    )


def _has_failed_more_than_others(spread: Spread, receiver: Receiver, now: float) -> bool:
    """Return whether a node lost a lease without a byte a moment ago, and another that did not waits too."""
    lost = {name for name, until in spread.byteless_until.items() if until > now}
    return receiver.name in lost and any(name not in lost for name in spread.waiting)


def _must_yield(spread: Spread, receiver: Receiver, now: float) -> bool:
    """Return whether somebody else had better fetch it, who asks now or will in a moment."""
    if receiver.is_blind and any(
        one is not receiver and not one.is_blind and one.asked_at + CROWD_INTERVAL > now
        for one in spread.receivers.values()
    ):
        # Of its copy nobody could read before it is whole.
        return True
    if (
        spread.was_leased
        or not receiver.is_crowded
        or not (receiver.burden >= FETCHED_AT_ONCE or receiver.is_blind)
    ):
        return False
    if not spread.share_at:
        spread.share_at = now + SHARING_INTERVAL
    return now < spread.share_at
