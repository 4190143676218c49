import contextlib
import random
import resource
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spegel_gossip.errors import DecodeError
from spegel_gossip.swim import claim_codec, codec, exchange_codec
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import INCARNATION_LIMIT, Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.engine import Swim
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.messages import Ack, BucketClaims, BucketHashes, Message, Nack, Ping, PingReq
from spegel_gossip.swim.outbox import PushPull
from spegel_gossip.testing.sim_cluster import SimCluster
from spegel_gossip.testing.swim_values import address_of, make_record

texts = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=20)
names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=20)
incarnations = st.integers(0, INCARNATION_LIMIT - 1)
seqs = st.integers(0, codec.SEQ_LIMIT - 1)
hosts = st.ip_addresses(v=4) | st.ip_addresses(v=6, network="fd00::/8")
addresses = st.builds(lambda ip, port: Address(str(ip), port), hosts, st.integers(1, 65535))
address_lists = st.lists(addresses, min_size=1, max_size=8).map(tuple)
records = st.builds(MemberRecord, names, incarnations, address_lists, texts, texts)
ages = st.integers(0, claim_codec.MAX_AGE - 1).map(float)
claims = st.builds(Claim, records, incarnations, st.sampled_from(MemberState), texts, ages)
notes = st.binary(max_size=24)
messages = st.one_of(
    st.builds(Ping, seqs, incarnations, notes),
    st.builds(Ack, seqs, incarnations, notes, st.integers(0, codec.TIME_LIMIT - 1)),
    st.builds(Nack, seqs),
    st.builds(PingReq, seqs, names, address_lists),
    claims,
)
bodies = st.one_of(
    st.builds(BucketHashes, st.lists(st.integers(0, 2**64 - 1), min_size=16, max_size=16).map(tuple)),
    st.builds(
        BucketClaims, names, st.just(16), st.lists(st.integers(0, 15), max_size=16).map(tuple),
        st.lists(claims, max_size=3).map(tuple),
    ),
)  # fmt: skip


@given(st.lists(messages, min_size=1, max_size=6))
@settings(deadline=None)
def test_datagrams_come_back_as_they_were(row: list[Message]) -> None:
    data = b"".join(codec.encode(message) for message in row)
    assert list(codec.decode_datagram_untrusted(data)) == row


@given(bodies)
@settings(deadline=None)
def test_push_pull_bodies_come_back_as_they_were(body: exchange_codec.PushPullBody) -> None:
    assert exchange_codec.decode_push_pull_untrusted(exchange_codec.encode_push_pull(body)) == body


def decode_datagram(data: bytes) -> object:
    return list(codec.decode_datagram_untrusted(data))


WARM_UP = 100_000
MAX_GROWTH = 16 << 20
LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]
DECODERS: list[Callable[[bytes], object]] = [decode_datagram, exchange_codec.decode_push_pull_untrusted]


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_refused_with_a_decode_error_only(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    with contextlib.suppress(DecodeError):
        decode(data)


def real_traffic() -> list[bytes]:
    cluster = SimCluster(6, seed=3, loss=0.3)
    seen: list[bytes] = []
    cluster.on_datagram = lambda _source, datagram: seen.append(datagram.data)
    cluster.run_for(8.0)
    cluster.stop("n3")
    cluster.run_for(20.0)
    seen.extend(node.engine.push_pull_hashes(cluster.now) for node in cluster.nodes.values())
    hashes = exchange_codec.encode_push_pull(BucketHashes((0,) * 16))
    seen.extend(
        node.engine.answer_push_pull(hashes, "stranger", cluster.now) for node in cluster.nodes.values()
    )
    return sorted(set(seen))


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0:
                changed[at:at] = rng.randbytes(rng.randint(1, 3))
            case 1:
                del changed[at : at + rng.randint(1, 5)]
            case 2 if at < len(changed):
                changed[at] = rng.choice(
                    [0, 0x80, 0x90, 0xC1, 0xC7, 0xD9, 0xDD, 0xDF, 0xFF, rng.randrange(256)]
                )
            case _:
                del changed[at:]
    return bytes(changed)


@pytest.mark.parametrize(
    ("seed", "count"), [*((seed, 3000) for seed in range(4)), pytest.param(4, 10**6, marks=LONG)]
)
def test_mutated_real_traffic_is_refused_with_a_decode_error_only(seed: int, count: int) -> None:
    rng = random.Random(seed)
    traffic = real_traffic()
    assert len(traffic) > 50
    refused = 0
    memory = 0
    for number in range(count):
        if number == WARM_UP:
            memory = peak_memory()  # what is remembered decoded has its size by now
        data = mutated(rng.choice(traffic), rng)
        for decode in DECODERS:
            try:
                decode(data)
            except DecodeError:
                refused += 1
    assert refused > count
    assert count <= WARM_UP or peak_memory() - memory < MAX_GROWTH


@pytest.mark.parametrize(("seed", "count"), [(0, 3000), (1, 3000), pytest.param(2, 10**6, marks=LONG)])
def test_an_engine_that_is_fed_mutated_traffic_goes_on_within_its_bounds(seed: int, count: int) -> None:
    rng = random.Random(seed)
    traffic = real_traffic()
    config = SwimConfig(max_members=64, max_relays=16)
    engine = Swim(make_record("n0"), config, random.Random(seed))
    engine.start(0.0)
    malformed, memory, now = 0, 0, 0.0
    for number in range(count):
        if number == WARM_UP:
            memory = peak_memory()
        sender = rng.randrange(1, 9)
        try:
            engine.receive_datagram(
                mutated(rng.choice(traffic), rng), address_of(f"n{sender}"), f"n{sender}", now
            )
        except DecodeError:
            malformed += 1
        now += 0.01
        engine.handle_timer(now)
        engine.datagrams_to_send()
        engine.events()
        for stream in engine.streams_to_open():
            if isinstance(stream, PushPull):
                engine.push_pull_failed(stream, now)
        assert len(engine.members()) <= config.max_members
        assert engine.queue_length <= config.max_members
    assert malformed > count // 4
    assert engine.own.state is MemberState.ALIVE
    assert count <= WARM_UP or peak_memory() - memory < MAX_GROWTH


def peak_memory() -> int:
    """The most that this process ever had resident, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
