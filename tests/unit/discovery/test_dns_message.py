import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.discovery.dns_message import (
    SrvAnswer,
    SrvTarget,
    decode_answer_untrusted,
    encode_question,
)
from spegel_gossip.errors import DecodeError

NAME = "_peers-udp._udp.mirror.svc.cluster.local."
QUESTION = encode_question(7, NAME)


def record(host: bytes, port: int = 29501, kind: int = 33) -> bytes:
    data = struct.pack("!HHH", 0, 10, port) + host
    # The owner's name as a pointer to the question's, as servers write it.
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 5, len(data)) + data


def answer(*records: bytes, flags: int = 0x8180, number: int = 7) -> bytes:
    return struct.pack("!HHHHHH", number, flags, 1, len(records), 0, 0) + QUESTION[12:] + b"".join(records)


NODE_A = b"\x06node-a\x02ns\x00"
# "node-b" and then what stands at offset 27 of the question: mirror.svc.cluster.local.
NODE_B = b"\x06node-b\xc0" + bytes([12 + 1 + len("_peers-udp") + 1 + len("_udp")])
GOOD = answer(record(NODE_A), record(NODE_B, 5), record(b"\x01a\x00", kind=5))


def test_targets_are_read_with_their_ports_and_with_names_that_are_compressed() -> None:
    assert decode_answer_untrusted(GOOD, 7) == SrvAnswer(
        0, False, (SrvTarget("node-a.ns", 29501), SrvTarget("node-b.mirror.svc.cluster.local", 5))
    )


def test_a_name_that_is_not_there_is_an_answer() -> None:
    assert decode_answer_untrusted(answer(flags=0x8183), 7) == SrvAnswer(3, False, ())


def test_an_answer_that_is_cut_off_says_so_even_in_the_middle_of_a_record() -> None:
    cut = answer(record(NODE_A), flags=0x8380)

    assert decode_answer_untrusted(cut, 7).is_truncated
    assert decode_answer_untrusted(cut[:-12], 7) == SrvAnswer(0, True, ())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:5],
        GOOD[:-12],
        answer(number=8),
        answer(flags=0x0100),
        answer(record(b"\xc0\x0c")[:-2] + b"\xc0\xff"),
        answer(record(b"\x3fshort")),
        answer(record(b"\x80x\x00")),
        answer(record(b"\x02\xff\xff\x00")),
    ],
)
def test_nonsense_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_answer_untrusted(data, 7)


def test_a_name_that_points_at_itself_ends() -> None:
    looping = bytearray(answer(record(b"\xc0\x00")))
    looping[-2:] = struct.pack("!H", 0xC000 | (len(looping) - 2))

    with pytest.raises(DecodeError, match="no end"):
        decode_answer_untrusted(bytes(looping), 7)


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, "."])
def test_what_is_no_name_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match="no DNS name"):
        encode_question(1, name)


@given(st.data())
def test_whatever_arrives_is_an_answer_or_a_decode_error(data: st.DataObject) -> None:
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutated)))

    with contextlib.suppress(DecodeError):
        decode_answer_untrusted(bytes(mutated[:cut]), 7)
