import contextlib
from itertools import pairwise

import msgpack
import pytest

from spegel_gossip.errors import DecodeError
from spegel_gossip.swim import claim_codec, codec, exchange_codec
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.exchanges import CLAIMS_A_TURN, push_pull_scale
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.messages import Ack, BucketClaims, BucketHashes, Ping
from spegel_gossip.swim.outbox import PushPull
from spegel_gossip.testing.solo_engine import SoloEngine
from spegel_gossip.testing.swim_values import BOOT, address_of, make_claim, make_record


def pull(asker: SoloEngine, peer: SoloEngine, exchange: PushPull) -> tuple[BucketClaims, bytes | None]:
    """Run a push-pull between two engines; return the answer and the second request."""
    hashes = asker.engine.push_pull_hashes(asker.now)
    answer = peer.engine.answer_push_pull(hashes, "n0", peer.now)
    claims = asker.engine.push_pull_claims(answer, exchange, asker.now)
    if claims is not None:
        assert peer.engine.answer_push_pull(claims, "n0", peer.now) == b""
    asker.engine.push_pull_done(exchange, asker.now)
    asker.drain()
    peer.drain()
    decoded = exchange_codec.decode_push_pull_untrusted(answer)
    assert isinstance(decoded, BucketClaims)
    return decoded, claims


# memberlist's TestPushPullScale.
@pytest.mark.parametrize(
    ("n", "scale"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3), (1000, 6), (5000, 9)]
)
def test_the_push_pull_interval_grows_with_n(n: int, scale: int) -> None:
    assert push_pull_scale(n) == scale


def test_a_seed_is_joined_by_its_address_alone_and_both_know_all() -> None:
    solo, seed = SoloEngine(), SoloEngine("n2", "n3", record=make_record("n1"))
    solo.start()
    solo.engine.join([address_of("n1")], solo.now)
    solo.drain()
    (exchange,) = solo.streams
    assert exchange == PushPull("", (address_of("n1"),))
    pull(solo, seed, exchange)
    assert {member.name for member in solo.engine.members()} == {"n0", "n1", "n2", "n3"}
    assert seed.state_of("n0") is MemberState.ALIVE
    assert solo.engine.has_company


def test_equal_tables_exchange_hashes_only() -> None:
    one = SoloEngine("n1", "n2", "n3")
    other = SoloEngine("n0", "n2", "n3", record=make_record("n1"))
    exchange = PushPull("n1", (address_of("n1"),))
    answer, second = pull(one, other, exchange)
    assert (answer.claims, answer.buckets, second) == ((), (), None)


def test_only_buckets_that_differ_are_sent() -> None:
    names = [f"n{number}" for number in range(2, 60)]
    one = SoloEngine("n1", *names)
    other = SoloEngine("n0", *names, "n77", record=make_record("n1"))
    answer, second = pull(one, other, PushPull("n1", (address_of("n1"),)))
    assert len(answer.buckets) == 1
    assert "n77" in {claim.name for claim in answer.claims}
    assert len(answer.claims) < 15
    assert second is None
    assert one.state_of("n77") is MemberState.ALIVE


def test_what_a_joiner_learns_it_need_not_tell() -> None:
    solo = SoloEngine()
    solo.push_pull("n1", [make_claim(f"n{number}") for number in range(1, 20)])
    # Only itself: those who are told know each other.
    assert solo.engine.queue_length == 1
    solo.push_pull("n1", [make_claim("n30")])
    assert solo.engine.queue_length == 2


def test_seeds_that_fail_are_tried_again_while_we_are_alone() -> None:
    solo = SoloEngine()
    solo.start()
    solo.engine.join([address_of("n1")], solo.now)
    tried_at: list[float] = []
    while len(tried_at) < 7:
        solo.drain()
        if solo.streams:
            exchange = solo.streams.pop()
            assert isinstance(exchange, PushPull)
            tried_at.append(solo.now)
            solo.engine.push_pull_failed(exchange, solo.now)
        solo.run_until(solo.now + 0.1)
    gaps = [later - earlier for earlier, later in pairwise(tried_at)]
    assert gaps[0] == pytest.approx(1.0, abs=0.4)
    assert gaps[-1] <= 15.0 * 1.25 + 0.2
    assert gaps[-1] > 3 * gaps[0]


