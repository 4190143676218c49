import pytest

from spegel_gossip.swim import codec
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.dissemination import DisseminationQueue, transmit_limit
from spegel_gossip.swim.member import MemberState
from spegel_gossip.testing.swim_values import make_claim

SIZE = len(codec.encode(make_claim("m1")))


def names_in(taken: list[bytes]) -> list[str]:
    messages = [message for data in taken for message in codec.decode_datagram_untrusted(data)]
    return [message.name for message in messages if isinstance(message, Claim)]


def add(queue: DisseminationQueue, claim: Claim) -> None:
    queue.add(claim.name, codec.encode(claim))


def queue_of(*names: str) -> DisseminationQueue:
    queue = DisseminationQueue(max_claim_bytes=1000)
    for name in names:
        add(queue, make_claim(name))
    return queue


@pytest.mark.parametrize(
    ("multiplier", "n", "limit"), [(3, 0, 0), (3, 1, 3), (3, 99, 6), (4, 8, 4), (4, 1000, 16)]
)
def test_the_transmit_limit_is_that_of_memberlist(multiplier: int, n: int, limit: int) -> None:
    assert transmit_limit(multiplier, n) == limit


def test_the_newest_goes_first_and_then_the_least_sent() -> None:
    queue = queue_of("m1", "m2", "m3")
    assert names_in(queue.take(2 * SIZE, limit=9)) == ["m3", "m2"]
    assert names_in(queue.take(2 * SIZE, limit=9)) == ["m1", "m2"]


def test_a_claim_is_forgotten_after_its_last_transmit() -> None:
    queue = queue_of("m1", "m2", "m3", "m4")
    lengths = [len(queue.take(3 * SIZE, limit=2)) for _ in range(4)]
    assert lengths == [3, 3, 2, 0]
    assert len(queue) == 0


def test_a_newer_claim_replaces_the_older_and_starts_afresh() -> None:
    queue = queue_of("m1")
    queue.take(SIZE, limit=2)
    add(queue, make_claim("m1", MemberState.SUSPECT))
    taken = [queue.take(SIZE, limit=2) for _ in range(3)]
    claims = [claim for data in taken for one in data for claim in codec.decode_datagram_untrusted(one)]
    assert claims == [make_claim("m1", MemberState.SUSPECT)] * 2


@pytest.mark.parametrize(("room", "taken"), [(4 * SIZE, 4), (4 * SIZE - 1, 3), (SIZE - 1, 0)])
def test_as_many_are_taken_as_fit_to_the_byte(room: int, taken: int) -> None:
    # memberlist's TestTransmitLimited_GetBroadcasts: four messages, room for four or just not.
    assert len(queue_of("m1", "m2", "m3", "m4").take(room, limit=9)) == taken


def test_no_more_is_taken_than_there_is_room() -> None:
    queue = queue_of(*(f"m{number}" for number in range(9)))
    for room in range(0, 6 * SIZE, 7):
        assert sum(map(len, queue.take(room, limit=99))) <= room


def test_one_that_is_too_long_does_not_hold_up_the_others() -> None:
    queue = queue_of("m1")
    add(queue, make_claim("a-member-with-quite-a-long-name-1"))
    assert names_in(queue.take(SIZE, limit=9)) == ["m1"]


def test_one_too_long_for_any_datagram_is_left_to_push_pull() -> None:
    queue = DisseminationQueue(max_claim_bytes=SIZE)
    add(queue, make_claim("a-member-with-quite-a-long-name-1"))
    assert len(queue) == 0


def test_what_the_datagram_says_already_is_not_said_twice() -> None:
    assert names_in(queue_of("m1", "m2").take(9 * SIZE, limit=9, omit="m2")) == ["m1"]
