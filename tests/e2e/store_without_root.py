"""Opens a store in this process's own mount namespace and prints what it makes of an image, as JSON."""

import hashlib
import json
import sys
from pathlib import Path

import structlog
import trio

from spegel_gossip.content import ContentEvent
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.containerd.config import ContainerdConfig
from spegel_gossip.stores.containerd.store import ContainerdStore


async def main(socket: str, root: str, tag: str, blob: str) -> None:
    store = ContainerdStore(ContainerdConfig(address=Path(socket), root=Path(root)))
    changed = trio.Event()

    async def emit(event: ContentEvent) -> None:
        nonlocal changed
        changed.set()
        changed = trio.Event()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run, emit)
            while not (store.availability().is_connected and store.partials()):
                await changed.wait()
            reader = await store.open(Digest.parse(blob))
            whole, offset = hashlib.sha256(), 0
            while chunk := await reader.read_at(offset, reader.size):
                whole.update(chunk)
                offset += len(chunk)
            seen = {
                "reason": store.availability().reason,
                "is_readable": store.availability().is_readable,
                "tag": str((await store.resolve(TagName.parse(tag))).target.digest),
                "has_file": reader.fileno() is not None,
                "digest": f"sha256:{whole.hexdigest()}",
                "partials": {str(one): [at.offset, at.total] for one, at in store.partials().items()},
            }
            await reader.aclose()
            nursery.cancel_scope.cancel()
    sys.stdout.write(json.dumps(seen))


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
_, *paths, wanted_tag, wanted_blob = sys.argv
trio.run(main, paths[0], paths[1], wanted_tag, wanted_blob)
