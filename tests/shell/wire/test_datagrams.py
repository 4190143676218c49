from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
import trio
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shell.wire.endpoints import Endpoint, Endpoints, make_keyring
from spegel_gossip.errors import DecodeError
from spegel_gossip.swim.address import Address
from spegel_gossip.wire.datagrams import BURST, Sender
from spegel_gossip.wire.envelope import MAX_DATAGRAM
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.kinds import DatagramKind


class Inbox:
    """What an endpoint received, to be waited for."""

    def __init__(self, endpoint: Endpoint, kind: DatagramKind = DatagramKind.GOSSIP) -> None:
        self._send, self._receive = trio.open_memory_channel[tuple[bytes, Sender]](1000)
        endpoint.datagrams.handle(kind, lambda body, sender: self._send.send_nowait((body, sender)))

    async def get(self) -> tuple[bytes, Sender]:
        with trio.fail_after(5):
            return await self._receive.receive()


@contextlib.contextmanager
def counted(metric: str, **labels: str) -> Iterator[list[float]]:
    """Collect by how much a counter grew inside."""
    before = REGISTRY.get_sample_value(metric, labels) or 0.0
    grown: list[float] = []
    yield grown
    grown.append((REGISTRY.get_sample_value(metric, labels) or 0.0) - before)


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("spegel_gossip_wire_datagrams_dropped_total", {"reason": reason}) or 0.0


async def until_dropped(reason: str, before: float) -> None:
    with trio.fail_after(5):
        while dropped(reason) <= before:
            await trio.lowlevel.checkpoint()


def send_raw(to: Address, data: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, (to.host, to.port))


async def test_a_datagram_arrives_with_its_sender(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring, boot=7), await endpoints.make("b", keyring)
    inbox = Inbox(b)

    a.datagrams.send(DatagramKind.GOSSIP, b"hello", to=b.address, target="b")

    assert await inbox.get() == (b"hello", Sender("a", 7, a.address))


