"""The promises of the engine contract, (a) to (e), for any sequence of calls."""

import random
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spegel_gossip.errors import DecodeError
from spegel_gossip.swim import codec, exchange_codec
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.messages import Ack, BucketClaims, BucketHashes, Message, Nack, Ping, PingReq
from spegel_gossip.swim.outbox import PushPull, Stream, TcpPing
from spegel_gossip.testing.swim_values import BOOT, address_of, make_record

CONFIG = SwimConfig(max_members=6, max_relays=3, max_seeds=4, max_push_pulls=2, max_datagram_bytes=256)
OWN = "n0"
NAMES = [f"n{number}" for number in range(12)]

names = st.sampled_from(NAMES)
incarnations = st.integers(BOOT - 1, BOOT + 3)
claims = st.builds(
    lambda name, boot, elsewhere, incarnation, state, accuser, age: Claim(
        make_record(name, boot=boot, address=address_of("n99") if elsewhere else None),
        incarnation, state, accuser, age,
    ),
    names, st.integers(BOOT, BOOT + 1), st.booleans(), incarnations, st.sampled_from(MemberState), names,
    st.sampled_from([0.0, 50_000.0]),
)  # fmt: skip
seqs = st.integers(0, 12)
messages = st.one_of(
    st.builds(Ping, seqs, incarnations, st.binary(max_size=24)),
    st.builds(
        Ack, seqs, incarnations, st.binary(max_size=24), st.sampled_from([0, 1, 1 << 41, (1 << 53) - 1])
    ),
    st.builds(Nack, seqs),
    st.builds(PingReq, seqs, names, st.just((address_of("n50"),))),
    claims,
    claims,
)


class EngineMachine(RuleBasedStateMachine):
    """Two engines with the same seed get the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.engines: list[Swim] = []
        self.streams: list[Stream] = []

    @initialize(seed=st.integers(0, 3))
    def begin(self, seed: int) -> None:
        self.engines = [Swim(make_record(OWN), CONFIG, random.Random(seed)) for _ in range(2)]
        self.both(lambda engine: engine.start(self.now))

    def both(self, call: Callable[[Swim], object]) -> object:
        """Make a call on both engines, and drain both: (b) their outputs are the same, (c) and short."""
        outputs = []
        for engine in self.engines:
            result: object
            try:
                result = call(engine)
            except DecodeError as exc:
                result = str(exc)
            drained = (engine.datagrams_to_send(), engine.streams_to_open(), engine.events())
            outputs.append((result, drained, engine.next_timer_at()))
        assert outputs[0] == outputs[1]
        result, (datagrams, streams, _), _ = outputs[0]
        assert all(0 < len(datagram.data) <= CONFIG.max_datagram_bytes for datagram in datagrams)
        # To our own name only where another process bears it.
        assert all(datagram.target != OWN or datagram.to != address_of(OWN) for datagram in datagrams)
        self.streams = [*self.streams, *streams][-8:]
        return result

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.2, 0.5, 1.0, 5.0, 30.0, 3600.0, 50_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.both(lambda engine: engine.handle_timer(self.now))
        timer_at = self.engines[0].next_timer_at()
        assert timer_at is None or timer_at > self.now  # (a)

    @rule(rounds=st.integers(1, 30))
    def timers_run_as_they_fall_due(self, rounds: int) -> None:
        for _ in range(rounds):
            timer_at = self.engines[0].next_timer_at()
            if timer_at is None:
                return
            self.now = max(self.now, timer_at)
            self.both(lambda engine: engine.handle_timer(self.now))

    @rule(row=st.lists(messages, min_size=1, max_size=5), sender=names)
    def a_datagram_arrives(self, row: list[Message], sender: str) -> None:
        data = b"".join(codec.encode(message) for message in row)
        self.both(lambda engine: engine.receive_datagram(data, address_of(sender), sender, self.now))

    @rule(data=st.binary(max_size=60), sender=names)
    def garbage_arrives(self, data: bytes, sender: str) -> None:
        self.both(lambda engine: engine.receive_datagram(data, address_of(sender), sender, self.now))

    @rule(seeds=st.lists(names, max_size=8))
    def seeds_are_given(self, seeds: list[str]) -> None:
        self.both(lambda engine: engine.join([address_of(name) for name in seeds], self.now))

    @rule(name=names, note=st.binary(max_size=24))
    def a_note_is_set(self, name: str, note: bytes) -> None:
        self.both(lambda engine: engine.set_note(name, note))

    @rule(unix_time=st.sampled_from([-5.0, 0.0, 1.7e9, 1e14]))
    def our_clock_is_set(self, unix_time: float) -> None:
        self.both(lambda engine: engine.set_clock(unix_time, self.now))

    @rule()
    def we_leave(self) -> None:
        self.both(lambda engine: engine.leave(self.now))

    @rule(zone=st.sampled_from(["", "a"]))
    def our_record_changes(self, zone: str) -> None:
        record = make_record(OWN, zone=zone)
        self.both(lambda engine: engine.change_record(record, self.now))

    @rule(sender=names, hashes=st.lists(st.integers(0, 3), min_size=16, max_size=16))
    def a_push_pull_is_answered(self, sender: str, hashes: list[int]) -> None:
        body = exchange_codec.encode_push_pull(BucketHashes(tuple(hashes)))
        answer = self.both(lambda engine: engine.answer_push_pull(body, sender, self.now))
        assert isinstance(answer, bytes)
        exchange_codec.decode_push_pull_untrusted(answer)

    @rule(sender=names, told=st.lists(claims, max_size=8))
    def a_push_pull_tells(self, sender: str, told: list[Claim]) -> None:
        body = exchange_codec.encode_push_pull(BucketClaims(sender, 0, (), tuple(told)))
        self.both(lambda engine: engine.answer_push_pull(body, sender, self.now))

    @rule(told=st.lists(claims, max_size=8), works=st.booleans(), name=names)
    def a_stream_ends(self, told: list[Claim], works: bool, name: str) -> None:
        if not self.streams:
            return
        stream = self.streams.pop(0)
        match stream:
            case TcpPing():
                self.both(lambda engine: engine.tcp_ping_answered(stream, self.now))
            case PushPull() if works:
                body = exchange_codec.encode_push_pull(
                    BucketClaims(stream.peer or name, 16, (1, 2), tuple(told))
                )
                self.both(lambda engine: engine.push_pull_claims(body, stream, self.now))
                self.both(lambda engine: engine.push_pull_done(stream, self.now))
            case PushPull():
                self.both(lambda engine: engine.push_pull_failed(stream, self.now))

    @invariant()
    def memory_is_bounded(self) -> None:  # (d)
        for engine in self.engines:
            assert len(engine.members()) <= CONFIG.max_members
            assert engine.queue_length <= CONFIG.max_members
            assert len(engine.conflicts) <= 16
            assert engine.n <= CONFIG.max_members

    @invariant()
    def reading_does_not_disturb(self) -> None:
        for engine in self.engines:
            assert {detail.member.name for detail in engine.details(self.now)} == {
                member.name for member in engine.members()
            }
            own = engine.get(OWN)
            assert own is not None
            assert own.state in {MemberState.ALIVE, MemberState.LEFT}


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
