"""What a person types to mean a key: a digest, or an image by any of its names."""

from __future__ import annotations

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import Reference
from spegel_gossip.routing import Key

_DIGEST_PREFIXES = ("sha256:", "sha512:")


def parse_key(text: str) -> Key:
    """Return the key that `text` means; docker's short names work, and a digest goes before a tag.

    Raises:
        InvalidDigestError: if it begins like a digest and is none.
        InvalidReferenceError: if it is neither a digest nor an image reference.
    """
    # By the grammar `sha256:ab` is a tag of docker.io/library/sha256; nobody means that.
    if text.startswith(_DIGEST_PREFIXES):
        return Digest.parse(text)
    reference = Reference.parse(text)
    # An image named by both means the digest: the tag may have moved on.
    key = reference.digest or reference.tag_name
    if key is None:
        raise InvalidReferenceError(text, "it names neither a tag nor a digest")
    return key
