"""A registry without a cluster behind it: nobody else has anything."""

from __future__ import annotations

from collections.abc import Mapping

from spegel_gossip.fetching import BlobStream
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.registry.errors import NotHereError
from spegel_gossip.routing import Holders, Purpose, TagHolders


class Nobody:
    """A `routing.Router` that knows nobody, and a `fetching.BlobFetcher` that finds nothing."""

    async def lookup(self, digest: Digest, purpose: Purpose) -> Holders:  # noqa: ARG002 - the port's signature
        """Say that nobody has it."""
        raise NotHereError(digest)

    async def lookup_tag(self, name: TagName) -> TagHolders:
        """Say that nobody has it."""
        raise NotHereError(name)

    def lookup_ahead(self, parts: Mapping[Digest, int], *, has_ingests: bool = False) -> None:
        """Do nothing: there is nobody to ask."""

    def tag_answered(self, name: TagName, observed_at: float | None) -> None:
        """Do nothing: there is nobody to tell."""

    def tag_observed_at(self, name: TagName, digest: Digest) -> float | None:  # noqa: ARG002 - the same
        """Say that nobody knows."""
        return 0.0

    def report_miss(self, digest: Digest, holder: str) -> None:
        """Do nothing: there is nobody to tell."""

    def report_unreachable(self, holder: str) -> None:
        """Do nothing: no holder was ever named."""

    def report_transfer(self, holder: str, *, moved_bytes: int, seconds: float) -> None:
        """Do nothing: no holder was ever named."""

    async def open(
        self,
        digest: Digest,
        *,
        start: int = 0,  # noqa: ARG002 - the same
        stop: int | None = None,  # noqa: ARG002 - the same
        is_range: bool = False,  # noqa: ARG002 - the same
    ) -> BlobStream:
        """Say that nobody has it."""
        raise NotHereError(digest)

    async def spreads(self, digest: Digest) -> bool:  # noqa: ARG002 - the same
        """Say that nothing spreads: there is nobody to read from."""
        return False

    async def size(self, digest: Digest) -> int:
        """Say that nobody has it."""
        raise NotHereError(digest)

    async def fetch_manifest(self, digest: Digest, *, may_lease: bool = True) -> bytes:  # noqa: ARG002 - the same
        """Say that nobody has it."""
        raise NotHereError(digest)
