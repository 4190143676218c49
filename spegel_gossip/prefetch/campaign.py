"""Has many nodes pull one image, a bounded number at a time, and knows how each stands."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from spegel_gossip.errors import DecodeError, SpegelGossipError
from spegel_gossip.oci.reference import Reference
from spegel_gossip.prefetch.choice import Candidate
from spegel_gossip.prefetch.jobs import Jobs
from spegel_gossip.prefetch.messages import (
    ID_BYTES,
    PULL_PATH,
    PullAsk,
    PullState,
    PullStatus,
    decode_status_untrusted,
    encode_ask,
)
from spegel_gossip.pulling import PullProblem
from spegel_gossip.routing import Peer
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.errors import PeerRefusedError, WireError

MAX_CAMPAIGNS: Final = 8
"""Known at once, the ended among them: the oldest ended one gives way."""

MAX_AT_ONCE: Final = 256
"""Nodes that are asked at the same time; the others wait for one of them to end."""

POLL_INTERVAL: Final = 0.5
"""Seconds between two questions to one node while few are asked; with many, each is asked more rarely."""

POLLS_PER_SECOND: Final = 64
"""Questions to all nodes together."""

SILENCE_TIMEOUT: Final = 20.0
"""Seconds without an answer after which a node is given up."""

WATCHER_TIMEOUT: Final = 60.0
"""Seconds without a look at it after which a campaign ends: nobody waits for it."""


class TooManyCampaignsError(SpegelGossipError):
    """As many as may run are under way."""


@dataclass(slots=True)
class Campaign:
    """One image, and the nodes that are to have it."""

    ask: PullAsk
    at_once: int
    nodes: dict[str, PullStatus]
    zones: dict[str, str]
    watched_at: float
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def has_ended(self) -> bool:
        """Whether every node has ended, one way or the other."""
        return all(status.has_ended for status in self.nodes.values())


class Campaigns:
    """The campaigns that this node's operator began here."""

    def __init__(
        self, jobs: Jobs, client: PeerClient, *, own_name: str, peer: Callable[[str], Peer | None]
    ) -> None:
        """Take this node's own jobs, and how others are asked.

        Args:
            jobs: of this node
            client: the process's one
            own_name: of this node
            peer: a live member by its name
        """
        self._jobs = jobs
        self._client = client
        self._own_name = own_name
        self._peer = peer
        self._campaigns: OrderedDict[bytes, Campaign] = OrderedDict()
        self._new_send, self._new = trio.open_memory_channel[Campaign](MAX_CAMPAIGNS)

    def begin(self, image: Reference, nodes: Sequence[Candidate], *, at_once: int) -> bytes:
        """Begin one; return its id.

        Raises:
            TooManyCampaignsError: it has to wait.
        """
        ended = [id_ for id_, campaign in self._campaigns.items() if campaign.has_ended]
        if len(self._campaigns) >= MAX_CAMPAIGNS and not ended:
            raise TooManyCampaignsError(f"{MAX_CAMPAIGNS} prefetches are under way from here: wait for one")
        if len(self._campaigns) >= MAX_CAMPAIGNS:
            del self._campaigns[ended[0]]
        campaign = Campaign(
            PullAsk(os.urandom(ID_BYTES), image),
            min(at_once, MAX_AT_ONCE),
            {node.name: PullStatus(state=PullState.WAITING) for node in nodes},
            {node.name: node.zone for node in nodes},
            trio.current_time(),
        )
        self._new_send.send_nowait(campaign)
        self._campaigns[campaign.ask.id] = campaign
        return campaign.ask.id

    def get(self, id_: bytes) -> Campaign | None:
        """Return one that is known; looking at it keeps it going."""
        campaign = self._campaigns.get(id_)
        if campaign is not None:
            campaign.watched_at = trio.current_time()
        return campaign

    def stop(self, id_: bytes) -> None:
        """End one: no further node is asked, and those that pull give it up once nobody asks after it."""
        campaign = self._campaigns.get(id_)
        if campaign is not None:
            campaign.scope.cancel()

    async def run(self) -> None:
        """Run what is begun, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for campaign in self._new:
                nursery.start_soon(self._run, campaign)

    async def _run(self, campaign: Campaign) -> None:
        limiter = trio.CapacityLimiter(campaign.at_once)
        with campaign.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, campaign)
                async with trio.open_nursery() as asking:
                    for name in campaign.nodes:
                        asking.start_soon(self._follow, campaign, name, limiter)
                nursery.cancel_scope.cancel()
        for name, status in campaign.nodes.items():
            if not status.has_ended:
                campaign.nodes[name] = _failed(PullProblem.STOPPED, "the prefetch was stopped")

    async def _watch(self, campaign: Campaign) -> None:
        while True:
            await trio.sleep_until(campaign.watched_at + WATCHER_TIMEOUT)
            if trio.current_time() >= campaign.watched_at + WATCHER_TIMEOUT:
                campaign.scope.cancel()
                return

    async def _follow(self, campaign: Campaign, name: str, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            heard_at = trio.current_time()
            while not campaign.nodes[name].has_ended:
                status = await self._ask(campaign.ask, name)
                now = trio.current_time()
                if status.problem is not PullProblem.UNREACHABLE:
                    heard_at = now
                if status.problem is not PullProblem.UNREACHABLE or now - heard_at >= SILENCE_TIMEOUT:
                    campaign.nodes[name] = status
                if not status.has_ended or status.problem is PullProblem.UNREACHABLE:
                    await trio.sleep(max(POLL_INTERVAL, len(campaign.nodes) / POLLS_PER_SECOND))

    async def _ask(self, ask: PullAsk, name: str) -> PullStatus:
        if name == self._own_name:
            return self._jobs.ask(ask)
        peer = self._peer(name)
        if peer is None:
            return _failed(PullProblem.UNREACHABLE, "it has left the cluster, or is held dead")
        try:
            answer = await self._client.call(peer, "POST", PULL_PATH, body=encode_ask(ask))
        except PeerRefusedError as exc:
            return _failed(PullProblem.FAILED, f"it does not accept this node: {exc.reason}")
        except WireError as exc:
            return _failed(PullProblem.UNREACHABLE, str(exc))
        if answer.status == 404:
            return _failed(PullProblem.UNSUPPORTED, "its release knows no prefetch: bring it up to date")
        if answer.status != 200:
            return _failed(PullProblem.FAILED, f"it answered {answer.status}: its log says why")
        try:
            return decode_status_untrusted(answer.body)
        except DecodeError as exc:
            return _failed(PullProblem.FAILED, f"its answer makes no sense: {exc}")


def _failed(problem: PullProblem, detail: str) -> PullStatus:
    return PullStatus(state=PullState.FAILED, problem=problem, detail=detail)
