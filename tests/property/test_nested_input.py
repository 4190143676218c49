"""A field that is nested deeper than Python can print is refused or skipped, wherever it stands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgpack
import pytest

from spegel_gossip.directory import codec as directory
from spegel_gossip.directory import fetch_codec, fetch_messages, messages
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.records import Record, Summary
from spegel_gossip.errors import DecodeError
from spegel_gossip.oci.reference import Reference
from spegel_gossip.prefetch import messages as prefetch
from spegel_gossip.swim import codec as swim
from spegel_gossip.swim import exchange_codec
from spegel_gossip.swim.claims import Claim
from spegel_gossip.swim.member import MemberState
from spegel_gossip.swim.messages import Ack, BucketClaims, BucketHashes, Nack, Ping, PingReq
from spegel_gossip.testing.swim_values import address_of, make_record

Decode = Callable[[bytes], object]
Values = list[object]
Path = tuple[int, ...]

MARK = msgpack.ExtType(99, b"a field that is to be nested")
DEPTH = 1000
"""Python's recursion limit; msgpack takes 1,024, of which the message has a few."""
KEY = PackedKey(bytes(33))
CLAIM = Claim(make_record("c"), 5, MemberState.DEAD, "b", 60.0)
SPREADING = messages.Spreading((messages.Arrival(1, 2, 3, 4, 5),), 1, 2, 3)
ANSWER = messages.KeyAnswer(
    True, True, (1,), (2,), 3, KEY, 4, (messages.Naming(KEY, 5, (6,)),), (7,), 8, SPREADING
)


def datagram(data: bytes) -> object:
    return list(swim.decode_datagram_untrusted(data))


def whole_push_pull(body: bytes) -> object:
    return exchange_codec.decode_push_pull_untrusted(body)


MESSAGES: list[tuple[Decode, bytes]] = [
    *((datagram, swim.encode(one)) for one in (Ping(1, 2, b"n"), Ack(1, 2, b"n", 3), Nack(1), CLAIM)),
    (datagram, swim.encode(PingReq(1, "b", (address_of("b"),)))),
    (whole_push_pull, exchange_codec.encode_push_pull(BucketHashes((0,) * 16))),
    (whole_push_pull, exchange_codec.encode_push_pull(BucketClaims("b", 16, (1, 2), (CLAIM,)))),
    *(
        (directory.decode_untrusted, directory.encode(one))
        for one in (
            messages.Advertise(
                1, 2, 3, (Record(KEY, 1, 2, 3, KEY, 4),), messages.Closing(1, Summary(2, 3), 4)
            ),
            messages.Ack(1, 0),
            messages.Resync(1, 2),
            messages.Question(1, 0, (messages.QuestionKey(KEY, 2),)),
            messages.Answer(1, 2, (ANSWER,)),
            messages.Miss(1, KEY, 2),
            messages.Recheck(1, KEY),
            messages.Purge(1, (messages.PurgeItem(KEY, 2),)),
        )
    ),
    *(
        (fetch_codec.decode_fetch_untrusted, fetch_codec.encode_fetch(one))
        for one in (
            fetch_messages.FetchAsk(
                1, KEY, 2, 3, 4, failed=(1,), stalled=(2,), burden=1, busy=(3,), stalled_ms=(4,)
            ),
            fetch_messages.FetchTold(1, 2, (3,), 4, 5, 6, 7),
            fetch_messages.Progress(1, 2, True, (fetch_messages.ProgressItem(KEY, 1, 2, 3),), 4),
        )
    ),
    (
        prefetch.decode_ask_untrusted,
        prefetch.encode_ask(prefetch.PullAsk(bytes(16), Reference.parse("a.b/c:d"))),
    ),
    (
        prefetch.decode_status_untrusted,
        prefetch.encode_status(prefetch.PullStatus(state=prefetch.PullState.DONE)),
    ),
]


def paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Every place of a message: each of its fields, and one more at the end of each of its arrays."""
    yield path
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from paths(one, (*path, index))
        yield (*path, len(value))


def nested_at(data: bytes, path: Path, *, mark: bytes) -> bytes:
    """Return the message with the field at `path` replaced by one that is as deep as msgpack takes."""
    message: Values = [msgpack.unpackb(data)]
    place, index = message, 0
    for step in path:
        inner = place[index]
        assert isinstance(inner, list)
        place, index = inner, step
    place[index : index + 1] = [MARK]
    return bytes(msgpack.packb(message[0])).replace(msgpack.packb(MARK), mark * DEPTH + b"\x00")


@pytest.mark.parametrize(("decode", "data"), MESSAGES, ids=range(len(MESSAGES)))
@pytest.mark.parametrize("mark", [b"\x91", b"\x81\x01"], ids=["arrays", "maps"])
def test_deep_nesting_is_refused_with_a_decode_error_or_skipped(
    decode: Decode, data: bytes, mark: bytes
) -> None:
    # Every place there is, and not by Hypothesis, which raises the recursion limit meanwhile.
    decode(data)
    for path in paths(msgpack.unpackb(data)):
        with contextlib.suppress(DecodeError):
            decode(nested_at(data, path, mark=mark))
