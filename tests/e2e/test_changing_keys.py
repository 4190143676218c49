"""Real nodes go from plaintext to sealed and back, and change their key, while images are pulled."""

import json
import shutil
from itertools import count, pairwise

import pytest

from lab import images
from lab.cluster import Lab
from lab.node import Node

CONTAINERD_VERSIONS = ("debian",)

PLAIN = ("--plaintext",)
KEY = "cluster.key"
SEALED = (KEY,)
BOTH = (*PLAIN, *SEALED)


def start(node: Node, flags: tuple[str, ...]) -> None:
    """Start it with these flags; the key's stands for a file that this node alone has and may write."""
    key = node.directory / KEY
    node.start(*(f"--cluster-key-file={key}" if flag == KEY else flag for flag in flags), with_key=False)


def hand_out_keys(lab: Lab) -> None:
    """Give each node the same key in a file of its own."""
    first, *others = (node.directory / KEY for node in lab.nodes)
    first.unlink(missing_ok=True)
    lab.write_key(first)
    for file in others:
        shutil.copy2(first, file)


def start_all(lab: Lab, flags: tuple[str, ...]) -> None:
    for node in lab.nodes:
        node.seeds = [other.address for other in lab.nodes if other is not node]
        start(node, flags)
    see_each_other(lab)


def see_each_other(lab: Lab) -> None:
    for node in lab.nodes:
        node.wait_ready()
        node.wait_members(*(one.name for one in lab.nodes))


class Pulls:
    """Images that go from the registry to one node and from there, with the registry gone, to the next."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._numbers = count()

    def pull(self) -> None:
        """One more image takes that way; whose turn it is changes."""
        lab, number = self._lab, next(self._numbers)
        image = images.image(7_000 + number, [200_000])
        giver, taker = (lab.nodes[(number + step) % len(lab.nodes)] for step in range(2))
        lab.registry.start()
        reference = lab.registry.push(image, f"keys/app{number}", "v1")
        giver.containerd.pull(reference)
        taker.wait_holders(reference, giver.name)
        lab.registry.stop()
        taker.containerd.pull(reference)
        assert taker.containerd.wrong_digests(image.digests) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [(PLAIN, BOTH, SEALED), (SEALED, BOTH, PLAIN)], ids=["to-sealed", "to-plaintext"]
)
def test_a_roll_out_between_plaintext_and_sealed_interrupts_nothing(
    lab: Lab, path: tuple[tuple[str, ...], ...]
) -> None:
    hand_out_keys(lab)
    pulls = Pulls(lab)
    start_all(lab, path[0])
    pulls.pull()
    for _, stage in pairwise(path):
        for node in lab.nodes:
            assert node.stop() == 0
            start(node, stage)
            # Who reads from whom goes round, so nodes of either stage read from the other.
            see_each_other(lab)
            pulls.pull()


@pytest.mark.slow
def test_a_key_is_replaced_by_command_while_images_are_pulled(lab: Lab) -> None:
    hand_out_keys(lab)
    pulls = Pulls(lab)
    # What other tests of this file did to the nodes is in the logs too.
    begins = {node: node.log.stat().st_size if node.log.exists() else 0 for node in lab.nodes}
    start_all(lab, SEALED)
    [old] = keys(lab.nodes[0])
    new_key = lab.nodes[0].directory / "new.key"
    new_key.unlink(missing_ok=True)
    lab.write_key(new_key)

    for node in lab.nodes:
        node.cli("keyring", "add", str(new_key))
        pulls.pull()
    [new] = set(keys(lab.nodes[0])) - {old}
    for node in lab.nodes:
        node.cli("keyring", "use", new)
        pulls.pull()
    for node in lab.nodes:
        node.cli("keyring", "remove", old)
        pulls.pull()

    assert [keys(node) for node in lab.nodes] == [[new]] * len(lab.nodes)
    see_each_other(lab)
    logged = [node.log.read_bytes()[begins[node] :].decode() for node in lab.nodes]
    assert [line for log in logged for line in log.splitlines() if "member died" in line] == []


def keys(node: Node) -> list[str]:
    return [one["fingerprint"] for one in json.loads(node.cli("keyring", "list", "--json"))["keys"]]
