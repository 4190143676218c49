"""Looks at the living nodes all the time, so that the picture shows what they say."""

from __future__ import annotations

from collections import Counter
from functools import partial

import trio

from spegel_gossip.admin.shapes import MembersShape
from spegel_gossip.demo.asking import Asker, NoAnswerError
from spegel_gossip.demo.cluster import Cluster, DemoNode
from spegel_gossip.demo.picture import Picture

LOOK_INTERVAL = 0.5
"""Seconds between two looks: often enough to see a suspicion, and no load."""


async def run_watch(cluster: Cluster, asker: Asker, picture: Picture) -> None:
    """Keep the picture's members, ring and holders as the nodes see them, until cancelled."""
    while True:
        living = cluster.living()
        picture.living = len(living)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_look_at_members, living, asker, picture)
            # One node's answer is everybody's, or soon will be.
            for node in living[:1]:
                nursery.start_soon(_look_at_ring, node, asker, picture)
                nursery.start_soon(_look_at_holders, node, asker, picture)
        await trio.sleep(LOOK_INTERVAL)


async def _look_at_members(living: list[DemoNode], asker: Asker, picture: Picture) -> None:
    views: list[MembersShape] = []

    async def ask(node: DemoNode) -> None:
        try:
            views.append(await asker.members(node.place))
        except NoAnswerError:
            return

    async with trio.open_nursery() as nursery:
        for node in living:
            nursery.start_soon(ask, node)
    for shown in picture.nodes.values():
        states = Counter(
            member["state"] for view in views for member in view["members"] if member["name"] == shown.name
        )
        if states:
            shown.state, shown.seen_by = states.most_common(1)[0]
        elif shown.is_killed:
            shown.state, shown.seen_by = "gone", len(views)


async def _look_at_ring(node: DemoNode, asker: Asker, picture: Picture) -> None:
    try:
        ring = await asker.ring(node.place)
    except NoAnswerError:
        return
    shares = {member["name"]: member["share"] for member in ring["members"]}
    for shown in picture.nodes.values():
        shown.share = shares.get(shown.name, 0.0)


async def _look_at_holders(node: DemoNode, asker: Asker, picture: Picture) -> None:
    if picture.image is None:
        return
    held: dict[str, list[str]] = {name: [] for name in picture.nodes}

    async def ask(digest: str) -> None:
        try:
            answer = await asker.holders(node.place, digest)
        except NoAnswerError:
            return
        for holder in answer["holders"]:
            if holder["kind"] == "complete" and holder["name"] in held:
                held[holder["name"]].append(digest)

    async with trio.open_nursery() as nursery:
        for layer in picture.image.layers:
            nursery.start_soon(partial(ask, str(layer.digest)))
    for name, digests in held.items():
        picture.nodes[name].advertised = frozenset(digests)
