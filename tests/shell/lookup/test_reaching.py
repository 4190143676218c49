from __future__ import annotations

import json

import pytest
import trio

from shell.lookup.nodes import Nodes, until_true
from spegel_gossip.content import BlobAdded, TagChanged
from spegel_gossip.lookup.reaching import Reacher
from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reach import Reach
from spegel_gossip.oci.reference import TagName
from spegel_gossip.routing import NoHolderError, Purpose

SHOWN = TagName("docker.io", "library/nginx", "1.27")
HIDDEN = TagName("docker.io", "secret/app", "1")
CONFIG, LAYER, SECRET = b"{}", b"layer", b"secret layer"


def described(data: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def manifest(*layers: bytes) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": types.OCI_MANIFEST,
            "config": described(CONFIG, types.OCI_CONFIG),
            "layers": [described(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
        }
    ).encode()


def index(*manifests: bytes) -> bytes:
    entries = [described(one, types.OCI_MANIFEST) for one in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": entries}).encode()


def changed(name: TagName, content: bytes, media_type: str = types.OCI_MANIFEST) -> TagChanged:
    return TagChanged(name, Descriptor(Digest.of(content), len(content), media_type), 0.0)


def reader(*contents: bytes) -> Reacher:
    held = {Digest.of(content): content for content in contents}

    async def read(digest: Digest) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return held.get(digest)

    return Reacher(Reach(), read)


async def test_an_image_reaches_all_that_is_here_of_it(nursery: trio.Nursery) -> None:
    image = manifest(LAYER)
    whole, reacher = index(image, b"of another platform"), reader(index(image, b"of another platform"), image)
    nursery.start_soon(reacher.run)
    reacher.look_at(changed(SHOWN, whole, types.OCI_INDEX))
    digests = [Digest.of(one) for one in (whole, image, CONFIG, LAYER)]
    await until_true(lambda: all(reacher.reach.reaches("docker.io", "library/nginx", one) for one in digests))
    assert not reacher.reach.reaches("docker.io", "secret/app", digests[0])


async def test_with_a_filter_only_what_an_allowed_image_or_request_reaches_is_advertised(
    nodes: Nodes,
) -> None:
    shown, secret = manifest(LAYER), manifest(SECRET)
    reacher = reader(shown, secret)
    a = await nodes.make("a", reacher=reacher)
    b = await nodes.make("b")
    a.meets(b)
    a.hidden_tags[HIDDEN] = None
    for content in (shown, secret, CONFIG, LAYER, SECRET):
        await a.lookup.on_content(BlobAdded(Digest.of(content), len(content)))
    for name, content in ((SHOWN, shown), (HIDDEN, secret)):
        await a.lookup.on_content(changed(name, content))

    # The config and the layer of the image that is shown, its manifest, and its tag.
    await until_true(lambda: a.lookup.counts().advertised == 4)
    with pytest.raises(NoHolderError):
        await b.lookup.lookup(Digest.of(SECRET), Purpose.READ)
    reacher.reach.add("docker.io", "library/nginx", [Digest.of(SECRET)])
    await until_true(lambda: a.lookup.counts().advertised == 5)
