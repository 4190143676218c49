"""An owner's leases in a test: a directory that is told what to know, and a clock."""

from dataclasses import replace

from spegel_gossip.directory.complaints import Complaint
from spegel_gossip.directory.fetch_messages import (
    FetchAsk,
    FetchTold,
    Progress,
    ProgressItem,
    ProgressState,
    Verdict,
)
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.leases import UNASKED, Leases
from spegel_gossip.directory.parents import Known
from spegel_gossip.directory.spread import GATHER_INTERVAL
from spegel_gossip.oci.digest import Digest
from spegel_gossip.swim.names import name_hash

MIB = 1 << 20
TOTAL = 100 * MIB
NODES = [f"n{number}" for number in range(10)]
NAMES = {name_hash(name): name for name in NODES}
KEY = pack_key(Digest.parse("sha256:" + "ab" * 32))


class Owner:
    """An owner's leases with a directory that is told what to know, and a clock."""

    def __init__(self, known: Known | None = None, zones: dict[str, str] | None = None) -> None:
        self.known = known or Known()
        self.now = 100.0
        self.leases = Leases(self._known, zones or dict.fromkeys(NODES, "z"), 0, NAMES.get)
        self._ids = 0

    def _known(self, _key: PackedKey, asker: str) -> Known:
        holders = tuple(name for name in self.known.holders if name != asker)
        return replace(self.known, holders=holders)

    def ask(
        self,
        name: str,
        *,
        offset: int = 0,
        total: int = TOTAL,
        failed: tuple[str, ...] = (),
        stalled: tuple[str, ...] = (),
        stalled_ago: float = 0.0,
        must_decide: bool = False,
        is_urgent: bool = False,
        burden: int = 0,
        is_crowded: bool = False,
        is_blind: bool = False,
        busy: tuple[str, ...] = (),
        together: int = 0,
        gives_way: bool = False,
        key: PackedKey = KEY,
        patiently: bool = True,
        is_repeated: bool = False,
    ) -> FetchTold:
        """Ask, and unless told otherwise wait for as long as askers are gathered.

        Repeated, it is the last question once more.
        """
        self._ids += not is_repeated
        ask = FetchAsk(
            self._ids,
            key,
            0,
            offset,
            total,
            must_decide,
            is_urgent,
            burden=burden,
            is_crowded=is_crowded,
            is_blind=is_blind,
            busy=tuple(name_hash(name) for name in busy),
            together=together,
            gives_way=gives_way,
        )
        complaints = tuple(Complaint(one, self.now - stalled_ago) for one in stalled)
        told = self.leases.ask(name, ask, failed, complaints, self.now, 1_000)
        if told.verdict == Verdict.WAIT and patiently:
            # Askers are gathered for a moment; what is said then is what a lone question would have got.
            self.now += GATHER_INTERVAL
            self.leases.handle_timer(self.now)
            return next((one for _, one in self.answers() if one.id == told.id), told)
        return told

    def answers(self) -> list[tuple[str, FetchTold]]:
        """Return what was told to those who waited, since the last time."""
        return [(name, told) for name, told in self.leases.told() if told.id != UNASKED]

    def report(
        self,
        name: str,
        offset: int,
        *,
        token: int = 0,
        state: ProgressState = ProgressState.ARRIVING,
        total: int = TOTAL,
        sharing: int = 0,
        is_growing: bool = False,
        uplink: int = 0,
        has_spare: bool = False,
        parent: str = "",
    ) -> None:
        item = ProgressItem(KEY, token, offset, total, state, name_hash(parent) if parent else 0)
        report = Progress(1, sharing, is_growing, (item,), uplink, has_spare)
        self.leases.progress(name, report, self.now, 1_000)

    def pass_time(self, seconds: float, *reporters: tuple[str, int, int]) -> None:
        """Let time go by while these (name, offset, token) repeat that they are where they are."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.25)
            for name, offset, token in reporters:
                self.report(name, offset, token=token)
            self.leases.handle_timer(self.now)
            timer_at = self.leases.next_timer_at()
            assert timer_at is None or timer_at > self.now


def source(told: FetchTold) -> str:
    """Return the name of the first source that was told."""
    return NAMES[told.sources[0]]
