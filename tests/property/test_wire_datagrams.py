from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.errors import DecodeError
from spegel_gossip.wire.bodies import BodySealer
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.envelope import MAX_DATAGRAM, Envelope
from spegel_gossip.wire.errors import EnvelopeError
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.kinds import DatagramKind

KEYRINGS = st.sampled_from([None, Keyring((bytes(range(32)),))])
NAMES = st.text(min_size=1, max_size=60).filter(lambda name: _is_encodable(name))


def _is_encodable(name: str) -> bool:
    try:
        return len(name.encode()) <= 253
    except UnicodeEncodeError:
        return False


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """A real datagram with bytes changed, taken away, or put in."""
    mutated = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(mutated)))
        match draw(st.sampled_from(["change", "cut", "insert", "truncate"])):
            case "change" if at < len(mutated):
                mutated[at] ^= draw(st.integers(1, 255))
            case "cut":
                del mutated[at : at + draw(st.integers(1, 8))]
            case "insert":
                mutated[at:at] = draw(st.binary(min_size=1, max_size=8))
            case _:
                del mutated[at:]
    return bytes(mutated)


@given(keyring=KEYRINGS, name=NAMES, boot=st.integers(0, 2**64 - 1), body=st.binary(max_size=800))
def test_what_is_sealed_opens(keyring: Keyring | None, name: str, boot: int, body: bytes) -> None:
    sender = Envelope(Credentials(name, boot, "test", keyring))
    receiver = Envelope(Credentials("b", 1, "test", keyring))

    data = sender.seal(DatagramKind.GOSSIP, body, target="b")
    opened = receiver.open_untrusted(data)

    assert len(data) <= MAX_DATAGRAM
    assert (opened.name, opened.boot, opened.body) == (name, boot, body)


@given(keyring=KEYRINGS, data=st.binary(max_size=1400))
def test_garbage_is_an_envelope_error_or_plain_text_for_us(keyring: Keyring | None, data: bytes) -> None:
    receiver = Envelope(Credentials("b", 1, "test", keyring))

    with contextlib.suppress(EnvelopeError):
        receiver.open_untrusted(data)
        assert keyring is None


@given(data=st.data(), body=st.binary(max_size=100))
def test_a_mutated_sealed_datagram_never_opens(data: st.DataObject, body: bytes) -> None:
    keyring = Keyring((bytes(range(32)),))
    sealed = Envelope(Credentials("a", 1, "test", keyring)).seal(DatagramKind.GOSSIP, body, target="b")
    mutated = data.draw(mutations(sealed))
    receiver = Envelope(Credentials("b", 1, "test", keyring))

    try:
        receiver.open_untrusted(mutated)
    except EnvelopeError:
        return
    assert mutated == sealed


@given(data=st.data(), body=st.binary(max_size=100))
def test_a_mutated_sealed_body_never_opens(data: st.DataObject, body: bytes) -> None:
    credentials = Credentials("a", 1, "test", Keyring((bytes(range(32)),)))
    sealed = BodySealer(credentials).seal(body, context="request 1")
    mutated = data.draw(mutations(sealed))

    try:
        opened = BodySealer(credentials).open_untrusted(mutated, sender="a", context="request 1")
    except DecodeError:
        return
    assert (mutated, opened) == (sealed, body)
