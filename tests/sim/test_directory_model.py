"""The directory against a model of what is true, through histories of everything that can happen.

Checked in the middle of it all: (b) who is named, and for which keys; (c) that no word older
than a withdrawal wins; (d) that rings are functions of member sets. And once all has come to
rest: (a) all owners of every key name exactly its live holders; (e) a suspicion moves no record,
a change of the ring those of keys that change hands, and rest no packet. What that comes to at
n = 1,000 is measured by benchmarks/directory.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from spegel_gossip.directory.keys import PackedKey, pack_key, token_of
from spegel_gossip.directory.messages import Advertise
from spegel_gossip.directory.records import RecordKind
from spegel_gossip.directory.shard import FORMER_OWNER_INTERVAL
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import OWNERS, Ring
from spegel_gossip.testing.directories import SimDirectories

SETTLED = 150.0
"""Seconds by which every back-off has passed, every grace is over, and every late packet is in."""

LOOK_INTERVAL = 0.5
"""Seconds between two looks at who owns what: rings change once a second at most."""

LOSS = 0.15
DUPLICATION = 0.1
ZONES = ("a", "b", "c")
MEMBERS = 8
KEYS = [pack_key(Digest.of(f"model {number}".encode())) for number in range(24)]


class Model:
    """A history over one cluster, and the truth beside it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cluster = SimDirectories(seed=seed, loss=LOSS)
        self.cluster.duplication = DUPLICATION
        self.cluster.delivered = self.delivered
        self.names = [f"node-{number}" for number in range(MEMBERS)]
        self.stores: dict[str, dict[PackedKey, None]] = {name: {} for name in self.names}
        self.boots: dict[str, int] = {}
        self.lives: dict[str, int] = {}
        self.halves: frozenset[str] = frozenset()
        self.lost: dict[tuple[str, PackedKey], None] = {}
        # What each life of an owner heard last: by owner and which life of it, holder and its boot, and key.
        self.heard: dict[tuple[str, int, str, int, PackedKey], tuple[int, bool, float]] = {}
        self.told_at: dict[tuple[str, int, PackedKey], float] = {}
        self.owned_at: dict[tuple[str, int, PackedKey], float] = {}
        for name in self.names[:5]:
            self.start(name)

    def run(self, steps: int) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (12, self.commit), (8, self.collect), (2, self.crash), (1, self.leave), (2, self.come_back),
            (2, self.come_back_empty), (1, self.restart), (1, self.come_back_as_before), (1, self.part),
            (2, self.meet), (1, self.slow_down), (1, self.lose_and_find),
        ]  # fmt: skip
        for _ in range(steps):
            self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]()
            for _ in range(self.rng.randrange(3)):
                self.wait(self.rng.choice((0.01, 0.2, 1.0, 4.0)))
            self.check(self.rng.sample(KEYS, 3))

    def wait(self, seconds: float) -> None:
        """Let time pass, and remember who owned what meanwhile."""
        end = self.cluster.now + seconds
        while self.cluster.now < end:
            self.cluster.run_for(min(LOOK_INTERVAL, end - self.cluster.now))
            self.remember_owners()

    # -- what happens --------------------------------------------------------------------------

    def start(self, name: str, boot: int | None = None) -> None:
        """Start a member on what its store holds, under a new boot or one that it had before."""
        self.lives[name] = self.lives.get(name, 0) + 1
        self.boots[name] = self.cluster.start(name, zone=self.rng.choice(ZONES), boot=boot).boot
        for key in self.stores[name]:
            self.cluster.put(name, key)
        self.remember_owners()

    def live(self) -> list[str]:
        return sorted(self.cluster.members)

    def gone(self) -> list[str]:
        return [name for name in self.names if name not in self.cluster.members]

    def commit(self) -> None:
        name, key = self.rng.choice(self.live()), self.rng.choice(KEYS)
        self.stores[name][key] = None
        self.cluster.put(name, key)

    def collect(self) -> None:
        name = self.rng.choice(self.live())
        if self.stores[name]:
            key = self.rng.choice(sorted(self.stores[name]))
            del self.stores[name][key]
            self.cluster.withdraw(name, key)

    def crash(self) -> None:
        if len(self.cluster.members) > 2:
            self.cluster.stop(self.rng.choice(self.live()))

    def leave(self) -> None:
        if len(self.cluster.members) > 2:
            self.cluster.leave(self.rng.choice(self.live()))

    def come_back(self) -> None:
        if self.gone() and not self.halves:
            self.start(self.rng.choice(self.gone()))

    def come_back_empty(self) -> None:
        if self.gone() and not self.halves:
            name = self.rng.choice(self.gone())
            self.stores[name] = {}
            self.start(name)

    def restart(self) -> None:
        if not self.halves:
            name = self.rng.choice(self.live())
            self.cluster.stop(name)
            self.start(name)

    def come_back_as_before(self) -> None:
        """Restart under the boot that the others remember, with all or nothing of its store, as after its
        state directory was lost and its clock set back; when it hears of itself it raises its boot."""
        if self.halves:
            return
        name = self.rng.choice(self.live())
        if self.rng.random() < 0.5:
            self.stores[name] = {}
        self.cluster.stop(name)
        self.start(name, self.boots[name])
        self.wait(self.rng.choice((0.05, 0.7)))
        self.cluster.raise_boot(name)
        self.boots[name] = self.cluster.members[name].boot

    def part(self) -> None:
        """Cut the cluster in two; each half holds the other for dead after a while."""
        if self.halves or len(self.cluster.members) < 4:
            return
        half = self.halves = frozenset(self.rng.sample(self.live(), len(self.cluster.members) // 2))
        self.cluster.cut = lambda source, target: (source in half) != (target in half)
        self.wait(5.0)
        for name in self.live():
            for other in self.live():
                if (name in half) != (other in half):
                    self.cluster.bury(name, other)

    def meet(self) -> None:
        if self.halves:
            self.halves = frozenset()
            self.cluster.cut = lambda source, target: False
            self.cluster.introduce_all()

    def slow_down(self) -> None:
        self.cluster.slow = {self.rng.choice(self.names): self.rng.choice((0.3, 1.0))}

    def lose_and_find(self) -> None:
        """Let a store lose a blob without an event; somebody misses it there and says so."""
        name = self.rng.choice(self.live())
        if not self.stores[name]:
            return
        key = self.rng.choice(sorted(self.stores[name]))
        del self.stores[name][key]
        self.cluster.lose(name, key)
        self.lost[name, key] = None
        self.cluster.report_miss(self.rng.choice(self.live()), key, name)

    # -- what must hold ------------------------------------------------------------------------

    def delivered(self, holder: str, owner: str, message: Advertise) -> None:
        for record in message.records:
            self.told_at[owner, self.lives[owner], record.key] = self.cluster.now
            life = (owner, self.lives[owner], holder, message.boot, record.key)
            sequence, _, _ = self.heard.get(life, (0, False, 0.0))
            if record.sequence > sequence:
                is_withdrawn = record.kind == RecordKind.WITHDRAWN
                self.heard[life] = (record.sequence, is_withdrawn, self.cluster.now)

    def remember_owners(self) -> None:
        for name, member in self.cluster.members.items():
            for key in KEYS:
                if name in member.engine.owners(key):
                    self.owned_at[name, self.lives[name], key] = self.cluster.now

    def check(self, keys: list[PackedKey]) -> None:
        now = self.cluster.now
        # (d) whichever way it came about
        ring = self.cluster.members[self.rng.choice(self.live())].engine.ring
        anew = Ring.of(ring.zones)
        assert ring.epoch == anew.epoch
        assert all(ring.preference_list(token_of(key)) == anew.preference_list(token_of(key)) for key in KEYS)
        for name, member in self.cluster.members.items():
            for key in keys:
                named = self.cluster.holders_named(name, key)
                # (b) the dead and the left, as far as this owner has heard, are named by it no more
                assert named <= set(member.engine.members)
                # (b) what it has not owned for a minute, nor was told since, it answers for no more
                last = max(
                    self.owned_at.get((name, self.lives[name], key), -1e9),
                    self.told_at.get((name, self.lives[name], key), -1e9),
                )
                # (of itself everybody speaks, owner or not)
                assert named <= {name} or now - last <= FORMER_OWNER_INTERVAL + LOOK_INTERVAL
                for holder in named & set(self.cluster.members):
                    boot = self.cluster.members[holder].boot
                    heard = self.heard.get((name, self.lives[name], holder, boot, key))
                    # (c) whatever came late, or twice
                    assert heard is None or not heard[1], f"{holder} withdrew it from {name}"

    def check_at_rest(self) -> None:
        self.meet()
        self.cluster.slow = {}
        for name, key in self.lost:
            # The report may have been lost; then it is the store that finds out, when it lists all it has.
            if name in self.cluster.members and key not in self.stores[name]:
                self.cluster.withdraw(name, key)
        self.lost.clear()
        self.wait(SETTLED)
        for key in KEYS:
            really = {name for name in self.cluster.members if key in self.stores[name]}
            assert really == self.cluster.live_holders(key)
            views = {member.engine.owners(key) for member in self.cluster.members.values()}
            assert len(views) == 1
            owners = views.pop()
            assert len(owners) == min(OWNERS, len(self.cluster.members))
            for owner in owners:
                # This is (a).
                assert self.cluster.holders_named(owner, key) == really
        self.check_bounds()

    def check_bounds(self) -> None:
        """(e), of a network that loses nothing, as what is told again is no more than what is owed."""
        cluster = self.cluster
        cluster.loss = cluster.duplication = 0.0
        packets = cluster.packets
        self.wait(60.0)
        assert cluster.packets == packets, "at rest nothing is sent"
        for name, member in cluster.members.items():
            for other, about in cluster.members.items():
                if name != other:  # a suspicion and its refutation both say: lives
                    member.engine.member_alive(other, about.boot, about.zone, cluster.now)
        self.wait(60.0)
        assert cluster.packets == packets, "a suspicion moves nothing"
        if self.gone():
            self.check_join(self.rng.choice(self.gone()))
        cluster.loss, cluster.duplication = LOSS, DUPLICATION

    def check_join(self, name: str) -> None:
        """A join moves what changes hands by it and nothing else: H * R / (n + 1) of H records on average."""
        before = self.cluster.members[self.live()[0]].engine.ring
        told = self.cluster.records_told
        held = [token_of(key) for other in self.live() for key in self.stores[other]]
        self.stores[name] = {}
        self.start(name)
        self.wait(SETTLED)
        after = self.cluster.members[name].engine.ring
        owed = 0
        for token in held:
            old = before.preference_list(token)
            gained = [owner for owner in after.preference_list(token) if owner not in old]
            assert gained in ([], [name])
            owed += len(gained)
        assert self.cluster.records_told - told == owed


@pytest.mark.parametrize("seed", range(4))
def test_the_directory_is_true(seed: int) -> None:
    model = Model(seed)
    for _ in range(2):
        model.run(40)
        model.check_at_rest()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [101, 104, 106, 108])
def test_the_directory_is_true_through_a_long_history(seed: int) -> None:
    model = Model(seed)
    for _ in range(10):
        model.run(300)
        model.check_at_rest()
