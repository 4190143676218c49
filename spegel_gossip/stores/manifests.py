"""Manifests of the images that are here, read once and kept while they are few."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock

from spegel_gossip.content import ContentNotFoundError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidManifestError
from spegel_gossip.oci.manifest import Manifest, parse_manifest_untrusted
from spegel_gossip.oci.wholeness import wholeness

MAX_CACHED = 2_048
"""Parsed manifests kept, about 5 kB each; a node with 200 images needs 400."""


class NotCachedError(Exception):
    """The manifest must be read first; never leaves this package."""


class ManifestCache:
    """Parsed manifests by digest, least recently used first to go. Safe to use from any thread."""

    def __init__(self) -> None:
        self._parsed: OrderedDict[Digest, Manifest | InvalidManifestError] = OrderedDict()
        self._lock = Lock()

    def peek(self, digest: Digest) -> Manifest:
        """Return a manifest that was read before.

        Raises:
            NotCachedError: it was not, or has been dropped since.
            InvalidManifestError: it was, and is not a manifest.
        """
        with self._lock:
            try:
                self._parsed.move_to_end(digest)
            except KeyError:
                raise NotCachedError from None
            found = self._parsed[digest]
        if isinstance(found, InvalidManifestError):
            raise InvalidManifestError(*found.args)
        return found

    def get(self, digest: Digest, read: Callable[[Digest], bytes]) -> Manifest:
        """Return a manifest, reading it where needed: for worker threads.

        Raises:
            InvalidManifestError: the bytes are not a manifest.
            ContentStoreError: they could not be read.
        """
        try:
            return self.peek(digest)
        except NotCachedError:
            data = read(digest)
        found: Manifest | InvalidManifestError
        try:
            found = parse_manifest_untrusted(data)
        except InvalidManifestError as exc:
            found = exc
        with self._lock:
            self._parsed[digest] = found
            while len(self._parsed) > MAX_CACHED:
                self._parsed.popitem(last=False)
        if isinstance(found, InvalidManifestError):
            raise found
        return found

    def load(
        self, roots: Iterable[Digest], *, is_held: Callable[[Digest], bool], read: Callable[[Digest], bytes]
    ) -> None:
        """Read the manifests of these images, as far as they are held and readable: for worker threads.

        Raises:
            ContentStoreUnavailableError: the store cannot be read.
        """
        for root in roots:
            try:
                wholeness(root, is_held=is_held, manifest=lambda digest: self.get(digest, read))
            except (InvalidManifestError, ContentNotFoundError):
                # The verdict on the loop, from the cache, comes to the same and says so.
                continue
