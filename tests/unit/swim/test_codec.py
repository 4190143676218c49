import json
from pathlib import Path

import msgpack
import pytest

from spegel_gossip.errors import ConfigError, DecodeError
from spegel_gossip.swim import claim_codec, codec, exchange_codec
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.claims import INCARNATION_LIMIT, Claim
from spegel_gossip.swim.member import MemberRecord, MemberState
from spegel_gossip.swim.messages import Ack, BucketClaims, BucketHashes, Message, Nack, Ping, PingReq
from spegel_gossip.testing.swim_values import make_claim, make_record

GOLDEN = Path(__file__).parents[2] / "golden" / "swim.json"

RECORD = MemberRecord(
    name="worker-1",
    boot=1_700_000_000_000,
    addresses=(Address("10.0.0.1", 29501), Address("fd00::1", 29501)),
    zone="eu-1a",
    version="0.1.0",
)
SUSPECT = Claim(RECORD, 1_700_000_000_003, MemberState.SUSPECT, "worker-2")
DEAD = Claim(RECORD, 1_700_000_000_003, MemberState.DEAD, "worker-2", 77.0)

MESSAGES: dict[str, Message] = {
    "ping": Ping(1, 0),
    "ping with a note": Ping(300, 1_700_000_000_000, bytes(range(24))),
    "ack": Ack(70_000, 1_700_000_000_001, b"\x00note"),
    "ack with the time": Ack(70_000, 1_700_000_000_001, b"\x00note", 1_700_000_123_456),
    "nack": Nack(4_294_967_295),
    "ping-req": PingReq(5, "worker-3", RECORD.addresses),
    "claim alive": Claim(RECORD, 1_700_000_000_000, MemberState.ALIVE),
    "claim suspect": SUSPECT,
    "claim dead": DEAD,
    "claim left": Claim(RECORD, 1_700_000_000_003, MemberState.LEFT, "", 3.0),
}
BODIES: dict[str, BucketHashes | BucketClaims] = {
    "push-pull hashes": BucketHashes((0, 1, 1 << 63, (1 << 64) - 1)),
    "push-pull claims": BucketClaims("worker-1", 16, (3, 9), (SUSPECT, DEAD)),
}


@pytest.fixture(scope="module")
def golden() -> dict[str, str]:
    loaded: dict[str, str] = json.loads(GOLDEN.read_text())
    return loaded


@pytest.mark.parametrize("what", MESSAGES)
def test_messages_are_on_the_wire_as_every_release_wrote_them(what: str, golden: dict[str, str]) -> None:
    data = bytes.fromhex(golden[what])
    assert codec.encode(MESSAGES[what]) == data
    assert list(codec.decode_datagram_untrusted(data)) == [MESSAGES[what]]


@pytest.mark.parametrize("what", BODIES)
def test_push_pull_bodies_are_as_every_release_wrote_them(what: str, golden: dict[str, str]) -> None:
    data = bytes.fromhex(golden[what])
    assert exchange_codec.encode_push_pull(BODIES[what]) == data
    assert exchange_codec.decode_push_pull_untrusted(data) == BODIES[what]


def test_a_datagram_is_a_row_of_messages() -> None:
    messages: list[Message] = [Ping(1, 2), SUSPECT, DEAD, Nack(2)]
    data = b"".join(codec.encode(message) for message in messages)
    assert list(codec.decode_datagram_untrusted(data)) == messages


def test_trailing_fields_of_a_later_release_are_skipped() -> None:
    data = msgpack.packb([1, 9, 7, b"note", {"new": [1]}])
    assert list(codec.decode_datagram_untrusted(data)) == [Ping(9, 7, b"note")]
    body = [*msgpack.unpackb(exchange_codec.encode_push_pull(BODIES["push-pull claims"])), 5]
    assert exchange_codec.decode_push_pull_untrusted(msgpack.packb(body)) == BODIES["push-pull claims"]


@pytest.mark.parametrize("appended", [["new", None], [{"a": [1, b"x"]}], [0] * 5])
def test_what_a_later_release_appends_to_a_claim_is_passed_on_as_it_came(appended: list[object]) -> None:
    data = msgpack.packb([*msgpack.unpackb(codec.encode(SUSPECT)), *appended])
    (claim,) = codec.decode_datagram_untrusted(data)
    assert isinstance(claim, Claim)
    assert codec.encode(claim) == data
    (told,) = exchange_codec.decode_push_pull_untrusted(
        exchange_codec.encode_push_pull(BucketClaims("n1", 0, (), (claim,)))
    ).claims  # type: ignore[union-attr] # it was encoded from claims
    assert told == claim


@pytest.mark.parametrize("appended", [["x" * 300], list(range(40))])
def test_what_is_appended_to_a_claim_is_bounded(appended: list[object]) -> None:
    data = msgpack.packb([*msgpack.unpackb(codec.encode(SUSPECT)), *appended])
    (claim,) = codec.decode_datagram_untrusted(data)
    assert isinstance(claim, Claim)
    assert sum(map(len, claim.record.appended)) <= claim_codec.MAX_APPENDED_BYTES
    assert len(claim.record.appended) <= claim_codec.MAX_APPENDED_FIELDS


