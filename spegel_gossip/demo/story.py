"""The story of the demo, step by step, with what must be true after each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from spegel_gossip.demo.asking import Asker, NoAnswerError, RegistryCount
from spegel_gossip.demo.cluster import Cluster, StartLine
from spegel_gossip.demo.errors import DemoError
from spegel_gossip.demo.image import DemoImage, make_image, wrong_blobs
from spegel_gossip.demo.picture import NodePicture, Picture, Step, by_number
from spegel_gossip.demo.pulls import PullResult, pull
from spegel_gossip.demo.teller import Teller
from spegel_gossip.oci.reference import TagName

START_TIMEOUT = 30.0
"""Seconds until all processes answer: Python starts slowly on a small machine."""

NEWS_TIMEOUT = 15.0
"""Seconds until all know what one node has got: some tenths, unless the machine is busy."""

DETECTION_TIMEOUT = 30.0
"""Seconds until a killed node is out of every view: SWIM takes some 5, a busy machine longer."""

SLOWEST_BYTES_PER_SECOND = 10_000_000
"""A pull that is slower on a loopback has stalled."""

MAX_NAMES = 4
"""Names in one line of the story; more are counted."""

REPOSITORY = "demo/app"
TAG = "v1"


@dataclass(slots=True)
class Outcome:
    """What there is to tell when all is over."""

    pulls: list[PullResult] = field(default_factory=list)
    herd: int = 0
    """How many pulled in the same second."""

    blob_bytes: int = 0
    """What the registry sent them of blobs, by its own count."""

    detection: float = 0.0
    """Seconds from the kill until no node named the killed one."""


class Story:
    """Tells it once."""

    def __init__(
        self, cluster: Cluster, asker: Asker, picture: Picture, teller: Teller, rng: random.Random, size: int
    ) -> None:
        """Take the stage; nothing runs yet."""
        self._cluster = cluster
        self._asker = asker
        self._picture = picture
        self._teller = teller
        self._rng = rng
        self._size = size
        *self._company, self._newcomer = cluster.nodes
        self._victim = ""
        self._pull_timeout = START_TIMEOUT + len(self._company) * size / SLOWEST_BYTES_PER_SECOND
        self.outcome = Outcome()
        count, newcomer = len(self._company), self._newcomer
        picture.steps = [
            Step(f"{count} nodes with a fresh key find each other; a registry has an image"),
            Step(f"all {count} pull it in the same second: the registry sends it once"),
            Step("who brought most of it is killed, and soon nobody names it"),
            Step("the registry is stopped too"),
            Step(f"{newcomer} joins late, and still pulls everything"),
        ]

    async def tell(self) -> None:
        """Tell all of it.

        Raises:
            ClaimError: something was not as it should be.
        """
        async with self._teller.step(0, 2 * START_TIMEOUT):
            image = await self._set_the_stage()
        async with self._teller.step(1, self._pull_timeout):
            await self._pull_all_at_once(image)
        async with self._teller.step(2, DETECTION_TIMEOUT + NEWS_TIMEOUT):
            await self._kill(image)
        async with self._teller.step(3, START_TIMEOUT):
            await self._stop_the_registry()
        async with self._teller.step(4, START_TIMEOUT + self._pull_timeout):
            await self._join_and_pull(image)

    async def _set_the_stage(self) -> DemoImage:
        cluster = self._cluster
        cluster.make_key()
        for name in self._company:
            self._start_node(name, [other for other in self._company if other != name][:2])
        tag = TagName.make(str(cluster.upstream.registry), REPOSITORY, TAG)
        image = await make_image(cluster.registry_layout, tag, self._size, self._rng)
        self._picture.image = image
        cluster.start_registry()
        await self._teller.claim_soon(
            lambda _: f"{len(image.layers)} layers, {image.size / 1e6:.0f} MB, are at the registry",
            partial(self._asker.is_ready, cluster.upstream),
            expected=True,
            within=START_TIMEOUT,
        )
        self._picture.registry_state = "serves"
        await self._all_see(self._company)
        return image

    async def _pull_all_at_once(self, image: DemoImage) -> None:
        teller, company = self._teller, self._company
        line = StartLine(len(company))
        async with trio.open_nursery() as nursery:
            for name in company:
                nursery.start_soon(self._pull, name, image, line)
        count = await self._count()
        pulls = self.outcome.pulls
        self.outcome.herd, self.outcome.blob_bytes = len(company), count.blob_bytes
        teller.claim(
            f"the registry sent {_mb(count.blob_bytes)} for {len(company)} nodes: each blob once",
            expected=(sum(blob.size for blob in image.blobs), len(image.blobs)),
            seen=(count.blob_bytes, count.blobs),
        )
        teller.claim(
            "the pulls saw the same",
            expected=count.sent_bytes,
            seen=sum(result.from_registry for result in pulls),
        )
        moved = sum(result.from_peers for result in pulls)
        teller.claim(
            f"{_mb(moved)} went from node to node",
            expected=image.size * len(company) - count.sent_bytes,
            seen=moved,
        )
        await self._is_whole_at(company, image)
        await self._is_held_by(company, image)
        self._victim = max(pulls, key=lambda result: result.from_registry).name
        # Only now it is known who it was.
        self._picture.steps[
            2
        ].title = f"{self._victim}, who brought most, is killed, and soon nobody names it"

    async def _stop_the_registry(self) -> None:
        self._teller.claim("it has ended", expected=0, seen=await self._cluster.stop_registry())
        self._picture.registry_state = "stopped"

    async def _kill(self, image: DemoImage) -> None:
        victim = self._victim
        begun_at = trio.current_time()
        await self._cluster.kill_node(victim)
        self._picture.nodes[victim].is_killed = True
        rest = [name for name in self._company if name != victim]
        await self._all_see(rest, within=DETECTION_TIMEOUT)
        await self._is_held_by(rest, image)
        self.outcome.detection = trio.current_time() - begun_at

    async def _join_and_pull(self, image: DemoImage) -> None:
        newcomer, victim = self._newcomer, self._victim
        rest = [name for name in self._company if name != victim]
        # Its seeds name the dead one too, as a list in a configuration would.
        self._start_node(newcomer, [victim, rest[0]])
        await self._all_see([*rest, newcomer], within=START_TIMEOUT)
        result = await self._pull(newcomer, image, StartLine())
        self._teller.claim(
            f"all {_mb(result.from_peers)} came from {_some(result.peers)}",
            expected=(0, image.size),
            seen=(result.from_registry, result.from_peers),
        )
        self._teller.claim(f"none of it from {victim}", expected=False, seen=victim in result.by_source)
        await self._is_whole_at([newcomer], image)

    def _start_node(self, name: str, seeds: Sequence[str]) -> None:
        self._picture.nodes[name] = NodePicture(name)
        self._cluster.start_node(name, seeds)

    async def _pull(self, name: str, image: DemoImage, line: StartLine) -> PullResult:
        result = await pull(self._cluster, name, image.name, self._picture.nodes[name], line)
        self.outcome.pulls.append(result)
        return result

    async def _count(self) -> RegistryCount:
        try:
            return await self._asker.registry_count(self._cluster.upstream)
        except NoAnswerError as exc:
            raise DemoError(f"the registry does not say what it counted: {exc}") from exc

    async def _all_see(self, names: Sequence[str], *, within: float = START_TIMEOUT) -> None:
        """Claim that every one of `names` sees just these alive, on its ring too."""

        async def look() -> object:
            return {name: await self._seen_by(name) for name in sorted(names)}

        await self._teller.claim_soon(
            lambda seconds: f"all {len(names)} see the same {len(names)} alive, after {seconds:.1f} s",
            look,
            expected={name: sorted(names) for name in sorted(names)},
            within=within,
        )

    async def _seen_by(self, name: str) -> object:
        place = self._cluster.nodes[name].place
        try:
            members = await self._asker.members(place)
            ring = await self._asker.ring(place)
        except NoAnswerError as exc:
            return str(exc)
        alive = sorted(member["name"] for member in members["members"] if member["state"] == "alive")
        on_ring = sorted(member["name"] for member in ring["members"])
        return alive if alive == on_ring else {"alive": alive, "on the ring": on_ring}

    async def _is_held_by(self, names: Sequence[str], image: DemoImage) -> None:
        """Claim that the directory names just these for every blob, whichever living node asks."""

        async def look() -> object:
            asked = self._rng.choice(self._cluster.living())
            try:
                return [
                    sorted(
                        holder["name"]
                        for holder in (await self._asker.holders(asked.place, str(blob.digest)))["holders"]
                    )
                    for blob in image.everything
                ]
            except NoAnswerError as exc:
                return str(exc)

        await self._teller.claim_soon(
            lambda _: f"the directory names {_some(names)} for every blob, and nobody else",
            look,
            expected=[sorted(names)] * len(image.everything),
            within=NEWS_TIMEOUT,
        )

    async def _is_whole_at(self, names: Sequence[str], image: DemoImage) -> None:
        """Claim that every blob on disk is what its digest says."""
        layouts = {name: self._cluster.nodes[name].layout for name in names}
        self._teller.claim(
            f"every digest is right on disk at {_some(names)}",
            expected={name: [] for name in names},
            seen={name: await wrong_blobs(layout, image.everything) for name, layout in layouts.items()},
        )


def _some(names: Sequence[str]) -> str:
    return _names(names) if len(names) <= MAX_NAMES else f"{len(names)} nodes"


def _names(names: Sequence[str]) -> str:
    *most, last = by_number(names)
    return f"{', '.join(most)} and {last}" if most else last


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
