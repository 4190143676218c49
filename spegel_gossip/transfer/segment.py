"""What one holder has begun to send, as something to copy from (`fetching.Segment`)."""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass

from spegel_gossip.routing import Peer
from spegel_gossip.transfer.failures import HolderFailedError, Reason
from spegel_gossip.transfer.opening import Opened
from spegel_gossip.transfer.pace import Pace, Verdict


@dataclass(slots=True)
class PeerSegment:
    """One holder's answer, from its first byte or from wherever it was taken up again."""

    peer: Peer
    opened: Opened
    stall_timeout: float
    begun_at: float
    pace: Pace
    start: int
    """Offset in the blob of the next byte; later than `opened.start` once it was taken up again."""

    must_end: Callable[[], bool] | None = None
    """Says whether the answer is to end in its middle, for the sake of another blob."""

    verdict: Verdict = Verdict.FINE

    @property
    def source(self) -> str:
        """The member who sends it."""
        return self.peer.name

    @property
    def head(self) -> bytes:
        """Bytes that came along with the response head."""
        return self.opened.response.head if self.start == self.opened.start else b""

    @property
    def length(self) -> int:
        """Bytes promised, `head` included."""
        return self.opened.stop - self.start

    def fileno(self) -> int:
        """The socket to read the rest from."""
        return self.opened.response.socket.fileno()

    def keeps_pace(self, *, waited: float, moved: int) -> bool:
        """Judge the source's pace; False ends the reading from it."""
        self.verdict = self.pace.judge(waited=waited, moved=moved)
        if self.must_end is not None and self.verdict is Verdict.FINE and self.must_end():
            self.verdict = Verdict.ENOUGH
        return self.verdict is Verdict.FINE

    def failure(self) -> HolderFailedError:
        """Say why it is left: its pace, or else whether its socket is silent or has ended."""
        if self.verdict is Verdict.FALLEN_BEHIND:
            # Need not be its own fault: it may have no more to send.
            return HolderFailedError(Reason.STALLED, "its bytes come far more slowly than before")
        if self.verdict is not Verdict.FINE:
            return HolderFailedError(Reason.SLOW, "its bytes come too slowly")
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        if poll.poll(0):
            return HolderFailedError(Reason.ENDED, "its connection ended in the middle")
        return HolderFailedError(Reason.STALLED, f"no byte for {self.stall_timeout:g} s")
