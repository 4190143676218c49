import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from shell.stores import layout_scribblers as scribblers
from shell.stores.conformance import read_all
from shell.stores.layout_bench import blob_path
from spegel_gossip.content import BlobAdded, ContentEvent, ContentNotFoundError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.directory import LayoutDirectory
from spegel_gossip.stores.layout.store import LayoutStore
from spegel_gossip.stores.layout.writer import LayoutWriter

PARENTS = 2
"""As many scribblers write at the same time."""

CONTENT = scribblers.everything()
LONG = [pytest.mark.slow, pytest.mark.timeout(900)]


class Parent:
    """A process that makes scribblers."""

    def __init__(self) -> None:
        path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, scribblers.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
        )

    def scribble(self, root: Path, seed: str, seconds: float, steps: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{root} {seed} {seconds} {steps}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "killed\n"

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def parents() -> Iterator[list[Parent]]:
    parents = [Parent() for _ in range(PARENTS)]
    yield parents
    for parent in parents:
        parent.close()


class Reader:
    """A node that follows the layout meanwhile, and reads every blob the moment it is told of it."""

    def __init__(self, root: Path) -> None:
        self.store = LayoutStore(LayoutConfig(root=root))
        self.has_read = 0

    async def hear(self, event: ContentEvent) -> None:
        if isinstance(event, BlobAdded):
            try:
                data = await read_all(self.store, event.digest)
            except ContentNotFoundError:
                return
            assert event.digest.matches(data)
            self.has_read += 1


def check(root: Path) -> None:
    held = LayoutDirectory(root).content.digests()
    for digest in held:
        assert blob_path(root, digest).read_bytes() == CONTENT[digest], f"{digest} is wrong or half"
    if not (root / "index.json").exists():
        return
    for entry in json.loads((root / "index.json").read_bytes())["manifests"]:
        assert Digest.parse(entry["digest"]) in held


def age(root: Path) -> None:
    """Let `gc` take what is not tagged."""
    for path in root.glob("blobs/*/*"):
        os.utime(path, (0, 0))


async def go_on(root: Path, rng: random.Random) -> None:
    """Finish one of the ingests that were left, and any other blob."""
    writer = LayoutWriter(root, time.time)
    await writer.create()
    left = sorted(path.name for path in (root / "ingest").iterdir())
    chosen = [Digest.parse(rng.choice(left).replace("-", ":", 1))] if left else []
    for digest in (*chosen, rng.choice(list(CONTENT))):
        with trio.fail_after(10):
            await scribblers.put(writer, rng, CONTENT[digest])
        assert blob_path(root, digest).read_bytes() == CONTENT[digest]


@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 400), marks=LONG)], ids=["40 seeds", "360 seeds"]
)
async def test_a_killed_writer_leaves_no_wrong_blob_and_the_next_goes_on(
    tmp_path: Path, parents: list[Parent], nursery: trio.Nursery, seeds: range
) -> None:
    root = tmp_path / "layout"
    reader = Reader(root)
    nursery.start_soon(reader.store.run, reader.hear)
    for seed in seeds:
        rng = random.Random(seed)
        async with trio.open_nursery() as scribbling:
            for number, parent in enumerate(parents):
                seconds = rng.uniform(0.01, 0.12)
                steps = rng.randrange(1, 400) if rng.getrandbits(1) else 0
                args = (root, f"{seed}-{number}", seconds, steps)
                scribbling.start_soon(trio.to_thread.run_sync, parent.scribble, *args)
        try:
            check(root)
            if root.exists():
                await go_on(root, rng)
                check(root)
                age(root)
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise
    assert reader.has_read
