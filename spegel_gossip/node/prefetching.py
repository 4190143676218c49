"""The prefetch commands of the admin socket: begin, look, stop."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio

from spegel_gossip.admin.server import ArgumentError
from spegel_gossip.admin.shapes import PrefetchNodeShape, PrefetchShape
from spegel_gossip.node.assembly import Parts
from spegel_gossip.node.reading import read_manifest
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import Reference
from spegel_gossip.prefetch.campaign import MAX_AT_ONCE, Campaign, Campaigns
from spegel_gossip.prefetch.choice import Candidate, choose
from spegel_gossip.prefetch.jobs import Jobs
from spegel_gossip.prefetch.messages import PULL_PATH, PullStatus
from spegel_gossip.swarm.arrivals import PEERS, Arrivals, Origin
from spegel_gossip.swim.member import MemberState

Handler = Callable[[Mapping[str, str]], Awaitable[object]]

_rng = random.SystemRandom()


class Origins:
    """Where bytes came from, as the registry and everybody else."""

    def __init__(self, arrivals: Arrivals) -> None:
        """Take what counts them."""
        self._arrivals = arrivals

    def so_far(self, digests: Iterable[Digest]) -> tuple[int, int]:
        """Return bytes from the registry and from nodes."""
        sums = self._arrivals.so_far(digests)
        return sums[Origin.UPSTREAM], sum(sums[origin] for origin in PEERS)


class Prefetching:
    """This node's part in prefetches: as one that is asked, and as one that asks."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts, and answer members from now on."""
        self._parts = parts

        async def read(digest: Digest) -> bytes | None:
            return await read_manifest(parts.store, digest)

        def may_pull(image: Reference) -> bool:
            return parts.config.content_filter.allows(image.registry, image.repository, image.tag)

        self.jobs = Jobs(
            parts.puller,
            parts.store,
            read=read,
            origins=Origins(parts.reports.arrivals),
            may_pull=may_pull,
        )
        self._campaigns = Campaigns(
            self.jobs, parts.peer_client, own_name=parts.config.node_name, peer=parts.lookup.peer
        )
        parts.peer_server.route(PULL_PATH, self.jobs.serve)

    def snapshots(self) -> dict[str, Handler]:
        """Return what can be asked, by path."""
        return {"/prefetch": self.show}

    def commands(self) -> dict[str, Handler]:
        """Return what can be done, by path."""
        return {"/prefetch": self.begin, "/prefetch/stop": self.stop}

    async def run(self) -> None:
        """Pull, and have others pull, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.jobs.run)
            nursery.start_soon(self._campaigns.run)

    async def begin(self, arguments: Mapping[str, str]) -> PrefetchShape:
        """Have the nodes in `nodes` pull `image`, `at_once` of them at a time.

        Raises:
            InvalidReferenceError: that is no image.
            SelectionError: no node is meant.
            TooManyCampaignsError: too many are under way.
        """
        image = Reference.parse(arguments.get("image", ""))
        at_once = arguments.get("at_once", str(MAX_AT_ONCE))
        if not (at_once.isascii() and at_once.isdigit()) or int(at_once) < 1:
            raise ArgumentError(f"at_once {at_once[:40]!r}: give a number from 1")
        members = [
            Candidate(member.name, member.record.zone)
            for member in self._parts.gossip.members()
            if member.state is MemberState.ALIVE
        ]
        nodes = choose(members, arguments.get("nodes", "all"), own_zone=self._parts.config.zone, rng=_rng)
        id_ = self._campaigns.begin(image, nodes, at_once=int(at_once))
        return _shape(self._need(id_.hex()))

    async def show(self, query: Mapping[str, str]) -> PrefetchShape:
        """Return how the one in `id` stands; whoever stops looking ends it.

        Raises:
            ArgumentError: there is no such.
        """
        return _shape(self._need(query.get("id", "")))

    async def stop(self, arguments: Mapping[str, str]) -> PrefetchShape:
        """End the one in `id`.

        Raises:
            ArgumentError: there is no such.
        """
        campaign = self._need(arguments.get("id", ""))
        self._campaigns.stop(campaign.ask.id)
        await trio.lowlevel.checkpoint()
        return _shape(campaign)

    def _need(self, text: str) -> Campaign:
        try:
            campaign = self._campaigns.get(bytes.fromhex(text))
        except ValueError as exc:
            raise ArgumentError("an id is hexadecimal") from exc
        if campaign is None:
            raise ArgumentError(f"no prefetch {text[:64]!r} is known here: it ended a while ago")
        return campaign


def _shape(campaign: Campaign) -> PrefetchShape:
    return {
        "id": campaign.ask.id.hex(),
        "image": str(campaign.ask.image),
        "ended": campaign.has_ended,
        "nodes": [_node(name, campaign.zones[name], status) for name, status in campaign.nodes.items()],
    }


def _node(name: str, zone: str, status: PullStatus) -> PrefetchNodeShape:
    return {
        "name": name,
        "zone": zone,
        "state": status.state.name.lower(),
        "here": status.here,
        "total": status.total,
        "upstream": status.upstream,
        "peers": status.peers,
        "seconds": round(status.seconds, 3),
        "problem": status.problem.name.lower() if status.problem else "",
        "detail": status.detail,
    }
