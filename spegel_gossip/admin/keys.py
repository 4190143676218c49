"""What a person types to mean a key: a digest, or an image by any of its names."""

from __future__ import annotations

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidReferenceError
from spegel_gossip.oci.reference import Reference
from spegel_gossip.routing import Key


def parse_key(text: str) -> Key:
    """Return the key that `text` means; docker's short names work, and a digest goes before a tag.

    Raises:
        InvalidReferenceError: if it is neither a digest nor an image reference.
    """
    try:
        return Digest.parse(text)
    except InvalidDigestError:
        reference = Reference.parse(text)
    # An image named by both means the digest: the tag may have moved on.
    key = reference.digest or reference.tag_name
    if key is None:
        raise InvalidReferenceError(text, "it names neither a tag nor a digest")
    return key
