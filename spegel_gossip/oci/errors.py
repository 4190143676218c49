"""What can be wrong with a name or a digest that somebody sent us."""

from spegel_gossip.errors import SpegelGossipError


class InvalidDigestError(SpegelGossipError, ValueError):
    """The text is not a digest that this mirror serves."""

    def __init__(self, text: str) -> None:
        """Keep the offending text, cut to a length fit for a log."""
        self.text = text[:200]
        super().__init__(f"not a sha256 or sha512 digest: {self.text!r}")


class InvalidReferenceError(SpegelGossipError, ValueError):
    """The text is not an image reference, repository or tag."""

    def __init__(self, text: str, reason: str) -> None:
        """Keep the offending text, cut to a length fit for a log, and why."""
        self.text = text[:300]
        self.reason = reason
        super().__init__(f"not an image reference: {self.text!r}: {reason}")


class UnknownEndpointError(SpegelGossipError, ValueError):
    """The path is none of those that a mirror serves: 404."""

    def __init__(self, path: str) -> None:
        """Keep the offending path, cut to a length fit for a log."""
        self.path = path[:300]
        super().__init__(f"nothing is served at {self.path!r}")


class InvalidManifestError(SpegelGossipError, ValueError):
    """The bytes are not a manifest, or one past the limits."""


class InvalidRangeError(SpegelGossipError, ValueError):
    """The Range header cannot be satisfied for a blob of this size: 416."""

    def __init__(self, text: str, size: int) -> None:
        """Keep the header and the size of the blob it was asked of."""
        self.text = text[:200]
        self.size = size
        super().__init__(f"range {self.text!r} lies outside a blob of {size} bytes")
