"""Requests of the distribution specification, as a mirror gets them, parsed once.

`ns` is containerd's: it names the registry that the mirror stands in for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import UnknownEndpointError
from spegel_gossip.oci.reference import TagName, check_repository, normalize_registry

# Greedy: a repository may itself have components called `manifests` or `blobs`.
_CONTENT = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)", re.DOTALL)

_ABSOLUTE = re.compile(r"https?://[^/]*(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """Which API is spoken here (`/v2/`, end-1)."""


@dataclass(frozen=True, slots=True)
class ManifestRequest:
    """A manifest by tag or by digest (end-3)."""

    registry: str
    repository: str
    reference: Digest | TagName


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """A blob (end-2)."""

    registry: str
    repository: str
    digest: Digest


DistributionRequest = ApiRequest | ManifestRequest | BlobRequest


def origin_path(path: str) -> str:
    """Return the path of a request target that may be a whole URL, as one through a proxy is.

    Every server must take that form (RFC 9112, section 3.2.2). Whatever else it is, it stays.
    """
    match = _ABSOLUTE.fullmatch(path)
    return path if match is None else match["path"] or "/"


def parse_request_untrusted(path: str, ns: str | None, *, default_registry: str) -> DistributionRequest:
    """Return what a request asks for.

    Args:
        path: the request's path, percent-decoded, without the query
        ns: the query's parameter of that name; without one, `default_registry` is meant
        default_registry: a registry's normal name

    Raises:
        UnknownEndpointError: the path is none of those that a mirror serves.
        InvalidReferenceError: the registry, the repository or the tag breaks the grammar.
        InvalidDigestError: the digest is not sha256 or sha512.
    """
    if path == "/v2/":
        return ApiRequest()
    match = _CONTENT.fullmatch(path)
    if match is None:
        raise UnknownEndpointError(path)
    registry = normalize_registry(ns) if ns else default_registry
    repository, reference = check_repository(match["repository"]), match["reference"]
    if match["kind"] == "blobs":
        return BlobRequest(registry, repository, Digest.parse(reference))
    if ":" in reference:
        return ManifestRequest(registry, repository, Digest.parse(reference))
    return ManifestRequest(registry, repository, TagName.make(registry, repository, reference))
