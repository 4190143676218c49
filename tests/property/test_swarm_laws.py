"""What holds of the swarm's decisions whatever is asked and said, in whichever order."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.directory.complaints import Complaint
from spegel_gossip.directory.fetch_messages import (
    FetchAsk,
    FetchTold,
    Progress,
    ProgressItem,
    ProgressState,
    Verdict,
)
from spegel_gossip.directory.granting import MAX_LEASES
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.leases import UNASKED, Leases
from spegel_gossip.directory.parents import Known
from spegel_gossip.oci.digest import Digest
from spegel_gossip.swarm.patience import MAX_YIELDS, YIELD_MEMORY, Yields, stall_patience
from spegel_gossip.swarm.receptions import IDLE_TIMEOUT, LAST_WORDS, Receptions, ReceptionState
from spegel_gossip.swim.names import name_hash

MIB = 1 << 20
TOTAL = 8 * MIB
NODES = [f"n{number}" for number in range(5)]
NAMES = {name_hash(name): name for name in NODES}
DIGESTS = [Digest.parse(f"sha256:{letter * 64}") for letter in "abc"]
KEY = pack_key(DIGESTS[0])
LONG = 700.0
"""Seconds, more than any memory of an owner's lasts."""

nodes = st.sampled_from(NODES)
offsets = st.integers(0, 4).map(lambda steps: steps * MIB)


@dataclass(frozen=True)
class Ask:
    name: str
    offset: int
    has_total: bool
    failed: tuple[str, ...]
    stalled: tuple[str, ...]
    stalled_ago: float
    must_decide: bool
    is_urgent: bool
    gives_way: bool


@dataclass(frozen=True)
class Say:
    name: str
    offset: int
    state: ProgressState


@dataclass(frozen=True)
class Learn:
    """The directory learns of holders, or that it is not the first owner, or is young."""

    holders: tuple[str, ...]
    is_young: bool
    is_first: bool


@dataclass(frozen=True)
class Lose:
    name: str


@dataclass(frozen=True)
class Pass:
    seconds: float


few = st.lists(nodes, max_size=2, unique=True).map(tuple)
rarely = st.sampled_from([False] * 4 + [True])
asks = st.builds(
    Ask, nodes, offsets, st.booleans(), few, few, st.floats(0.0, 5.0), rarely, st.booleans(), rarely
)
says = st.builds(Say, nodes, offsets, st.sampled_from([ProgressState.ARRIVING] * 3 + list(ProgressState)))
learns = st.builds(Learn, few, rarely, st.booleans())
passes = st.builds(Pass, st.floats(0.0, 2.0) | st.floats(0.0, 40.0))
steps = st.one_of(*[asks] * 5, *[says] * 4, passes, passes, learns, st.builds(Lose, nodes))


@dataclass
class Owner:
    """An owner's leases, what it told, and a clock."""

    known: Known = field(default_factory=Known)
    now: float = 100.0
    ids: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.leases = Leases(self._known, dict.fromkeys(NODES, "z"), 0, NAMES.get)

    def _known(self, _key: PackedKey, asker: str) -> Known:
        holders = tuple(name for name in self.known.holders if name != asker)
        return Known(holders, self.known.size, self.known.is_young, self.known.is_first)

    def take(self, step: Ask | Say | Learn | Lose | Pass) -> None:
        match step:
            case Ask():
                self._ask(step)
            case Say(name, offset, state):
                # As nodes do: an owner that forgot whom a node reads from learns it again.
                parent = self.parents.get(name)
                read_from = 0 if parent is None else name_hash(parent)
                item = ProgressItem(KEY, self.tokens.get(name, 0), offset, TOTAL, state, read_from)
                if item.token or state is not ProgressState.ARRIVING:
                    self.parents.pop(name, None)
                self.leases.progress(name, Progress(1, 0, False, (item,)), self.now, 1_000)
            case Learn(holders, is_young, is_first):
                for name in holders:
                    self.parents.pop(name, None)  # who has it all reads it from nobody
                self.known = Known(holders, TOTAL if holders else 0, is_young, is_first)
            case Lose(name):
                self.parents.pop(name, None)
                self.leases.member_gone(name, self.now)
            case Pass(seconds):
                self.now += seconds
                self.leases.handle_timer(self.now)
                timer_at = self.leases.next_timer_at()
                assert timer_at is None or timer_at > self.now
        for name, told in self.leases.told():
            if told.id != UNASKED:
                self._heed(name, told)

    def _ask(self, step: Ask) -> None:
        self.ids += 1
        total = TOTAL if step.has_total else 0
        ask = FetchAsk(
            self.ids,
            KEY,
            0,
            step.offset,
            total,
            step.must_decide,
            step.is_urgent,
            gives_way=step.gives_way,
        )
        self.parents.pop(step.name, None)
        stalled = tuple(Complaint(name, self.now - step.stalled_ago) for name in step.stalled)
        told = self.leases.ask(step.name, ask, step.failed, stalled, self.now, 1_000)
        if told.verdict == Verdict.LEASE and told.token != self.tokens.get(step.name):
            assert step.must_decide or (self.known.is_first and not self.known.is_young)
        if step.gives_way:
            assert told.verdict != Verdict.ATTACH
            spread = self.leases.spread_of(KEY)
            assert spread is None or step.name not in spread.waiting
        self._heed(step.name, told)

    def _heed(self, name: str, told: FetchTold) -> None:
        sources = [NAMES[one] for one in told.sources]
        assert name not in sources
        assert bool(sources) == (told.verdict in {Verdict.READ, Verdict.ATTACH})
        if told.verdict == Verdict.LEASE and told.token != self.tokens.get(name):
            self.tokens[name] = told.token
            assert len(self.leases.views(self.now)) <= MAX_LEASES
        if told.verdict == Verdict.ATTACH:
            self.parents[name] = sources[0]


