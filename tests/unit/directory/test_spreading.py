from __future__ import annotations

import pytest

from spegel_gossip.directory.codec import decode_untrusted, encode, encode_answer_within
from spegel_gossip.directory.keys import pack_key
from spegel_gossip.directory.messages import MAX_ARRIVALS_TOLD, Answer, Arrival, KeyAnswer, Spreading
from spegel_gossip.directory.spread import Lease, Spread
from spegel_gossip.directory.spread import Receiver as Receiving
from spegel_gossip.directory.spreading import spreading_of
from spegel_gossip.oci.digest import Digest
from spegel_gossip.swim.names import name_hash

KEY = pack_key(Digest.of(b"a blob"))
MIB = 1 << 20


def receiver(name: str, offset: int, *, granted_at: float | None = None, total: int = 9 * MIB) -> Receiving:
    lease = None if granted_at is None else Lease(1, granted_at, granted_at, granted_at)
    return Receiving(name, stamp=1, heard_at=0.0, offset=offset, total=total, lease=lease)


@pytest.fixture
def spread() -> Spread:
    spread = Spread(KEY)
    for one in (
        receiver("far", 5 * MIB),
        receiver("near", 2 * MIB),
        receiver("fetching", 4 * MIB, granted_at=7.0),
        receiver("waiting", 0),
    ):
        spread.receivers[one.name] = one
    spread.attach(spread.receivers["near"], "fetching", 2)
    spread.waiting["waiting"] = 3
    return spread


def test_who_fetches_is_named_first_then_who_is_furthest(spread: Spread) -> None:
    said = spreading_of(spread, now=10.0)
    assert said.arrivals == (
        Arrival(name_hash("fetching"), 4 * MIB, 9 * MIB, lease_age_ms=3_000),
        Arrival(name_hash("far"), 5 * MIB, 9 * MIB),
        Arrival(name_hash("near"), 2 * MIB, 9 * MIB, parent=name_hash("fetching")),
        Arrival(name_hash("waiting"), 0, 9 * MIB),
    )
    assert (said.receivers, said.waiting, said.refused_ms) == (4, 1, 0)


def test_who_has_it_all_is_no_arrival(spread: Spread) -> None:
    spread.receivers["far"].is_done = True
    said = spreading_of(spread, now=10.0)
    assert said.receivers == 3
    assert name_hash("far") not in [one.holder for one in said.arrivals]


def test_what_nobody_could_fetch_says_for_how_long_it_is_left_alone(spread: Spread) -> None:
    spread.refused_until = 12.5
    assert spreading_of(spread, now=10.0).refused_ms == 2_500
    assert spreading_of(spread, now=20.0).refused_ms == 0


def test_of_a_herd_only_so_many_are_named_and_all_are_counted(spread: Spread) -> None:
    for number in range(100):
        spread.receivers[f"more-{number}"] = receiver(f"more-{number}", MIB)
    said = spreading_of(spread, now=10.0)
    assert len(said.arrivals) == MAX_ARRIVALS_TOLD
    assert said.receivers == 104


def test_an_owner_of_an_earlier_release_says_nothing_of_it() -> None:
    # Nine fields, as release 0.1 writes an answer that explains.
    known = KeyAnswer(is_young=False, has_same_view=True, hidden=(1,), spreading=None)
    later = KeyAnswer(is_young=False, has_same_view=True, hidden=(1,), spreading=Spreading(waiting=2))
    earlier = encode(Answer(1, 2, (known,)))
    assert decode_untrusted(earlier) == Answer(1, 2, (known,))
    assert decode_untrusted(encode(Answer(1, 2, (later,)))) == Answer(1, 2, (later,))


def test_fewer_are_named_where_the_datagram_is_full(spread: Spread) -> None:
    for number in range(20):
        spread.receivers[f"more-{number}"] = receiver(f"more-{number}", MIB)
    said = spreading_of(spread, now=10.0)
    answer = KeyAnswer(is_young=False, has_same_view=True, holders=tuple(range(64)), spreading=said)
    decoded = decode_untrusted(encode_answer_within(Answer(1, 2, (answer,)), 500))
    assert isinstance(decoded, Answer)
    [cut] = decoded.answers
    assert cut.spreading is not None
    assert cut.spreading.receivers == 24
    assert cut.spreading.arrivals == said.arrivals[: len(cut.spreading.arrivals)]
