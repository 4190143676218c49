"""The engine's promises, whatever happens to it and whatever it is sent."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from spegel_gossip.directory.codec import MAX_MESSAGE_BYTES, encode
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.keys import PackedKey, pack_key
from spegel_gossip.directory.messages import (
    Ack,
    Advertise,
    Answer,
    AskedFor,
    Closing,
    KeyAnswer,
    Message,
    Miss,
    Purge,
    PurgeItem,
    Question,
    QuestionKey,
    Recheck,
    Resync,
)
from spegel_gossip.directory.outgoing import Outgoing
from spegel_gossip.directory.records import Record, Summary
from spegel_gossip.errors import DecodeError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.swim.names import name_hash

MAX_DATAGRAM = 1_000
UNIX_MS = 1_700_000_000_000
NAMES = [f"node-{number}" for number in range(6)]
KEYS = [
    *(pack_key(Digest.of(bytes([number]))) for number in range(12)),
    *(pack_key(TagName("docker.io", "x" * 200, f"tag{number}")) for number in range(12)),
]


class Fuzzer:
    """Does things to one engine, some sensible and some not, and checks its promises after each."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.engine = Directory("me", 5, "a", max_datagram=MAX_DATAGRAM, rng=random.Random(seed))
        self.engine.start(0.0)
        self.in_flight: list[Outgoing] = []
        self.trace: list[object] = []

    def run(self, steps: int) -> None:
        acts: list[Callable[[], None]] = [
            self.live, self.die, self.put, self.withdraw, self.hear, self.hear_noise, self.note,
            self.acknowledge, self.fail, self.wait, self.miss, self.boot, self.purge,
        ]  # fmt: skip
        weights = [6, 3, 8, 4, 8, 4, 3, 8, 2, 10, 1, 0.2, 1]
        for _ in range(steps):
            self.rng.choices(acts, weights)[0]()
            self.check()

    def check(self) -> None:
        engine = self.engine
        change_at = engine.ring_change_at()
        if change_at is not None and change_at <= self.now:
            engine.change_ring(engine.ring.changed_to(engine.members), self.now)
        engine.handle_timer(self.now)
        timer_at = engine.next_timer_at()
        assert timer_at is None or timer_at > self.now, "the driver would spin"
        for message in engine.messages_to_send():
            assert len(message.body) <= (MAX_MESSAGE_BYTES if message.by_stream else MAX_DATAGRAM)
            assert message.to != "me"
            self.in_flight.append(message)
            self.trace.append(message)
        for key in engine.keys_to_recheck():
            engine.rechecked(key, is_here=self.rng.random() < 0.5, now=self.now)
        for name, note in engine.notes_to_set():
            assert len(note) in {0, 16}
            self.trace.append((name, note))
        engine.answers_received()
        engine.purges.news()
        assert all(count >= 0 for count in engine.tally().records.values())

    def name(self) -> str:
        return self.rng.choice(NAMES)

    def key(self) -> PackedKey:
        return self.rng.choice(KEYS)

    def live(self) -> None:
        self.engine.member_alive(self.name(), self.rng.randrange(1, 4), self.rng.choice("ab"), self.now)

    def die(self) -> None:
        self.engine.member_gone(self.name(), self.now)

    def put(self) -> None:
        self.engine.put(
            self.key(), self.now, size=self.rng.randrange(9), digest=self.rng.choice([None, KEYS[0]])
        )

    def withdraw(self) -> None:
        self.engine.withdraw(self.key(), self.now)

    def boot(self) -> None:
        self.engine.boot_raised(self.rng.randrange(5, 50), self.now)

    def miss(self) -> None:
        self.engine.report_miss(self.key(), self.name(), self.now)

    def purge(self) -> None:
        self.engine.purge(self.key(), UNIX_MS + self.rng.randrange(10), self.now)

    def note(self) -> None:
        note = self.rng.randbytes(self.rng.choice((0, 3, 16, 24)))
        self.engine.receive_note(self.name(), note, self.now)

    def wait(self) -> None:
        timer_at = self.engine.next_timer_at()
        if timer_at is not None and self.rng.random() < 0.7:
            self.now = max(self.now, timer_at)
        else:
            self.now += self.rng.choice((0.001, 0.5, 5.0, 3_600.0))

    def acknowledge(self) -> None:
        if self.in_flight:
            message = self.in_flight.pop(self.rng.randrange(len(self.in_flight)))
            status = self.rng.choice((0, 0, 1, 9))
            self.receive(encode(Ack(message.id, status)), message.to)

    def fail(self) -> None:
        if self.in_flight:
            message = self.in_flight.pop()
            self.engine.failed(message.to, message.id, self.now)

    def hear(self) -> None:
        self.receive(encode(self.message()), self.name())

    def hear_noise(self) -> None:
        raw = bytearray(encode(self.message()))
        for _ in range(self.rng.randrange(1, 4)):
            raw[self.rng.randrange(len(raw))] = self.rng.randrange(256)
        self.receive(bytes(raw[: self.rng.randrange(len(raw) + 1)]), self.name())

    def receive(self, data: bytes, sender: str) -> None:
        try:
            reply = self.engine.receive(data, sender, self.now, UNIX_MS)
        except DecodeError:
            return
        assert reply is None or len(reply) <= MAX_DATAGRAM
        self.trace.append(reply)

    def message(self) -> Message:
        rng = self.rng
        number = rng.getrandbits(20)
        records = tuple(
            Record(self.key(), rng.choice((0, 1, 1, 2, 9)), rng.randrange(30), 7, rng.choice([None, KEYS[1]]))
            for _ in range(rng.randrange(4))
        )
        closing = Closing(
            rng.choice((0, self.engine.ring.epoch)), Summary(rng.randrange(3), 0), rng.randrange(40)
        )
        purpose = rng.choice(list(AskedFor))
        asked = tuple(QuestionKey(self.key(), number) for _ in range(rng.randrange(24)))
        messages: list[Message] = [
            Advertise(number, rng.randrange(1, 5), rng.randrange(3), records, closing),
            Resync(number, rng.choice((5, 4))),
            Question(number, purpose, asked),
            Answer(number, 0, (KeyAnswer(is_young=True, has_same_view=True),)),
            Miss(number, self.key(), name_hash(rng.choice([*NAMES, "me"]))),
            Recheck(number, self.key()),
            Purge(number, (PurgeItem(self.key(), UNIX_MS + rng.randrange(-(10**8), 10**6)),)),
        ]
        return rng.choice(messages)


@pytest.mark.parametrize("seed", range(12))
def test_the_engine_keeps_its_promises(seed: int) -> None:
    Fuzzer(seed).run(400)


def test_the_same_seed_and_calls_give_the_same_outputs() -> None:
    first, second = Fuzzer(99), Fuzzer(99)
    first.run(300)
    second.run(300)
    assert first.trace == second.trace
