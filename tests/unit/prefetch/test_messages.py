import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.errors import DecodeError
from spegel_gossip.oci.reference import Reference
from spegel_gossip.prefetch.messages import (
    MAX_DETAIL,
    PullAsk,
    PullState,
    PullStatus,
    decode_ask_untrusted,
    decode_status_untrusted,
    encode_ask,
    encode_status,
)
from spegel_gossip.pulling import PullProblem

ASK = PullAsk(bytes(range(16)), Reference.parse("registry.example.com:5000/team/app:v1"))
STATUS = PullStatus(
    state=PullState.FAILED,
    here=1,
    total=2,
    upstream=3,
    peers=4,
    seconds=1.5,
    problem=PullProblem.UNAUTHORISED,
    detail="401",
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def test_messages_arrive_as_they_were_sent() -> None:
    assert decode_ask_untrusted(encode_ask(ASK)) == ASK
    assert decode_status_untrusted(encode_status(STATUS)) == STATUS


def test_bytes_on_the_wire_stay_what_they_are() -> None:
    assert encode_ask(ASK).hex() == (
        "92c410000102030405060708090a0b0c0d0e0fd925"
        "72656769737472792e6578616d706c652e636f6d3a353030302f7465616d2f6170703a7631"
    )
    assert encode_status(STATUS).hex() == "980401020304cd05dc03a3343031"


def test_what_a_later_release_adds_is_skipped() -> None:
    later = msgpack.packb([*msgpack.unpackb(encode_status(STATUS)), {"more": [1]}])
    assert decode_status_untrusted(later) == STATUS
    later = msgpack.packb([*msgpack.unpackb(encode_ask(ASK)), "more"])
    assert decode_ask_untrusted(later) == ASK


def test_a_later_releases_state_goes_on_and_its_problem_is_a_failure() -> None:
    later = decode_status_untrusted(msgpack.packb([9, 0, 0, 0, 0, 0, 99, "so it is"]))

    assert (later.state, later.problem) == (PullState.PULLING, PullProblem.FAILED)


def test_a_long_text_is_cut() -> None:
    long = PullStatus(state=PullState.FAILED, detail="x" * 5000)

    assert len(decode_status_untrusted(encode_status(long)).detail) == MAX_DETAIL


@given(st.binary() | values.map(msgpack.packb) | st.lists(values, min_size=2, max_size=9).map(msgpack.packb))
def test_whatever_comes_is_a_message_or_refused(body: bytes) -> None:
    for decode in (decode_ask_untrusted, decode_status_untrusted):
        try:
            decode(body)
        except DecodeError:
            continue


@pytest.mark.parametrize("image", ["", "UPPER", "a" * 2000, "x@sha256:1"])
def test_what_is_no_image_is_refused(image: str) -> None:
    with pytest.raises(DecodeError):
        decode_ask_untrusted(msgpack.packb([bytes(16), image]))
