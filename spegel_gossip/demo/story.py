"""The story of the demo, step by step, with what must be true after each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from spegel_gossip.demo.asking import Asker, NoAnswerError, RegistryCount
from spegel_gossip.demo.cluster import Cluster
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


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays which part."""

    first: str
    crowd: tuple[str, ...]
    late: str
    victim: str
    newcomer: str

    @classmethod
    def choose(cls, names: Sequence[str], rng: random.Random) -> Cast:
        """Choose the parts; the last name is the newcomer's, who is not there at first."""
        *others, newcomer = names
        rng.shuffle(others)
        first, *crowd, late = others
        return cls(first, tuple(by_number(crowd)), late, victim=first, newcomer=newcomer)

    @property
    def company(self) -> tuple[str, ...]:
        """All that are there at first."""
        return tuple(by_number((self.first, *self.crowd, self.late)))


@dataclass(slots=True)
class Outcome:
    """What there is to tell when all is over."""

    pulls: list[PullResult] = field(default_factory=list)
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
        self._cast = Cast.choose(list(cluster.nodes), rng)
        self._pull_timeout = START_TIMEOUT + size / SLOWEST_BYTES_PER_SECOND
        self.outcome = Outcome()
        cast = self._cast
        picture.steps = [
            Step(f"{len(cast.company)} nodes with a fresh key find each other; a registry has an image"),
            Step(f"{cast.first} pulls the image: the registry sends it, once"),
            Step(f"{_some(cast.crowd)} pull it at once: only nodes send it"),
            Step(f"the registry is stopped, and {cast.late} still pulls everything"),
            Step(f"{cast.victim} is killed, and soon nobody names it any more"),
            Step(f"{cast.newcomer} joins and pulls it too: the image outlived its source"),
        ]

    async def tell(self) -> None:
        """Tell all of it.

        Raises:
            ClaimError: something was not as it should be.
        """
        async with self._teller.step(0, 2 * START_TIMEOUT):
            image = await self._set_the_stage()
        async with self._teller.step(1, self._pull_timeout):
            await self._pull_from_the_registry(image)
        async with self._teller.step(2, self._pull_timeout):
            await self._pull_from_the_first(image)
        async with self._teller.step(3, self._pull_timeout):
            await self._pull_without_the_registry(image)
        async with self._teller.step(4, DETECTION_TIMEOUT + NEWS_TIMEOUT):
            await self._kill(image)
        async with self._teller.step(5, START_TIMEOUT + self._pull_timeout):
            await self._join_and_pull(image)

    async def _set_the_stage(self) -> DemoImage:
        cluster, cast = self._cluster, self._cast
        cluster.make_key()
        for name in cast.company:
            self._start_node(name, [other for other in cast.company if other != name][:2])
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
        await self._all_see(cast.company)
        return image

    async def _pull_from_the_registry(self, image: DemoImage) -> None:
        cast, teller = self._cast, self._teller
        result = await self._pull(cast.first, image)
        count = await self._count()
        teller.claim(
            f"the registry sent {_mb(count.sent_bytes)}: each byte of the image once",
            expected=(image.size, len(image.blobs)),
            seen=(count.sent_bytes, count.blobs),
        )
        teller.claim("the pull saw the same", expected={"registry": image.size}, seen=result.by_source)
        await self._is_whole_at([cast.first], image)
        await self._is_held_by([cast.first], image)

    async def _pull_from_the_first(self, image: DemoImage) -> None:
        before = await self._count()
        async with trio.open_nursery() as nursery:
            for name in self._cast.crowd:
                nursery.start_soon(self._pull, name, image)
        after = await self._count()
        moved = sum(result.from_peers for result in self.outcome.pulls[-len(self._cast.crowd) :])
        self._teller.claim(
            "the registry was asked for nothing", expected=0, seen=after.requests - before.requests
        )
        self._teller.claim(
            f"{_mb(moved)} went from node to node",
            expected=image.size * len(self._cast.crowd),
            seen=moved,
        )
        await self._is_whole_at(self._cast.crowd, image)
        await self._is_held_by([self._cast.first, *self._cast.crowd], image)

    async def _pull_without_the_registry(self, image: DemoImage) -> None:
        self._teller.claim("the registry has ended", expected=0, seen=await self._cluster.stop_registry())
        self._picture.registry_state = "stopped"
        await self._pull_from_peers_only(self._cast.late, image)

    async def _kill(self, image: DemoImage) -> None:
        victim = self._cast.victim
        begun_at = trio.current_time()
        await self._cluster.kill_node(victim)
        self._picture.nodes[victim].is_killed = True
        rest = [name for name in self._cast.company if name != victim]
        await self._all_see(rest, within=DETECTION_TIMEOUT)
        await self._is_held_by(rest, image)
        self.outcome.detection = trio.current_time() - begun_at

    async def _join_and_pull(self, image: DemoImage) -> None:
        newcomer = self._cast.newcomer
        rest = [name for name in self._cast.company if name != self._cast.victim]
        # Its seeds name the dead one too, as a list in a configuration would.
        self._start_node(newcomer, [self._cast.victim, rest[0]])
        await self._all_see([*rest, newcomer], within=START_TIMEOUT)
        result = await self._pull_from_peers_only(newcomer, image)
        self._teller.claim(
            f"none of it from {self._cast.victim}", expected=False, seen=self._cast.victim in result.by_source
        )

    async def _pull_from_peers_only(self, name: str, image: DemoImage) -> PullResult:
        result = await self._pull(name, image)
        self._teller.claim(
            f"all {_mb(result.from_peers)} came from {_some(result.peers)}",
            expected=(0, image.size),
            seen=(result.from_registry, result.from_peers),
        )
        await self._is_whole_at([name], image)
        return result

    def _start_node(self, name: str, seeds: Sequence[str]) -> None:
        self._picture.nodes[name] = NodePicture(name)
        self._cluster.start_node(name, seeds)

    async def _pull(self, name: str, image: DemoImage) -> PullResult:
        result = await pull(self._cluster, name, image.name, self._picture.nodes[name])
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
