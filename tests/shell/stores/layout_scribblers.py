"""Processes that write one image layout together until they are killed.

Run as a program it is their parent: it imports everything once, then makes a fresh process for each
line on its standard input, `ROOT SEED SECONDS STEPS`, and answers each with a line when that one is dead. A
scribbler is killed after so many seconds, or just before so many file operations, whichever comes first.
"""

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

import trio

from spegel_gossip.content import ContentMismatchError, ContentNotFoundError
from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.writer import LayoutWriter

BLOBS = 10
IMAGES = 4
MAX_BLOB = 400_000
TASKS = 3
FILE_OPERATIONS = frozenset(
    ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.utime", "fcntl.flock")
)


def blob_of(number: int) -> bytes:
    rng = random.Random(f"blob {number}")
    return rng.randbytes(rng.choice((0, 1, 5_000, MAX_BLOB)) + rng.randrange(1_000))


def image_of(number: int) -> tuple[list[bytes], bytes]:
    """The blobs of an image and its manifest; images share blobs."""
    parts = [blob_of(index % BLOBS) for index in range(number, number + 3)]
    described = [
        {"mediaType": types.OCTET_STREAM, "digest": str(Digest.of(p)), "size": len(p)} for p in parts
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "config": described[0] | {"mediaType": types.OCI_CONFIG},
        "layers": described[1:],
    }
    return parts, json.dumps(document).encode()


def everything() -> dict[Digest, bytes]:
    blobs = [blob_of(number) for number in range(BLOBS)]
    manifests = [image_of(number)[1] for number in range(IMAGES)]
    return {Digest.of(data): data for data in (*blobs, *manifests)}


async def put(writer: LayoutWriter, rng: random.Random, data: bytes) -> None:
    digest = Digest.of(data)
    total = len(data) if rng.getrandbits(2) else 0
    while True:
        ingest = await writer.open_ingest(f"layer-{digest}", digest, total)
        if ingest is None:
            return
        try:
            while ingest.offset < len(data):
                await ingest.write(data[ingest.offset : ingest.offset + rng.randrange(1, MAX_BLOB)])
            await ingest.commit()
        except ContentMismatchError:
            # Whoever began it was killed over wrong bytes: from the beginning, then.
            continue


async def leave(writer: LayoutWriter, rng: random.Random, data: bytes) -> None:
    """Begin and end it in another way than by success."""
    digest = Digest.of(data)
    ingest = await writer.open_ingest(f"layer-{digest}", digest, len(data))
    if ingest is None:
        return
    await ingest.write(data[ingest.offset : (ingest.offset + len(data)) // 2])
    match rng.randrange(3):
        case 0:
            await ingest.keep()
        case 1:
            await ingest.abort()
        case _:
            with suppress(ContentMismatchError):
                await ingest.write(b"\xff" * max(len(data) - ingest.offset, 1))
                await ingest.commit()


async def scribble(writer: LayoutWriter, rng: random.Random) -> None:
    while True:
        number = rng.randrange(IMAGES)
        name = TagName("registry.test", "scribble", f"v{rng.randrange(IMAGES)}")
        match rng.randrange(6):
            case 0:
                await leave(writer, rng, blob_of(rng.randrange(BLOBS)))
            case 1:
                await writer.untag(name)
            case 2:
                await writer.gc(grace=5)
            case _:
                parts, manifest = image_of(number)
                for part in (*parts, manifest):
                    await put(writer, rng, part)
                target = Descriptor(Digest.of(manifest), len(manifest), types.OCI_MANIFEST)
                with suppress(ContentNotFoundError):
                    await writer.tag(name, target)


async def scribble_until_killed(root: Path, seed: str) -> None:
    writer = LayoutWriter(root, time.time)
    await writer.create()
    async with trio.open_nursery() as nursery:
        for task in range(TASKS):
            nursery.start_soon(scribble, writer, random.Random(f"{seed} {task}"))


def kill_before(steps: int) -> None:
    """Have this process killed just before its next so many file operations."""
    left = steps

    def count(event: str, _args: object) -> None:
        nonlocal left
        if event in FILE_OPERATIONS:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def main() -> None:
    for line in sys.stdin:
        root, seed, seconds, steps = line.split()
        child = os.fork()
        if child == 0:
            if int(steps):
                kill_before(int(steps))
            try:
                trio.run(scribble_until_killed, Path(root), seed)
            finally:
                os._exit(3)
        Event().wait(float(seconds))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        # Anything but a kill is a scribbler that failed.
        print("killed" if os.WIFSIGNALED(status) else f"ended with {status}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
