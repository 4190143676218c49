"""The laboratory itself, without our process: what later suites lean on."""

import pytest

from lab import images
from lab.cluster import Lab, missing_for_lab
from lab.network import API_SERVER_ADDRESS, Network, namespaces_named
from lab.node import PEER_PORT, STATUS_PORT
from lab.process import CommandError
from lab.registry import REGISTRY_PORT

pytestmark = pytest.mark.skipif(missing_for_lab() is not None, reason=f"not run: {missing_for_lab()}")

QUICKLY = 0.3
UNREACHABLE = r"timed out|No route to host"


def fail_inside(lab: Lab) -> None:
    prefix = lab.network.prefix
    assert namespaces_named(prefix) == [f"{prefix}-a", f"{prefix}-out", f"{prefix}-reg", f"{prefix}-sw"]
    raise ZeroDivisionError


def test_a_lab_leaves_nothing_behind_when_its_test_fails() -> None:
    lab = Lab(nodes=1, containerd="debian")
    with pytest.raises(ZeroDivisionError), lab:
        fail_inside(lab)
    assert namespaces_named(lab.network.prefix) == []
    assert not lab.directory.exists()


def test_only_open_ports_answer_and_faults_last_until_healed() -> None:
    with Network() as network:
        a = network.add("a", 11, open_ports=[PEER_PORT])
        b = network.add("b", 12, open_ports=[PEER_PORT])
        listeners = [b.listen(PEER_PORT), b.listen(STATUS_PORT)]
        a.connect(b.address, PEER_PORT).close()
        with pytest.raises(TimeoutError):
            a.connect(b.address, STATUS_PORT, timeout=QUICKLY)

        a.reset(address=b.address)
        with pytest.raises(ConnectionRefusedError):
            a.connect(b.address, PEER_PORT)
        a.heal()
        a.black_hole(port=PEER_PORT)
        with pytest.raises(TimeoutError):
            a.connect(b.address, PEER_PORT, timeout=QUICKLY)
        a.heal()
        a.set_link(up=False)
        with pytest.raises(OSError, match=UNREACHABLE):
            a.connect(b.address, PEER_PORT, timeout=QUICKLY)
        a.set_link(up=True)
        a.connect(b.address, PEER_PORT).close()
        for listener in listeners:
            listener.close()


def test_the_api_server_is_a_black_hole_that_counts() -> None:
    with Network() as network:
        a = network.add("a", 11, open_ports=[])
        assert network.packets_to_api_server() == 0
        with pytest.raises(TimeoutError):
            a.connect(API_SERVER_ADDRESS, 443, timeout=QUICKLY)
        assert network.packets_to_api_server() > 0


def test_two_labs_with_the_same_addresses_do_not_meet() -> None:
    with Network() as one, Network() as other:
        here = one.add("a", 11, open_ports=[REGISTRY_PORT])
        there = other.add("a", 12, open_ports=[])
        with here.listen(REGISTRY_PORT), pytest.raises(OSError, match=UNREACHABLE):
            there.connect(here.address, REGISTRY_PORT, timeout=QUICKLY)


def test_a_containerd_pulls_what_was_pushed_and_the_registry_counts_it(lab: Lab) -> None:
    (a, *_) = lab.nodes
    image = images.image(101, [0, 2 * images.MIB])
    reference = lab.registry.push(image, "team/lab", "v1")
    a.containerd.pull(reference)
    assert a.containerd.wrong_digests(image.digests) == []
    assert lab.registry.blob_bytes() == sum(blob.size for blob in image.blobs)
    assert {one.client for one in lab.registry.requests()} == {a.address}
    a.containerd.remove(reference)
    assert image.digests.isdisjoint(a.containerd.digests())


def test_a_stopped_registry_refuses_and_comes_back_with_what_it_had(lab: Lab) -> None:
    (a, *_) = lab.nodes
    reference = lab.registry.push(images.image(102), "team/back", "v1")
    lab.registry.stop()
    with pytest.raises(CommandError):
        a.containerd.pull(reference)
    lab.registry.start()
    a.containerd.pull(reference)
    assert reference in a.containerd.images()


def test_a_killed_containerd_keeps_what_it_had(lab: Lab) -> None:
    (a, *_) = lab.nodes
    image = images.image(103)
    a.containerd.pull(lab.registry.push(image, "team/kept", "v1"))
    a.containerd.kill()
    assert not a.containerd.is_answering()
    a.containerd.start()
    assert a.containerd.wrong_digests(image.digests) == []
