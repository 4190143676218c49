from __future__ import annotations

import pytest

from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.envelope import MAX_DATAGRAM, Envelope
from spegel_gossip.wire.errors import EnvelopeError
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.kinds import DatagramKind

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def envelope(name: str, *keys: bytes, cluster: str = "test") -> Envelope:
    return Envelope(Credentials(name, 7, cluster, Keyring(keys) if keys else None))


def reason(receiver: Envelope, data: bytes) -> str:
    with pytest.raises(EnvelopeError) as caught:
        receiver.open_untrusted(data)
    return caught.value.reason


@pytest.mark.parametrize("keys", [(), (OLD,)])
def test_a_round_trip_keeps_everything(keys: tuple[bytes, ...]) -> None:
    data = envelope("a", *keys).seal(DatagramKind.DIRECTORY, b"body", target="b")

    opened = envelope("b", *keys).open_untrusted(data)

    assert (opened.name, opened.boot, opened.kind, opened.body) == ("a", 7, DatagramKind.DIRECTORY, b"body")


@pytest.mark.parametrize("name", ["a", "n" * 253, "ü" * 126])
@pytest.mark.parametrize("keys", [(), (OLD,)])
def test_the_largest_body_fits_exactly(name: str, keys: tuple[bytes, ...]) -> None:
    sender = envelope(name, *keys)

    data = sender.seal(DatagramKind.GOSSIP, bytes(sender.max_body), target="b")

    assert len(data) == MAX_DATAGRAM - (0 if keys else 16)
    assert len(envelope("b", *keys).open_untrusted(data).body) == sender.max_body
    with pytest.raises(ValueError, match="fit"):
        sender.seal(DatagramKind.GOSSIP, bytes(sender.max_body + 1), target="b")


def test_sealed_bytes_do_not_show_the_body() -> None:
    assert b"secret" not in envelope("a", OLD).seal(DatagramKind.GOSSIP, b"secret", target="b")


def test_the_second_key_decrypts() -> None:
    data = envelope("a", OLD).seal(DatagramKind.GOSSIP, b"x", target="b")

    assert envelope("b", NEW, OLD).open_untrusted(data).body == b"x"


def test_another_key_does_not() -> None:
    assert reason(envelope("b", NEW), envelope("a", OLD).seal(DatagramKind.GOSSIP, b"x", target="b")) == "key"


def test_a_keyring_may_be_replaced_while_running() -> None:
    sender, receiver = (
        Credentials("a", 1, "test", Keyring((OLD,))),
        Credentials("b", 1, "test", Keyring((OLD,))),
    )
    a, b = Envelope(sender), Envelope(receiver)
    b.open_untrusted(a.seal(DatagramKind.GOSSIP, b"x", target="b"))

    sender.keyring = receiver.keyring = Keyring((NEW,))

    assert b.open_untrusted(a.seal(DatagramKind.GOSSIP, b"y", target="b")).body == b"y"
    assert reason(b, envelope("a", OLD).seal(DatagramKind.GOSSIP, b"x", target="b")) == "key"


def test_another_cluster_is_not_listened_to() -> None:
    # With one key: the cluster's name is part of the derivation already.
    sealed = envelope("a", OLD, cluster="blue").seal(DatagramKind.GOSSIP, b"x", target="b")
    clear = envelope("a", cluster="blue").seal(DatagramKind.GOSSIP, b"x", target="b")

    assert reason(envelope("b", OLD, cluster="green"), sealed) == "key"
    assert reason(envelope("b", cluster="green"), clear) == "cluster"


def test_a_datagram_for_another_member_is_dropped() -> None:
    data = envelope("a", OLD).seal(DatagramKind.GOSSIP, b"x", target="c")

    assert reason(envelope("b", OLD), data) == "target"


def test_only_gossip_may_go_to_whoever_listens() -> None:
    a, b = envelope("a", OLD), envelope("b", OLD)

    assert b.open_untrusted(a.seal(DatagramKind.GOSSIP, b"x", target="")).body == b"x"
    assert reason(b, a.seal(DatagramKind.DIRECTORY, b"x", target="")) == "target"


def test_a_sealed_datagram_counts_once() -> None:
    a, b = envelope("a", OLD), envelope("b", OLD)
    data = a.seal(DatagramKind.GOSSIP, b"x", target="b")
    b.open_untrusted(data)

    assert reason(b, data) == "replay"


def test_a_datagram_that_was_not_for_us_does_not_use_up_its_counter() -> None:
    a, b = envelope("a", OLD), envelope("b", OLD)
    data = a.seal(DatagramKind.GOSSIP, b"x", target="b")
    damaged = data[:-1] + bytes([data[-1] ^ 1])

    assert reason(b, damaged) == "key"
    assert b.open_untrusted(data).body == b"x"


def test_clear_text_is_dropped_where_there_is_a_key_and_sealed_where_there_is_none() -> None:
    clear = envelope("a").seal(DatagramKind.GOSSIP, b"x", target="b")
    sealed = envelope("a", OLD).seal(DatagramKind.GOSSIP, b"x", target="b")

    assert reason(envelope("b", OLD), clear) == "unsealed"
    assert reason(envelope("b"), sealed) == "sealed"


def test_two_lives_of_one_name_use_different_keys() -> None:
    # The same counter twice under one key would give GCM away.
    first, second = Credentials("a", 1, "test", Keyring((OLD,))), Credentials("a", 2, "test", Keyring((OLD,)))
    nonce = bytes(12)

    one = first.ciphers.derive(OLD, name="a", boot=1).encrypt(nonce, bytes(16), None)
    other = second.ciphers.derive(OLD, name="a", boot=2).encrypt(nonce, bytes(16), None)

    assert one != other


def test_every_part_of_the_clear_header_is_authenticated() -> None:
    data = envelope("abc", OLD).seal(DatagramKind.GOSSIP, b"x", target="b")
    header_bytes = 2 + 3 + 16

    for at in range(header_bytes):
        mutated = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(EnvelopeError):
            envelope("b", OLD).open_untrusted(mutated)


def both(name: str) -> Envelope:
    return Envelope(Credentials(name, 7, "test", Keyring((OLD,)), accepts_plaintext=True))


def test_on_the_way_to_sealed_both_ways_are_understood_and_each_peer_is_spoken_to_as_it_speaks() -> None:
    plain, sealed, between = envelope("plain"), envelope("sealed", OLD), both("between")
    for peer in (plain, sealed):
        between.open_untrusted(peer.seal(DatagramKind.GOSSIP, b"hello", target="between"))
    assert plain.open_untrusted(between.seal(DatagramKind.GOSSIP, b"x", target="plain")).body == b"x"
    assert sealed.open_untrusted(between.seal(DatagramKind.GOSSIP, b"x", target="sealed")).body == b"x"


def test_a_peer_that_returns_in_clear_is_spoken_to_in_clear_again() -> None:
    between = both("between")
    between.open_untrusted(envelope("a", OLD).seal(DatagramKind.GOSSIP, b"x", target="between"))
    plain = envelope("a")
    between.open_untrusted(plain.seal(DatagramKind.GOSSIP, b"x", target="between"))
    assert plain.open_untrusted(between.seal(DatagramKind.GOSSIP, b"x", target="a")).body == b"x"


def test_on_the_way_to_sealed_a_replay_is_still_one() -> None:
    data = envelope("a", OLD).seal(DatagramKind.GOSSIP, b"x", target="between")
    between = both("between")
    between.open_untrusted(data)
    assert reason(between, data) == "replay"
