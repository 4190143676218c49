"""What `spegel-gossip pull` does, as a program that tells what happens in lines of JSON on stdout.

{"event": "ready"}                                          it begins when its stdin ends
{"event": "begin", "digest": …, "size": …}
{"event": "move", "digest": …, "source": …, "bytes": …}    bytes since the last such line
{"event": "end", "digest": …}
{"event": "note", "text": …}                                something was not as hoped
{"event": "done", "seconds": …, "first_byte": …}            first_byte: of a layer, from the start
{"event": "failed", "text": …}
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import trio

from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.credentials import Anonymous
from spegel_gossip.client.endpoint import endpoints_of
from spegel_gossip.client.progress import Outcome, Role
from spegel_gossip.client.pull import Puller
from spegel_gossip.client.session import Session
from spegel_gossip.demo.errors import first_of
from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import Reference
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.store import LayoutStore
from spegel_gossip.stores.layout.writer import LayoutWriter

TELL_INTERVAL = 0.05
"""Seconds between two lines about one blob: as often as a screen is drawn."""


def main() -> None:
    """Pull once. Arguments: the image, the layout, the URL of the node's mirror."""
    image, layout, mirror = sys.argv[1:]
    # Python takes a while to start, and not always the same: those who are to begin together wait here.
    _tell(event="ready")
    sys.stdin.read()
    try:
        trio.run(_pull, Reference.parse(image), Path(layout), mirror)
    except* SpegelGossipError as failures:
        _tell(event="failed", text=str(first_of(failures)))
        sys.exit(1)


async def _pull(reference: Reference, layout: Path, mirror: str) -> None:
    writer = LayoutWriter(layout, time.time)
    await writer.create()
    store = LayoutStore(LayoutConfig(root=layout))
    config = ClientConfig()
    teller = Teller()
    endpoints = endpoints_of(reference.registry, mirrors=[mirror])
    async with Session(config, Anonymous()) as session:
        puller = Puller(session, store, writer, config, teller, random.Random())
        await puller.pull(reference, endpoints, None)
    teller.tell_done()


class Teller:
    """A `client.progress.Progress` that writes lines."""

    def __init__(self) -> None:
        """Start the clock."""
        self._begun_at = time.monotonic()
        self._first_byte: float | None = None
        self._layers: dict[Digest, None] = {}
        self._untold: dict[tuple[Digest, str], int] = {}
        self._told_at: dict[Digest, float] = {}

    def begin(self, blob: Descriptor, role: Role, *, offset: int) -> None:  # noqa: ARG002 - the port's signature
        """A blob is about to move."""
        if role is Role.LAYER:
            self._layers[blob.digest] = None
        _tell(event="begin", digest=str(blob.digest), size=blob.size)

    def move(self, digest: Digest, count: int, source: str) -> None:
        """Bytes of it came."""
        now = time.monotonic()
        if self._first_byte is None and digest in self._layers:
            self._first_byte = now - self._begun_at
        # Our own mirror adds through which address it was asked: here everybody has one.
        name = source.partition(" ")[0]
        self._untold[digest, name] = self._untold.get((digest, name), 0) + count
        if now - self._told_at.get(digest, 0.0) >= TELL_INTERVAL:
            self._told_at[digest] = now
            self._flush(digest)

    def restart(self, digest: Digest) -> None:
        """It starts anew."""
        _tell(event="note", text=f"{digest} starts anew")

    def end(self, blob: Descriptor, role: Role, outcome: Outcome) -> None:  # noqa: ARG002 - the port's signature
        """It is here."""
        self._flush(blob.digest)
        _tell(event="end", digest=str(blob.digest))

    def wait(self, reason: str, delay: float) -> None:
        """Something failed and is tried again."""
        _tell(event="note", text=f"{reason}; the next attempt is in {delay:.1f} s")

    def pass_over(self, host: str, reason: str) -> None:
        """The mirror does not have it."""
        _tell(event="note", text=f"{host}: {reason}")

    def tell_done(self) -> None:
        """Everything is here."""
        seconds = time.monotonic() - self._begun_at
        _tell(event="done", seconds=seconds, first_byte=self._first_byte or seconds)

    def _flush(self, digest: Digest) -> None:
        for key in [key for key in self._untold if key[0] == digest]:
            _tell(event="move", digest=str(digest), source=key[1], bytes=self._untold.pop(key))


def _tell(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