def test_messages_of_unknown_kinds_are_skipped() -> None:
    data = msgpack.packb([99, "from", {"a": "later"}, "release"]) + codec.encode(Nack(4))
    assert list(codec.decode_datagram_untrusted(data)) == [Nack(4)]


def test_a_ping_without_claims_is_small() -> None:
    # 3 packets and 0.5 kB a second are the budget of an idle member.
    assert len(codec.encode(Ping(9999, 1 << 60, bytes(24)))) <= 40


def test_claims_of_unknown_states_are_skipped() -> None:
    data = claim_with(3, 4) + codec.encode(Nack(4))
    assert list(codec.decode_datagram_untrusted(data)) == [Nack(4)]


def claim_with(index: int, value: object) -> bytes:
    fields = msgpack.unpackb(codec.encode(SUSPECT))
    fields[index] = value
    packed: bytes = msgpack.packb(fields)
    return packed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        codec.encode(SUSPECT)[:-1],
        codec.encode(Ping(1, 1)) + b"\x93",
        msgpack.packb("text"),
        msgpack.packb([]),
        msgpack.packb([1]),
        msgpack.packb([1, 1]),
        msgpack.packb([1, 1, 1]),
        msgpack.packb([1, -1, 1, b""]),
        msgpack.packb([1, True, 1, b""]),
        msgpack.packb([1, 1 << 32, 1, b""]),
        msgpack.packb([1, 1, INCARNATION_LIMIT, b""]),
        msgpack.packb([1, 1, 1, b"x" * 25]),
        msgpack.packb([1, 1, 1, "text"]),
        msgpack.packb([2, 1, 1, b"", -1]),
        msgpack.packb([2, 1, 1, b"", 1 << 53]),
        msgpack.packb([4, 1, "a", []]),
        msgpack.packb([4, 1, "a", [b"12345"]]),
        msgpack.packb([4, 1, "a", [b"\x7f\x00\x00\x01\x00\x00"]]),
        msgpack.packb([4, 1, "a", [b"\x00" * 10 + b"\xff\xff\x7f\x00\x00\x01\x00\x01"]]),
        msgpack.packb([5, "a", 1]),
        claim_with(1, ""),
        claim_with(1, "x" * 254),
        claim_with(1, "bell\x07"),
        claim_with(2, INCARNATION_LIMIT),
        claim_with(3, 256),
        claim_with(4, INCARNATION_LIMIT),
        claim_with(5, [b"\x7f\x00\x00\x01\x00\x01"] * 9),
        claim_with(6, "z" * 129),
        claim_with(8, None),
        claim_with(11, 1 << 32),
        msgpack.packb([3, 1]) * 600,
        b"\x93\x01\x01\xc4\xff",
        b"\x01" * 70_000,
    ],
)
def test_malformed_datagrams_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        list(codec.decode_datagram_untrusted(data))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        msgpack.packb(1),
        msgpack.packb([]),
        msgpack.packb([7, b"x"]),
        msgpack.packb([1, b""]),
        msgpack.packb([1, b"1234567"]),
        msgpack.packb([1, b"8 bytes." * 3]),
        msgpack.packb([1, b"8 bytes." * 2048]),
        msgpack.packb([2, "a", 16, [16], []]),
        msgpack.packb([2, "a", 15, [1], []]),
        msgpack.packb([2, "a", 4096, [1], []]),
        msgpack.packb([2, "a", 1, [0, 0], []]),
        msgpack.packb([2, "", 16, [], []]),
        msgpack.packb([2, "a", 16, [], [5]]),
        # memberlist's TestReadRemoteState_Limits: a header that promises ten million members.
        b"\x95\x02\xa1a\x10\x90\xdd\x00\x98\x96\x80",
    ],
)
def test_malformed_push_pull_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        exchange_codec.decode_push_pull_untrusted(body)


def test_a_push_pull_body_beyond_the_limit_is_not_even_parsed() -> None:
    with pytest.raises(DecodeError, match="bytes"):
        exchange_codec.decode_push_pull_untrusted(bytes(exchange_codec.MAX_PUSH_PULL_BYTES + 1))


def test_our_own_record_is_checked_before_anybody_else_refuses_it() -> None:
    claim_codec.check_record(RECORD)
    with pytest.raises(ConfigError, match="cannot be sent"):
        claim_codec.check_record(make_record("x" * 254))


def test_an_age_beyond_the_limit_is_sent_as_the_limit() -> None:
    data = codec.encode(make_claim("a", MemberState.DEAD, age=1e12))
    (claim,) = codec.decode_datagram_untrusted(data)
    assert isinstance(claim, Claim)
    assert claim.age == claim_codec.MAX_AGE - 1
