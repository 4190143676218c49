"""Garbage on either port, a wrong key, a wrong cluster: dropped, counted, nothing else."""

import random
import socket
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from lab import images
from lab.cluster import Lab
from lab.node import MIRROR_PORT, PEER_PORT, STATUS_PORT, Node
from lab.process import wait_until

CONTAINERD_VERSIONS = ("debian",)

DATAGRAMS = 2_000
CONNECTIONS = 60
ANSWER_TIMEOUT = 3.0
COUNTED_TIMEOUT = 15.0
GROWTH = 24 * images.MIB

DROPPED_DATAGRAMS = "spegel_gossip_wire_datagrams_dropped_total"
REFUSED_REQUESTS = "spegel_gossip_wire_requests_refused_total"


def counted(node: Node, metric: str) -> float:
    return node.metrics().get(metric, 0.0)


def wait_counted(node: Node, metric: str, more_than: float) -> None:
    wait_until(
        lambda: counted(node, metric) > more_than,
        what=f"{metric} of node {node.name} above {more_than:.0f}",
        timeout=COUNTED_TIMEOUT,
        logs=[node.log],
        still_possible=node.process.is_running,
    )


@pytest.fixture
def pair(lab: Lab) -> Iterator[tuple[Node, Node]]:
    a, b = lab.nodes[:2]
    lab.start_nodes(nodes=[a, b])
    yield a, b
    # Nothing that happened may have moved either of them.
    for node in (a, b):
        node.wait_ready()
        node.wait_members("a", "b")
        assert node.process.is_running()
    image = images.image(71, [0, 50_000])
    reference = lab.registry.push(image, "team/after", "v1")
    a.containerd.pull(reference)
    b.wait_holders(reference, "a")
    b.containerd.pull(reference)
    assert b.containerd.wrong_digests(image.digests) == []
    for node in (a, b):
        node.containerd.remove(reference)


def test_garbage_datagrams_are_dropped_and_counted(lab: Lab, pair: tuple[Node, Node]) -> None:
    (a, _) = pair
    rng = random.Random(72)
    resident = a.process.resident_bytes()
    logged = a.log.stat().st_size
    with closing(lab.outsider.datagram_socket()) as link:
        for _ in range(DATAGRAMS):
            with suppress(BlockingIOError):
                link.sendto(
                    rng.randbytes(rng.choice((0, 1, 17, 200, 1200, 1500, 9000))), (a.address, PEER_PORT)
                )
    wait_counted(a, DROPPED_DATAGRAMS, 100)
    assert a.process.resident_bytes() - resident < GROWTH
    assert a.log.stat().st_size - logged < 100_000


def test_replayed_and_bent_datagrams_of_a_member_are_dropped(lab: Lab, pair: tuple[Node, Node]) -> None:
    a, b = pair
    recorded = list(datagrams_between(a, b, 12))
    before = counted(b, DROPPED_DATAGRAMS)
    rng = random.Random(73)
    with closing(a.namespace.datagram_socket()) as link:
        for one in recorded:
            bent = bytearray(one)
            bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
            for copy in (one, bytes(bent), one[:-1], one + b"\0"):
                link.sendto(copy, (b.address, PEER_PORT))
    wait_counted(b, DROPPED_DATAGRAMS, before + 2 * len(recorded))


def datagrams_between(sender: Node, receiver: Node, count: int) -> Iterator[bytes]:
    with sender.namespace.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
    ports = PEER_PORT.to_bytes(2, "big") * 2
    with closing(tap):
        tap.settimeout(ANSWER_TIMEOUT * 3)
        while count:
            packet = tap.recv(65535)
            is_udp = len(packet) > 28 and packet[9] == socket.IPPROTO_UDP
            if is_udp and packet[16:24] == socket.inet_aton(receiver.address) + ports:
                yield packet[28:]
                count -= 1


GARBAGE_REQUESTS = [
    b"GET /blobs/sha256:" + b"a" * 64 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /gossip/push-pull HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789",
    b"POST /gossip/push-pull HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"\0" * 4096,
    b"",
]


@pytest.mark.parametrize("port", [PEER_PORT, MIRROR_PORT])
def test_garbage_connections_are_answered_with_a_refusal_or_closed(
    lab: Lab, pair: tuple[Node, Node], port: int
) -> None:
    (a, _) = pair
    resident = a.process.resident_bytes()
    place, host = (lab.outsider, a.address) if port == PEER_PORT else (a.namespace, "127.0.0.1")
    links = []
    for number in range(CONNECTIONS):
        link = place.connect(host, port, timeout=ANSWER_TIMEOUT)
        with suppress(BrokenPipeError, ConnectionResetError):
            link.sendall(GARBAGE_REQUESTS[number % len(GARBAGE_REQUESTS)])
        links.append(link)
    # Half of them stay, silent and open, while the pair proves that it works.
    answers = [answer_of(link) for link in links[: CONNECTIONS // 2]]
    if port == PEER_PORT:
        assert all(b" 2" not in answer[:12] for answer in answers)
        assert any(answer.startswith(b"HTTP/1.1 401") for answer in answers)
        wait_counted(a, REFUSED_REQUESTS, 0)
    assert a.process.resident_bytes() - resident < GROWTH
    for link in links:
        link.close()


def answer_of(link: socket.socket) -> bytes:
    link.settimeout(0.5)
    with suppress(OSError):
        return link.recv(4096)
    return b""


def test_a_node_with_another_key_stays_alone(lab: Lab, pair: tuple[Node, Node]) -> None:
    (a, _), c = pair, lab.nodes[2]
    other_key = lab.directory / "other-key"
    lab.write_key(other_key)
    c.start(f"--cluster-key-file={other_key}", seeds=[a.address])
    c.wait_ready()
    wait_counted(a, REFUSED_REQUESTS, 1)
    assert c.live_members() == ["c"]


def test_a_node_of_another_cluster_stays_alone(lab: Lab, pair: tuple[Node, Node]) -> None:
    (a, _), c = pair, lab.nodes[2]
    c.start("--cluster-name=elsewhere", seeds=[a.address])
    c.wait_ready()
    wait_counted(a, REFUSED_REQUESTS, 1)
    assert c.live_members() == ["c"]


def test_a_node_without_a_key_stays_alone(lab: Lab, pair: tuple[Node, Node]) -> None:
    (a, _), c = pair, lab.nodes[2]
    c.start("--plaintext", seeds=[a.address], with_key=False)
    c.wait_ready()
    wait_counted(a, REFUSED_REQUESTS, 1)
    assert c.live_members() == ["c"]


def test_the_mirror_and_the_status_page_listen_on_loopback_only(pair: tuple[Node, Node]) -> None:
    (a, _) = pair
    assert listening(a, "tcp") == {f"0100007F:{port:04X}" for port in (MIRROR_PORT, STATUS_PORT)}
    assert listening(a, "tcp6") == {f"{0:032X}:{PEER_PORT:04X}"}


def listening(node: Node, protocol: str) -> set[str]:
    # proc(5): local address, remote address, state; 0A is TCP_LISTEN.
    rows = [line.split() for line in node.namespace.run("cat", f"/proc/net/{protocol}").splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A"}
