"""Pushes an artifact to a registry over one plain HTTP connection, as distribution-spec says."""

import http.client
from urllib.parse import urlencode

from lab.images import Artifact, Blob


class PushError(RuntimeError):
    """The registry refused a step of a push; the message carries its answer."""


def push(
    connection: http.client.HTTPConnection, artifact: Artifact, repository: str, tag: str | None
) -> None:
    """Push blobs, then manifests, children first; the root gets the tag too, if there is one.

    Raises:
        PushError: the registry answered anything but 201 or 202.
    """
    for blob in {one.digest: one for one in artifact.blobs}.values():
        _push_blob(connection, blob, repository)
    for manifest in artifact.manifests:
        _push_manifest(connection, manifest, repository, manifest.digest)
    if tag is not None:
        _push_manifest(connection, artifact.root, repository, tag)


def _push_blob(connection: http.client.HTTPConnection, blob: Blob, repository: str) -> None:
    connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
    begun = connection.getresponse()
    text = begun.read()
    location = begun.headers["Location"]
    if begun.status != http.client.ACCEPTED or location is None:
        raise PushError(f"upload to {repository} not begun: {begun.status} {text!r}")
    where = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': blob.digest})}"
    headers = {"Content-Length": str(blob.size), "Content-Type": "application/octet-stream"}
    connection.request("PUT", where, body=blob.chunks(), headers=headers)
    _expect_created(connection, f"{blob.digest} in {repository}")


def _push_manifest(
    connection: http.client.HTTPConnection, manifest: Blob, repository: str, reference: str
) -> None:
    path = f"/v2/{repository}/manifests/{reference}"
    connection.request(
        "PUT", path, body=b"".join(manifest.chunks()), headers={"Content-Type": manifest.media_type}
    )
    _expect_created(connection, f"manifest {reference} in {repository}")


def _expect_created(connection: http.client.HTTPConnection, what: str) -> None:
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != http.client.CREATED:
        raise PushError(f"{what} not stored: {answer.status} {text!r}")
