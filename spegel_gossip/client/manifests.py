"""Manifests from the store or from registries: read whole and verified before they are believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from spegel_gossip.client.endpoint import Endpoint
from spegel_gossip.client.errors import RegistryProtocolError, WrongBytesError
from spegel_gossip.client.session import Ask, Session
from spegel_gossip.client.sources import Sources
from spegel_gossip.content import BlobReader, ContentNotFoundError
from spegel_gossip.oci import media_type as types
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidManifestError
from spegel_gossip.oci.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest_untrusted

ACCEPT = ", ".join(types.ACCEPTED)


class BlobSource(Protocol):
    """The part of a content store that reads."""

    async def open(self, digest: Digest) -> BlobReader:
        """Open a held blob.

        Raises:
            ContentNotFoundError: the store lacks it.
            ContentStoreUnavailableError: the store gave no usable answer.
        """


@dataclass(frozen=True, slots=True)
class VerifiedManifest:
    """A manifest whose bytes have its digest."""

    descriptor: Descriptor
    content: bytes
    parsed: Manifest

    source: str
    """The registry that sent it; empty if it was held."""


async def read_held(store: BlobSource, digest: Digest) -> VerifiedManifest | None:
    """Return a manifest that the store holds, or None; a damaged one is none.

    Raises:
        RegistryProtocolError: there is such content, and it is no manifest.
        ContentStoreUnavailableError: the store gave no usable answer.
    """
    try:
        reader = await store.open(digest)
    except ContentNotFoundError:
        return None
    content = bytearray()
    try:
        if reader.size > MAX_MANIFEST_BYTES:
            raise RegistryProtocolError(f"{digest} is {reader.size} bytes long: no manifest is")
        while data := await reader.read_at(len(content), reader.size - len(content)):
            content += data
            if len(content) >= reader.size:
                break
    finally:
        await reader.aclose()
    return _verified(digest, bytes(content), None, source="") if digest.matches(bytes(content)) else None


async def fetch(
    session: Session, sources: Sources, repository: str, reference: str | Digest
) -> VerifiedManifest:
    """Return a manifest by tag or by digest from the first source that has it.

    Raises:
        ClientError: nobody gives it.
    """

    async def attempt(endpoint: Endpoint) -> VerifiedManifest:
        ask = Ask(
            method="GET",
            url=f"/v2/{repository}/manifests/{reference}",
            what=f"manifest {reference} of {repository}",
            scopes=(f"repository:{repository}:pull",),
            headers={"Accept": ACCEPT},
        )
        answer, content = await session.call(endpoint, ask, max_bytes=MAX_MANIFEST_BYTES)
        promised = answer.headers.get("docker-content-digest")
        digest = _digest(content, reference, promised, endpoint)
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        return _verified(digest, content, media_type, source=endpoint.host)

    return await sources.get(attempt)


def _digest(content: bytes, reference: str | Digest, promised: str | None, endpoint: Endpoint) -> Digest:
    if isinstance(reference, Digest):
        expected = reference
    elif promised is not None:
        try:
            expected = Digest.parse(promised)
        except InvalidDigestError as exc:
            raise RegistryProtocolError(f"{endpoint.host} sent no digest but {promised[:100]!r}") from exc
    else:
        return Digest.of(content)
    if not expected.matches(content):
        raise WrongBytesError(expected, endpoint.host)
    return expected


def _verified(digest: Digest, content: bytes, media_type: str | None, *, source: str) -> VerifiedManifest:
    try:
        parsed = parse_manifest_untrusted(content, media_type)
    except InvalidManifestError as exc:
        raise RegistryProtocolError(
            f"{source or 'the layout'} has no usable manifest {digest}: {exc}"
        ) from exc
    descriptor = Descriptor(digest, len(content), parsed.media_type)
    return VerifiedManifest(descriptor, content, parsed, source)
