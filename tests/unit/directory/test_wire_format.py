"""Messages as release 0.1 writes them: a later one must still read them, byte for byte."""

from __future__ import annotations

import pytest

from spegel_gossip.directory.codec import decode_untrusted, encode
from spegel_gossip.directory.keys import pack_key
from spegel_gossip.directory.messages import (
    Ack,
    AckStatus,
    Advertise,
    Answer,
    Arrival,
    AskedFor,
    Closing,
    KeyAnswer,
    Message,
    Miss,
    Naming,
    Purge,
    PurgeItem,
    Question,
    QuestionKey,
    Recheck,
    Resync,
    Spreading,
)
from spegel_gossip.directory.records import Note, Record, RecordKind, Summary, encode_note, record_hash
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName

BLOB = pack_key(Digest("sha256", "ab" * 32))
TAG = pack_key(TagName("docker.io", "library/nginx", "1.27"))
TAGGED = Record(TAG, RecordKind.COMPLETE, 8, 1_234, BLOB, 1_700_000_000_123)

GOLDEN: list[tuple[Message, str]] = [
    (
        Advertise(
            7,
            1_700_000_000_000,
            2,
            (Record(BLOB, RecordKind.COMPLETE, 5, 77), TAGGED),
            Closing(0xFEDCBA9876543210, Summary(2, 0x0123456789ABCDEF), 6),
        ),
        (
            "960107cf0000018bcfe56800029294c42101abababababababababababababababababababababababababababababab"
            "abab01054d96c41d03646f636b65722e696f2f6c6962726172792f6e67696e783a312e32370108cd04d2c42101ababab"
            "abababababababababababababababababababababababababababababcf0000018bcfe5687b94cffedcba9876543210"
            "02cf0123456789abcdef06"
        ),
    ),
    (
        Advertise(7, 1, 0, (Record(BLOB, RecordKind.WITHDRAWN, 9),)),
        ("96010701009194c42101abababababababababababababababababababababababababababababababab000900c0"),
    ),
    (Ack(7, AckStatus.DIFFERS), "93020701"),
    (Ack(7, AckStatus.REFUSED), "93020702"),
    (Resync(7, 1), "93030701"),
    (
        Question(7, AskedFor.FETCH, (QuestionKey(BLOB, 9), QuestionKey(TAG, 10))),
        (
            "940407019292c42101abababababababababababababababababababababababababababababababab0992c41d03646f"
            "636b65722e696f2f6c6962726172792f6e67696e783a312e32370a"
        ),
    ),
    (
        Answer(
            7,
            3,
            (
                KeyAnswer(is_young=True, has_same_view=True, holders=(1, 2), partials=(3,), size=77),
                KeyAnswer(is_young=False, has_same_view=True, digest=BLOB, observed_at_ms=1_700_000_000_123),
            ),
        ),
        (
            "94050703929403c41000000000000000010000000000000002c40800000000000000034d9602c400c40000c42101abab"
            "ababababababababababababababababababababababababababababababcf0000018bcfe5687b"
        ),
    ),
    (
        Miss(7, BLOB, 0xFEDCBA9876543210),
        ("940607c42101ababababababababababababababababababababababababababababababababcffedcba9876543210"),
    ),
    (
        Purge(7, (PurgeItem(TAG, 1_700_000_000_123),)),
        ("9308079192c41d03646f636b65722e696f2f6c6962726172792f6e67696e783a312e3237cf0000018bcfe5687b"),
    ),
    (
        Answer(
            7,
            3,
            (
                KeyAnswer(
                    is_young=False,
                    has_same_view=True,
                    digest=BLOB,
                    observed_at_ms=9,
                    namings=(Naming(BLOB, 9, (1,)),),
                    hidden=(2,),
                    purged_at_ms=8,
                ),
            ),
        ),
        (
            "94050703919902c400c40000c42101ababababababababababababababababababababababababababababababab"
            "ab099193c42101abababababababababababababababababababababababababababababababab09c40800000000"
            "00000001c408000000000000000208"
        ),
    ),
    (
        Answer(
            7,
            3,
            (
                KeyAnswer(
                    is_young=False,
                    has_same_view=True,
                    spreading=Spreading((Arrival(1, 5, 9, 70), Arrival(2, 4, 9, None, 1)), 2, 3, 4),
                ),
            ),
        ),
        "94050703919a02c400c40000c00090c40000949295010509460095020409c001020304",
    ),
    (Recheck(7, BLOB), "930707c42101abababababababababababababababababababababababababababababababab"),
]


@pytest.mark.parametrize(("message", "written"), GOLDEN)
def test_messages_are_read_and_written_as_ever(message: Message, written: str) -> None:
    assert encode(message).hex() == written
    assert decode_untrusted(bytes.fromhex(written)) == message


def test_what_summaries_add_up_is_as_ever() -> None:
    assert record_hash(TAGGED, boot=3) == 0xE62A619777F1AF88


def test_notes_are_read_and_written_as_ever() -> None:
    summary = Summary(2, 0x0123456789ABCDEF)
    raw = encode_note(0xFEDCBA9876543210, summary)
    assert raw.hex() == "76543210000000020123456789abcdef"
    assert Note.decode_untrusted(raw) == Note(0x76543210, summary)