def test_a_seed_that_is_away_for_a_day_is_still_tried() -> None:
    solo = SoloEngine()
    solo.start()
    solo.engine.join([address_of("n1")], solo.now)
    tries = 0
    while tries < 5_000:
        solo.run_until(solo.now + 19.0)
        solo.drain()
        assert solo.streams, f"after {tries} tries none was made"
        while solo.streams:
            exchange = solo.streams.pop()
            assert isinstance(exchange, PushPull)
            solo.engine.push_pull_failed(exchange, solo.now)
            tries += 1


def test_at_most_three_seeds_are_tried_at_once_and_the_others_after_them() -> None:
    solo = SoloEngine()
    solo.start()
    solo.engine.join([address_of(f"n{number}") for number in range(1, 8)], solo.now)
    solo.drain()
    assert len(solo.streams) == 3
    for _ in range(4):
        exchange = solo.streams.pop(0)
        assert isinstance(exchange, PushPull)
        solo.engine.push_pull_failed(exchange, solo.now)
        solo.drain()
    assert len(solo.streams) == 3
    assert len(set(solo.streams)) == 3


def test_seeds_are_bounded() -> None:
    solo = SoloEngine(config=SwimConfig(max_seeds=4))
    solo.start()
    solo.engine.join([address_of(f"n{number}") for number in range(1, 100)], solo.now)
    tried: set[Address] = set()
    for _ in range(200):
        solo.drain()
        for exchange in solo.streams:
            assert isinstance(exchange, PushPull)
            tried.update(exchange.addresses)
            solo.engine.push_pull_failed(exchange, solo.now)
        solo.streams.clear()
        solo.run_until(solo.now + 0.1)
    assert len(tried) == 4


def test_seeds_of_which_nothing_is_heard_make_room_for_the_others() -> None:
    solo = SoloEngine()
    solo.start()
    solo.engine.join([address_of(f"n{number}") for number in range(1, 8)], solo.now)
    solo.run_until(solo.now + 59.0)
    assert len(solo.streams) == 3
    solo.run_until(solo.now + 2.0)
    assert len(solo.streams) == 6


def test_a_seed_that_fails_while_we_have_company_is_left_to_the_next_look() -> None:
    solo = SoloEngine("n1", config=SwimConfig(probe_interval=1e6, push_pull_interval=1e6))
    solo.start()
    solo.engine.join([address_of("n9")], solo.now)
    solo.drain()
    exchange = solo.streams.pop()
    assert isinstance(exchange, PushPull)
    solo.engine.push_pull_failed(exchange, solo.now)
    solo.engine.push_pull_failed(exchange, solo.now)
    solo.run_until(solo.now + 100.0)
    assert solo.streams == []
    assert solo.engine.counters.push_pulls_failed == 1


def test_our_own_address_and_those_of_live_members_are_not_tried() -> None:
    solo = SoloEngine("n1")
    solo.start()
    for _ in range(3):
        solo.engine.join([address_of("n0"), address_of("n1")], solo.now)
    solo.drain()
    assert solo.streams == []


def test_a_seed_behind_another_address_is_known_once_it_told_its_name() -> None:
    # A service's address stands for whoever answers there.
    service = Address("10.96.0.1", 29501)
    solo, seed = SoloEngine(), SoloEngine("n2", record=make_record("n1"))
    solo.start()
    solo.engine.join([service], solo.now)
    solo.drain()
    exchange = solo.streams.pop()
    assert isinstance(exchange, PushPull)
    pull(solo, seed, exchange)
    solo.engine.join([service], solo.now)
    solo.drain()
    assert [stream for stream in solo.streams if isinstance(stream, PushPull) and not stream.peer] == []


def test_a_seed_that_turns_out_to_be_ourselves_is_company_to_nobody() -> None:
    service = Address("10.96.0.1", 29501)
    solo = SoloEngine()
    solo.start()
    solo.engine.join([service], solo.now)
    solo.drain()
    exchange = solo.streams.pop()
    assert isinstance(exchange, PushPull)
    pull(solo, solo, exchange)
    assert solo.engine.n == 1
    assert not solo.engine.has_company
    assert solo.events == []


def test_a_push_pull_that_the_driver_forgets_is_given_up() -> None:
    # Probes would find n1 dead.
    config = SwimConfig(max_push_pulls=1, push_pull_interval=10.0, probe_interval=1e6)
    solo = SoloEngine("n1", config=config)
    solo.start()
    solo.run_until(solo.now + 200.0)
    exchanges = [stream for stream in solo.streams if isinstance(stream, PushPull)]
    assert 2 <= len(exchanges) <= 4


