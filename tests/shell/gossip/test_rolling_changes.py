"""Changes of keys and modes, node by node; at every stage the cluster is whole."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest

from shell.gossip.nodes import KEYRING, Node, Nodes
from spegel_gossip.routing import Peer
from spegel_gossip.swim.events import MemberDied, NoteReceived
from spegel_gossip.wire.keyring import Keyring

NAMES = ("a", "b", "c")
OLD, NEW = KEYRING.primary, bytes(range(32, 64))


async def until_whole(cluster: dict[str, Node]) -> None:
    for node in cluster.values():
        await node.until_live(*NAMES)


async def until_all_reach_each_other(cluster: dict[str, Node]) -> None:
    """By stream, both ways, as push-pulls and blobs go; a peer's way is learned by one that is refused."""
    for asker in cluster.values():
        for peer in cluster.values():
            if asker is not peer:
                answer = await asker.client.call(Peer(peer.name, "", (peer.address,)), "GET", "/gossip/ping")
                assert answer.status == 200


async def until_datagrams_reach_all(cluster: dict[str, Node], note: bytes) -> None:
    for sender in cluster.values():
        for name in cluster:
            sender.gossip.set_note(name, note)
    for sender in cluster.values():
        for receiver in cluster.values():
            if sender is not receiver:
                wanted = NoteReceived(sender.name, note)
                await receiver.until(partial(receiver.events.__contains__, wanted))


async def test_a_key_is_replaced_while_the_cluster_runs(nodes: Nodes) -> None:
    first = await nodes.start("a")
    cluster = {"a": first} | {name: await nodes.start(name, [first.address]) for name in NAMES[1:]}
    await until_whole(cluster)
    for number, stage in enumerate([Keyring((OLD, NEW)), Keyring((NEW, OLD)), Keyring((NEW,))]):
        for name, node in cluster.items():
            node.credentials.keyring = stage
            await until_all_reach_each_other(cluster)
            await until_datagrams_reach_all(cluster, f"{number} {name}".encode())
    assert all(node.told(MemberDied) == [] for node in cluster.values())
    await until_whole(cluster)


PLAIN: tuple[Keyring | None, bool] = (None, False)
BOTH: tuple[Keyring | None, bool] = (KEYRING, True)
SEALED: tuple[Keyring | None, bool] = (KEYRING, False)


@pytest.mark.parametrize(
    "path", [(PLAIN, BOTH, SEALED), (SEALED, BOTH, PLAIN)], ids=["to-sealed", "to-plain"]
)
async def test_a_cluster_changes_between_plaintext_and_sealed_node_by_node(
    nodes: Nodes, path: tuple[tuple[Keyring | None, bool], ...]
) -> None:
    cluster: dict[str, Node] = {}

    async def start(name: str, mode: tuple[Keyring | None, bool]) -> None:
        keyring, accepts_plaintext = mode
        seeds = [node.address for node in cluster.values() if node.name != name]
        port = cluster[name].address.port if name in cluster else 0
        cluster[name] = await nodes.start(
            name, seeds, keyring=keyring, accepts_plaintext=accepts_plaintext, port=port
        )

    for name in NAMES:
        await start(name, path[0])
    await until_whole(cluster)
    for _, stage in pairwise(path):
        for name in NAMES:
            await cluster[name].stop()
            await start(name, stage)
            await until_whole(cluster)
            await until_all_reach_each_other(cluster)
    assert all(node.told(MemberDied) == [] for node in cluster.values())
