from spegel_gossip.swim.outbox import MAX_DATAGRAMS, Datagram, Outbox
from spegel_gossip.testing.swim_values import address_of


def test_datagrams_that_the_driver_does_not_take_are_bounded() -> None:
    outbox = Outbox()
    for _ in range(MAX_DATAGRAMS + 10):
        outbox.send(Datagram(b"x", address_of("n1"), "n1"))
    assert len(outbox.take_datagrams()) == MAX_DATAGRAMS
    assert outbox.take_datagrams() == []