def test_whoever_is_unknown_and_speaks_gets_a_push_pull_but_not_one_for_each_word() -> None:
    solo = SoloEngine("n1")
    solo.start()
    for seq in range(5):
        solo.hear("n9", Ping(seq, BOOT))
    assert solo.streams == [PushPull("n9", (address_of("n9"),))]
    assert len(solo.messages_to("n9", Ack)) == 5


@pytest.mark.parametrize("incarnation", [BOOT - 1, BOOT + 1])
def test_whoever_says_another_incarnation_than_we_hold_gets_a_push_pull(incarnation: int) -> None:
    solo = SoloEngine("n1")
    solo.start()
    solo.hear("n1", Ping(1, incarnation))
    assert solo.streams == [PushPull("n1", (address_of("n1"),))]


def test_a_difference_that_the_same_datagram_explains_needs_no_push_pull() -> None:
    solo = SoloEngine("n1")
    solo.start()
    solo.hear("n1", Ping(1, BOOT + 1), make_claim("n1", incarnation=BOOT + 1))
    solo.hear("n9", Ping(1, BOOT), make_claim("n9"))
    assert solo.streams == []


def test_an_answer_that_is_none_is_refused() -> None:
    solo = SoloEngine("n1")
    exchange = PushPull("n1", (address_of("n1"),))
    hashes = exchange_codec.encode_push_pull(BucketHashes((0,) * 16))
    for answer in (b"", b"\xc1", hashes):
        with pytest.raises(DecodeError):
            solo.engine.push_pull_claims(answer, exchange, solo.now)


def test_a_large_table_is_taken_in_and_told_in_turns() -> None:
    claims = [make_claim(f"m{number}") for number in range(1000)]
    solo = SoloEngine()
    exchange = PushPull("", (address_of("n1"),))
    body = exchange_codec.encode_push_pull(BucketClaims("n1", 16, tuple(range(16)), tuple(claims)))
    turns = solo.engine.push_pull_claims_in_turns(body, exchange)
    next(turns)
    known = [solo.engine.n]
    with contextlib.suppress(StopIteration):
        while True:
            turns.send(solo.now)
            known.append(solo.engine.n)
    assert solo.engine.n == 1001
    assert max(after - before for before, after in pairwise(known)) <= CLAIMS_A_TURN


def test_claims_before_a_malformed_one_are_taken_in() -> None:
    solo = SoloEngine()
    row = claim_codec.pack([1, 2])
    good = codec.encode(make_claim("m1"))
    body = exchange_codec.encode_bucket_claims("n1", 0, (), [b"\x9b" + good[2:], row])
    with pytest.raises(DecodeError):
        solo.engine.answer_push_pull(body, "n1", solo.now)
    assert solo.state_of("m1") is MemberState.ALIVE


def test_a_node_of_the_next_release_lives_with_this_one_and_is_told_on_whole() -> None:
    solo = SoloEngine("n1", "n2")
    said = [*msgpack.unpackb(codec.encode(make_claim("n9"))), "what comes next", 7]
    ping = [1, 5, BOOT, b"", "and here"]
    data = b"".join(map(msgpack.packb, ([99, "a new kind"], said, ping)))
    solo.engine.receive_datagram(data, address_of("n9"), "n9", solo.now)
    solo.drain()
    assert solo.messages_to("n9", Ack) == [Ack(5, BOOT)]
    solo.run_dry()
    told = [one.message for one in solo.sent if isinstance(one.message, Claim) and one.message.name == "n9"]
    assert told
    assert all(codec.encode(claim) == msgpack.packb(said) for claim in told)
    assert codec.encode(solo.table_told()["n9"]) == msgpack.packb(said)


@pytest.mark.parametrize(("news", "is_followed"), [(["m1"], True), ([], False)])
def test_a_push_pull_that_brought_new_members_is_followed_by_another_soon(
    news: list[str], is_followed: bool
) -> None:
    solo = SoloEngine("n1", config=SwimConfig(push_pull_interval=1000.0))
    solo.start()
    solo.forget()
    exchange = PushPull("n1", (address_of("n1"),))
    answer = BucketClaims("n1", 16, tuple(range(16)), tuple(make_claim(name) for name in news))
    solo.engine.push_pull_claims(exchange_codec.encode_push_pull(answer), exchange, solo.now)
    solo.engine.push_pull_done(exchange, solo.now)
    solo.forget()
    solo.run_until(solo.now + 4.0)
    assert any(isinstance(stream, PushPull) for stream in solo.streams) == is_followed
