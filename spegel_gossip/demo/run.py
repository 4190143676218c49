"""The demo from its first process to the last trace of it."""

from __future__ import annotations

import random
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio
from rich.console import Console
from rich.text import Text

from spegel_gossip.demo.asking import Asker
from spegel_gossip.demo.cluster import Cluster
from spegel_gossip.demo.config import DemoConfig
from spegel_gossip.demo.errors import ClaimError, DemoError
from spegel_gossip.demo.leftovers import own_folder
from spegel_gossip.demo.lines import Lines
from spegel_gossip.demo.picture import Picture
from spegel_gossip.demo.places import find_places
from spegel_gossip.demo.screen import Screen, run_photographer
from spegel_gossip.demo.story import REPOSITORY, TAG, Story
from spegel_gossip.demo.summary import print_summary
from spegel_gossip.demo.teller import Teller
from spegel_gossip.demo.view import VIEW_WIDTH, draw_story
from spegel_gossip.demo.watch import run_watch

MB: Final = 1_000_000
_WIDE: Final = 10_000
_SPARE_BYTES: Final = 100 * MB


async def run_demo(config: DemoConfig, console: Console) -> None:
    """Tell the story, and leave nothing behind.

    Raises:
        ClaimError: a claim did not hold; the logs are left.
        DemoError: this machine cannot give it.
    """
    if not console.is_terminal:
        # Lines for a program or a log are never folded.
        console = Console(width=_WIDE, color_system=None, highlight=False, soft_wrap=True)
    with _folder(config) as folder:
        cluster = Cluster(folder, find_places(config.nodes + 2))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_end_with_the_terminal)
                await _tell(config, console, cluster)
                if config.keep:
                    await _keep_up(console, cluster)
                nursery.cancel_scope.cancel()
        finally:
            # Short, and nothing may be left running, whatever it is that ends us.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(cluster.end)


async def _end_with_the_terminal() -> None:
    """End in order, as by SIGTERM, when the window is closed."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        await anext(signals)
        signal.raise_signal(signal.SIGTERM)


async def _tell(config: DemoConfig, console: Console, cluster: Cluster) -> None:
    picture = Picture()
    screen = Screen(picture, console) if console.is_terminal else None
    listener = screen or Lines(picture, lambda line: console.print(Text(line)))
    teller = Teller(picture, listener, cluster.folder)
    rng = random.Random(config.seed)
    async with Asker() as asker:
        story = Story(cluster, asker, picture, teller, rng, config.size_mb * MB)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_watch, cluster, asker, picture)
                if config.picture is not None:
                    nursery.start_soon(run_photographer, picture, config.picture)
                if screen is not None:
                    nursery.start_soon(screen.run)
                await story.tell()
                nursery.cancel_scope.cancel()
        finally:
            # The view is gone from the screen by now: what was told stays.
            now = trio.current_time()
            if screen is not None:
                console.print(draw_story(picture.steps, now, with_all_claims=True), width=VIEW_WIDTH)
    claims = sum(len(step.claims) for step in picture.steps)
    print_summary(console, story.outcome, picture.seconds(now), claims=claims)


async def _keep_up(console: Console, cluster: Cluster) -> None:
    node, *_, last = cluster.living()
    image = f"{cluster.upstream.registry}/{REPOSITORY}:{TAG}"
    console.print(
        f"""
The cluster is up until Ctrl-C, without its registry. Its page: http://{node.place.status}/

Things to try, in another terminal:

  cd {cluster.folder}
  PATH={_own_folder()}:$PATH
  spegel-gossip members --state-dir {node.name}
  spegel-gossip holders --state-dir {node.name} {image}
  spegel-gossip pull {image} --mirror {node.mirror} --layout mine
  kill -9 {last.process.pid if last.process else ""}    # {last.name}; look at the members again, and again

Every node has its log and its layout there; Ctrl-C here removes it all.""",
        soft_wrap=True,
        markup=False,
    )
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)


def _own_folder() -> Path:
    return Path(sys.argv[0]).resolve().parent


@contextmanager
def _folder(config: DemoConfig) -> Iterator[Path]:
    with own_folder() as folder:
        try:
            _check_space(folder, (config.nodes + 2) * config.size_mb * MB + _SPARE_BYTES)
            yield folder
        except BaseException as exc:
            _remove(folder, with_logs=not _is_claim(exc))
            raise
        _remove(folder, with_logs=True)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DemoError(
            f"{folder.parent} has {free // MB} MB free, and {needed // MB} are needed: "
            "give a smaller --size or fewer --nodes, or set TMPDIR to a larger disk"
        )


def _remove(folder: Path, *, with_logs: bool) -> None:
    if with_logs:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix != ".log":
            path.unlink()


def _is_claim(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(ClaimError) is not None
    return isinstance(error, ClaimError)
