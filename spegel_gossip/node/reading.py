"""Manifests out of the content store, for those parts of the node that look into images."""

from __future__ import annotations

from spegel_gossip.content import ContentStore, ContentStoreError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES


async def read_manifest(store: ContentStore, digest: Digest) -> bytes | None:
    """Return the bytes of a manifest that is here; None if it is not, or is too long for one."""
    content = bytearray()
    try:
        reader = await store.open(digest)
        try:
            while len(content) < reader.size <= MAX_MANIFEST_BYTES:
                data = await reader.read_at(len(content), reader.size - len(content))
                if not data:
                    break
                content += data
        finally:
            await reader.aclose()
    except ContentStoreError:
        return None
    whole = bytes(content)
    return whole if digest.matches(whole) else None
