"""What this node does when it is asked to have an image: one pull at a time, watched while it goes on."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog
import trio

from spegel_gossip.content import BlobAdded, ContentEvent, ContentStore
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES, ManifestKind, parse_manifest_untrusted
from spegel_gossip.oci.reference import Reference
from spegel_gossip.prefetch import metrics
from spegel_gossip.prefetch.messages import (
    PullAsk,
    PullState,
    PullStatus,
    decode_ask_untrusted,
    encode_status,
)
from spegel_gossip.pulling import ImagePuller, PullFailedError, PullProblem
from spegel_gossip.wire.exchange import PeerExchange, PeerRequest

log = structlog.get_logger(__name__)

MAX_JOBS: Final = 32
"""Pulls known at once; the oldest ended one gives way, and where all go on more are refused."""

FORGET_INTERVAL: Final = 120.0
"""Seconds for which it is known how a pull ended."""

ASKER_TIMEOUT: Final = 30.0
"""Seconds without a question after which whoever asked is gone, and the pull is given up."""

LOOK_INTERVAL: Final = 1.0

MAX_PARTS: Final = 4_096
"""Blobs of one image that are counted."""


class Origins(Protocol):
    """Knows where the bytes of blobs came from."""

    def so_far(self, digests: Iterable[Digest]) -> tuple[int, int]:
        """Return bytes from the registry and from nodes."""


@dataclass(slots=True)
class _Job:
    ask: PullAsk
    asked_at: float
    state: PullState = PullState.WAITING
    begun_at: float = 0.0
    ended_at: float = math.inf
    problem: PullProblem = PullProblem.NONE
    detail: str = ""
    parts: dict[Digest, int] = field(default_factory=dict)
    """What was not here when it began, with sizes, as far as the manifests that came tell."""

    here_before: frozenset[Digest] = frozenset()
    """What was; while it is under way."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Jobs:
    """The pulls that other members, or this node's operator, asked for."""

    def __init__(
        self,
        puller: ImagePuller,
        store: ContentStore,
        *,
        read: Callable[[Digest], Awaitable[bytes | None]],
        origins: Origins,
        may_pull: Callable[[Reference], bool],
    ) -> None:
        """Take who pulls; nothing happens before `run`.

        Args:
            puller: this node's store
            store: to see what comes
            read: a manifest that is here
            origins: where what came has come from
            may_pull: whether the mirror serves such images
        """
        self._puller = puller
        self._store = store
        self._read = read
        self._origins = origins
        self._may_pull = may_pull
        self._jobs: OrderedDict[bytes, _Job] = OrderedDict()
        self._is_wanted = trio.Event()
        self._is_watched = trio.Event()
        self._current: _Job | None = None

    async def serve(self, request: PeerRequest, exchange: PeerExchange) -> None:
        """Answer a member.

        Raises:
            DecodeError: for every malformed input.
        """
        if request.method != "POST":
            await exchange.answer(405, headers={"Allow": "POST"})
            return
        status = self.ask(decode_ask_untrusted(request.body))
        await exchange.answer(200, body=encode_status(status), sealed=True)

    def ask(self, ask: PullAsk) -> PullStatus:
        """Begin a pull, or say how far it is."""
        now = trio.current_time()
        job = self._jobs.get(ask.id)
        if job is None:
            self._forget(now)
            if not self._may_pull(ask.image):
                return _refusal(
                    PullProblem.FILTERED,
                    f"a filter of this node keeps {ask.image} out of the mirror, so it would be fetched from "
                    "the registry by every node",
                )
            if len(self._jobs) >= MAX_JOBS and not self._forget_oldest():
                return _refusal(
                    PullProblem.BUSY, f"{MAX_JOBS} prefetches are under way here: try again later"
                )
            job = self._jobs[ask.id] = _Job(ask, now)
            self._is_wanted.set()
            self._is_watched.set()
        job.asked_at = now
        return self._status(job, now)

    async def on_content(self, event: ContentEvent) -> None:
        """Look into the manifests that come while an image is pulled."""
        job = self._current
        if job is None or not isinstance(event, BlobAdded) or event.size > MAX_MANIFEST_BYTES:
            return
        here_before = job.here_before
        content = await self._read(event.digest)
        try:
            manifest = None if content is None else parse_manifest_untrusted(content)
        except InvalidManifestError:
            return
        if manifest is None or manifest.kind is ManifestKind.INDEX:
            return
        # A small blob may be here before its manifest is looked into.
        lacking = {child.digest: child.size for child in manifest.children if child.digest not in here_before}
        if len(job.parts) + len(lacking) < MAX_PARTS:
            job.parts |= lacking | {event.digest: event.size}

    async def run(self) -> None:
        """Pull one image after another, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_askers)
            while True:
                job = next((one for one in self._jobs.values() if one.state is PullState.WAITING), None)
                if job is None:
                    self._is_wanted = trio.Event()
                    await self._is_wanted.wait()
                else:
                    await self._pull(job)

    async def _pull(self, job: _Job) -> None:
        image = job.ask.image
        self._current, job.state, job.begun_at = job, PullState.PULLING, trio.current_time()
        job.here_before = frozenset(self._store.blobs())
        log.info("prefetch begun", image=str(image))
        has_ended = False
        try:
            with job.scope:
                await self._puller.pull(image)
                has_ended = True
        except PullFailedError as exc:
            self._end(job, exc.problem, exc.detail)
        else:
            if has_ended:
                self._end(job, PullProblem.NONE, "")
            else:
                self._end(job, PullProblem.STOPPED, "whoever asked for it is gone")
        finally:
            self._current, job.here_before = None, frozenset()

    def _end(self, job: _Job, problem: PullProblem, detail: str) -> None:
        job.ended_at, job.problem, job.detail = trio.current_time(), problem, detail
        job.state = PullState.FAILED if problem else PullState.DONE
        metrics.PULLS.labels(problem.name.lower() if problem else "done").inc()
        if problem:
            log.warning("prefetch failed", image=str(job.ask.image), problem=problem.name.lower(), why=detail)
        else:
            log.info("prefetch done", image=str(job.ask.image))

    async def _watch_askers(self) -> None:
        while True:
            if not self._jobs:
                self._is_watched = trio.Event()
                await self._is_watched.wait()
            await trio.sleep(LOOK_INTERVAL)
            now = trio.current_time()
            for job in self._jobs.values():
                if now - job.asked_at < ASKER_TIMEOUT:
                    continue
                if job.state is PullState.PULLING:
                    job.scope.cancel()
                elif job.state is PullState.WAITING:
                    self._end(job, PullProblem.STOPPED, "whoever asked for it is gone")
            self._forget(now)

    def _forget(self, now: float) -> None:
        for id_ in [id_ for id_, job in self._jobs.items() if job.ended_at + FORGET_INTERVAL <= now]:
            del self._jobs[id_]

    def _forget_oldest(self) -> bool:
        """Make room for a new one; return False if all that are known go on."""
        ended = next((id_ for id_, job in self._jobs.items() if job.ended_at < math.inf), None)
        if ended is not None:
            del self._jobs[ended]
        return ended is not None

    def _status(self, job: _Job, now: float) -> PullStatus:
        held, partials = self._store.blobs(), self._store.partials()
        here = sum(
            size if digest in held else min(size, partials[digest].offset if digest in partials else 0)
            for digest, size in job.parts.items()
        )
        upstream, peers = self._origins.so_far(job.parts)
        seconds = 0.0 if job.state is PullState.WAITING else min(now, job.ended_at) - job.begun_at
        return PullStatus(
            state=job.state,
            here=here,
            total=sum(job.parts.values()),
            upstream=upstream,
            peers=peers,
            seconds=max(0.0, seconds),
            problem=job.problem,
            detail=job.detail,
        )


def _refusal(problem: PullProblem, detail: str) -> PullStatus:
    return PullStatus(state=PullState.FAILED, problem=problem, detail=detail)