@given(st.lists(steps, min_size=30, max_size=80))
def test_an_owner_never_grants_too_many_leases_nor_sends_anybody_in_a_circle(
    taken: list[Ask | Say | Learn | Lose | Pass],
) -> None:
    owner = Owner()
    for step in taken:
        owner.take(step)

        for name in NODES:
            way = [name]
            while (parent := owner.parents.get(way[-1])) is not None:
                assert parent not in way, f"{way} and back to {parent}"
                way.append(parent)


@given(st.lists(steps, max_size=60))
def test_an_owner_that_hears_no_more_forgets_everything(
    taken: list[Ask | Say | Learn | Lose | Pass],
) -> None:
    owner = Owner()
    for step in taken:
        owner.take(step)
    for _ in range(int(LONG / 10)):
        owner.take(Pass(10.0))

    assert owner.leases.next_timer_at() is None
    assert owner.leases.waiting() == 0
    assert owner.leases.views(owner.now) == []


digests = st.sampled_from(DIGESTS)
moments = st.tuples(
    st.sampled_from(["asked", "leased", "attached", "changed", "left", "came back", "ended", "done"]),
    digests,
    offsets,
)


@given(st.lists(st.tuples(moments, st.floats(0.0, 3.0)), max_size=40))
def test_a_receiver_tells_each_end_and_then_falls_silent(
    taken: list[tuple[tuple[str, Digest, int], float]],
) -> None:
    receptions = Receptions()
    now = 0.0
    for (what, digest, offset), pause in taken:
        match what:
            case "asked":
                receptions.asked(digest, offset=offset, total=TOTAL, now=now)
            case "leased":
                receptions.leased(digest, 7, now=now)
            case "attached":
                receptions.attached(digest, 3)
            case "changed":
                receptions.changed(digest, offset=offset, total=TOTAL, now=now)
            case "left":
                receptions.left(digest, now)
            case "came back":
                receptions.slot_came_back(now)
            case _:
                receptions.ended(digest, is_done=what == "done")
        place, _ = receptions.place_of(digest)
        assert 0 <= place <= TOTAL
        assert receptions.waiting_leases() <= len(receptions.leases()) <= len(DIGESTS)
        now += pause
        report = receptions.report(now)
        assert report is None or receptions.waiting_leases() <= report.sharing <= len(DIGESTS)

    last_words = dict.fromkeys(DIGESTS, 0)
    for _ in range(LAST_WORDS + 1):
        now += IDLE_TIMEOUT
        report = receptions.report(now)
        for one in () if report is None else report.receptions:
            last_words[one.digest] += one.state in {ReceptionState.DONE, ReceptionState.ENDED}
    assert max(last_words.values()) <= LAST_WORDS
    assert receptions.next_report_at() is None


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, YIELD_MEMORY / 2)), max_size=40))
def test_containerd_never_gets_more_answers_without_a_byte_than_it_stands(
    taken: list[tuple[bool, float]],
) -> None:
    yields = Yields()
    now, in_a_row = 0.0, 0
    for has_begun, pause in taken:
        if has_begun:
            yields.began(DIGESTS[0])
            in_a_row = 0
        elif yields.may_yield(DIGESTS[0], now):
            yields.yielded(DIGESTS[0], now)
            in_a_row += 1
        else:
            in_a_row = 0  # it was answered otherwise
        assert in_a_row <= MAX_YIELDS
        now += pause


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_who_is_further_from_upstream_is_never_less_patient(one: int, other: int) -> None:
    nearer, further = sorted((one, other))
    assert stall_patience(nearer) <= stall_patience(further)