async def test_kinds_go_to_their_own_handlers(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    gossip, directory = Inbox(b, DatagramKind.GOSSIP), Inbox(b, DatagramKind.DIRECTORY)

    a.datagrams.send(DatagramKind.DIRECTORY, b"d", to=b.address, target="b")
    a.datagrams.send(DatagramKind.GOSSIP, b"g", to=b.address, target="b")

    assert (await gossip.get())[0] == b"g"
    assert (await directory.get())[0] == b"d"
    with pytest.raises(RuntimeError):
        b.datagrams.handle(DatagramKind.GOSSIP, lambda body, sender: None)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_dual_stack_socket_calls_v4_by_its_own_name(endpoints: Endpoints, host: str) -> None:
    keyring = make_keyring()
    dual = await endpoints.make("dual", keyring, host="::")
    other = await endpoints.make("other", keyring, host=host)
    to_dual, to_other = Inbox(dual), Inbox(other)
    dual_address, other_address = Address(host, dual.address.port), Address(host, other.address.port)

    other.datagrams.send(DatagramKind.GOSSIP, b"ping", to=dual_address, target="dual")
    _, sender = await to_dual.get()
    assert sender.address == other_address
    dual.datagrams.send(DatagramKind.GOSSIP, b"ack", to=sender.address, target="other")

    assert (await to_other.get())[1].address == dual_address


async def test_more_than_a_burst_arrives(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    inbox = Inbox(b)

    for number in range(3 * BURST):
        a.datagrams.send(DatagramKind.GOSSIP, str(number).encode(), to=b.address, target="b")

    assert [(await inbox.get())[0] for _ in range(3 * BURST)] == [str(n).encode() for n in range(3 * BURST)]


@pytest.mark.parametrize(
    ("sender", "reason"),
    [
        ({"keyring": make_keyring()}, "key"),
        ({"keyring": None}, "unsealed"),
        ({"cluster": "other"}, "key"),
    ],
    ids=["another key", "no key", "another cluster"],
)
async def test_strangers_are_dropped_and_counted(
    endpoints: Endpoints, sender: dict[str, Keyring | str | None], reason: str
) -> None:
    keyring = make_keyring()
    settings = {"keyring": keyring, "cluster": "test"} | sender
    stranger = await endpoints.make("s", settings["keyring"], cluster=settings["cluster"])  # type: ignore[arg-type] # the table's values differ in type
    friend, b = await endpoints.make("f", keyring), await endpoints.make("b", keyring)
    inbox, before = Inbox(b), dropped(reason)

    stranger.datagrams.send(DatagramKind.GOSSIP, b"no", to=b.address, target="b")
    await until_dropped(reason, before)
    friend.datagrams.send(DatagramKind.GOSSIP, b"yes", to=b.address, target="b")

    assert (await inbox.get())[0] == b"yes"


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"GET / HTTP/1.1\r\n\r\n", bytes(MAX_DATAGRAM), bytes(60_000)]
)
async def test_garbage_is_dropped_and_the_socket_goes_on(
    endpoints: Endpoints, keyring: Keyring | None, data: bytes
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    inbox = Inbox(b)

    send_raw(b.address, data)
    a.datagrams.send(DatagramKind.GOSSIP, b"still here", to=b.address, target="b")

    assert (await inbox.get())[0] == b"still here"


async def test_a_bug_in_a_handler_costs_its_datagram_and_not_the_node(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    inbox, before = Inbox(b), dropped("internal")

    def fail(body: bytes, sender: Sender) -> None:
        raise RecursionError(body)

    b.datagrams.handle(DatagramKind.DIRECTORY, fail)
    with capture_logs() as lines:
        for _ in range(5):
            a.datagrams.send(DatagramKind.DIRECTORY, b"d", to=b.address, target="b")
        a.datagrams.send(DatagramKind.GOSSIP, b"still here", to=b.address, target="b")
        assert (await inbox.get())[0] == b"still here"

    assert dropped("internal") == before + 5
    assert [line["log_level"] for line in lines] == ["error"]


async def test_a_recorded_datagram_counts_once(endpoints: Endpoints) -> None:
    keyring = make_keyring()
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    inbox, before = Inbox(b), dropped("replay")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tap:
        tap.bind(("127.0.0.1", 0))
        tap.settimeout(5)
        a.datagrams.send(DatagramKind.GOSSIP, b"x", to=Address("127.0.0.1", tap.getsockname()[1]), target="b")
        recorded = tap.recv(2000)

    send_raw(b.address, recorded)
    send_raw(b.address, recorded)
    await until_dropped("replay", before)

    assert (await inbox.get())[0] == b"x"


async def test_a_handler_that_cannot_decode_costs_that_datagram_only(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    before = dropped("body")

    def refuse(body: bytes, sender: Sender) -> None:
        raise DecodeError("no")

    b.datagrams.handle(DatagramKind.DIRECTORY, refuse)
    inbox = Inbox(b)
    a.datagrams.send(DatagramKind.DIRECTORY, b"x", to=b.address, target="b")
    await until_dropped("body", before)
    a.datagrams.send(DatagramKind.GOSSIP, b"y", to=b.address, target="b")

    assert (await inbox.get())[0] == b"y"


async def test_a_kind_nobody_handles_is_dropped(endpoints: Endpoints, keyring: Keyring | None) -> None:
    a, b = await endpoints.make("a", keyring), await endpoints.make("b", keyring)
    before = dropped("kind")

    a.datagrams.send(DatagramKind.DIRECTORY, b"x", to=b.address, target="b")

    await until_dropped("kind", before)


async def test_what_cannot_be_sent_is_counted_and_never_raised(
    endpoints: Endpoints, keyring: Keyring | None
) -> None:
    a = await endpoints.make("a", keyring)

    # A v4 socket, and a v6 address.
    with counted("spegel_gossip_wire_datagrams_unsent_total", reason="unreachable") as no_route:
        a.datagrams.send(DatagramKind.GOSSIP, b"x", to=Address("2001:db8::1", 9), target="b")
    with counted("spegel_gossip_wire_datagrams_unsent_total", reason="forbidden") as forbidden:
        a.datagrams.send(DatagramKind.GOSSIP, b"x", to=Address("255.255.255.255", 9), target="b")

    assert no_route + forbidden == [1, 1]
