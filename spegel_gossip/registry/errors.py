"""From failures to HTTP: the only table of it, and the specification's error body.

The message says what happened and what the reader should do next. To containerd
404 is the one polite "no": it goes on to the registry itself. 408 and 429 it would
repeat here, so they are never sent. A content store that fails is not in the table:
other nodes are asked then, and theirs is the answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import (
    InvalidDigestError,
    InvalidRangeError,
    InvalidReferenceError,
    UnknownEndpointError,
)
from spegel_gossip.oci.range import unsatisfied_content_range
from spegel_gossip.oci.reference import TagName
from spegel_gossip.registry.answer import Answer, Kind, Outcome
from spegel_gossip.routing import AllHoldersFailedError, NoHolderError, OwnersUnreachableError

ALLOWED_METHODS = "GET, HEAD"
"""The Allow header of a 405: a mirror is only read."""


class FilteredError(SpegelGossipError):
    """The operator keeps this name out of the mirror."""

    def __init__(self, name: str) -> None:
        """Keep the name, `registry/repository[:tag]`."""
        self.name = name
        super().__init__(f"--registry-filter or --mirror-registry keeps {name} out of this mirror")


class OutOfScopeError(SpegelGossipError):
    """No image of the repository that is here reaches the digest."""

    def __init__(self, repository: str, digest: Digest) -> None:
        """Keep what was asked for."""
        self.repository = repository
        self.digest = digest
        super().__init__(f"--repository-scope: no image of {repository} on this node reaches {digest}")


class TagLeftToUpstreamError(SpegelGossipError):
    """The policy for this tag lets the cluster answer not at all, or not with what it knows."""

    def __init__(self, name: TagName) -> None:
        """Keep the tag."""
        self.name = name
        super().__init__(f"--tag-policy leaves {name} to the registry")


class NotAManifestError(SpegelGossipError):
    """There is content of this digest, and it is not a manifest."""

    def __init__(self, digest: Digest) -> None:
        """Keep the digest."""
        self.digest = digest
        super().__init__(f"{digest} is not a manifest")


class NotHereError(NoHolderError):
    """A registry without a cluster behind it does not have what it was asked for."""

    def __str__(self) -> str:
        """Say so: there are no nodes to speak of."""
        return f"{self.key} is not in this registry"


class MethodNotAllowedError(SpegelGossipError):
    """Somebody wants to change something through a mirror."""

    def __init__(self, method: str) -> None:
        """Keep the method."""
        self.method = method
        super().__init__(f"{method} is not served here")


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """How one class of failure is told."""

    status: int
    code: str
    """The specification's code; empty for the one that fits a manifest or a blob that is not here."""

    advice: str
    """What the reader should do next."""

    outcome: Outcome = Outcome.MISS


_UPSTREAM = "containerd will ask the registry itself"
_FIX_REQUEST = "correct the request"

ANSWERS: tuple[tuple[type[Exception], ErrorAnswer], ...] = (
    (NotHereError, ErrorAnswer(404, "", "`spegel-gossip pull` puts images into its layout")),
    (NoHolderError, ErrorAnswer(404, "", _UPSTREAM)),
    (OwnersUnreachableError, ErrorAnswer(404, "", f"{_UPSTREAM}; look at `spegel-gossip members`")),
    (AllHoldersFailedError, ErrorAnswer(404, "", f"{_UPSTREAM}; `detail` says what each attempt met")),
    (NotAManifestError, ErrorAnswer(404, "MANIFEST_UNKNOWN", "ask for it as a blob")),
    (TagLeftToUpstreamError, ErrorAnswer(404, "MANIFEST_UNKNOWN", _UPSTREAM)),
    (OutOfScopeError, ErrorAnswer(404, "", _UPSTREAM, Outcome.FILTERED)),
    (FilteredError, ErrorAnswer(404, "NAME_UNKNOWN", _UPSTREAM, Outcome.FILTERED)),
    (InvalidRangeError, ErrorAnswer(416, "RANGE_INVALID", "ask for bytes that it has", Outcome.ERROR)),
    (InvalidDigestError, ErrorAnswer(400, "DIGEST_INVALID", _FIX_REQUEST, Outcome.ERROR)),
    (InvalidReferenceError, ErrorAnswer(400, "NAME_INVALID", _FIX_REQUEST, Outcome.ERROR)),
    (
        UnknownEndpointError,
        ErrorAnswer(
            404,
            "UNSUPPORTED",
            "a mirror has manifests and blobs; ask the registry for the rest",
            Outcome.ERROR,
        ),
    ),
    (MethodNotAllowedError, ErrorAnswer(405, "UNSUPPORTED", "send it to the registry itself", Outcome.ERROR)),
)
"""First match wins. What is not here is a bug and becomes a logged 500."""

_BUG = ErrorAnswer(500, "UNKNOWN", "see this node's log and report it", Outcome.ERROR)
_UNKNOWN_CODES = {Kind.MANIFEST: "MANIFEST_UNKNOWN", Kind.BLOB: "BLOB_UNKNOWN", Kind.OTHER: "UNSUPPORTED"}


def answer_failure(failure: SpegelGossipError, kind: Kind) -> Answer | None:
    """Return how a failure is told to the client, or None where the table does not know it."""
    for failure_type, answer in ANSWERS:
        if isinstance(failure, failure_type):
            headers: dict[str, str] = {}
            if isinstance(failure, InvalidRangeError):
                headers = {"Accept-Ranges": "bytes", "Content-Range": unsatisfied_content_range(failure.size)}
            elif isinstance(failure, MethodNotAllowedError):
                headers = {"Allow": ALLOWED_METHODS}
            detail = list(failure.attempts) if isinstance(failure, AllHoldersFailedError) else None
            return _error(answer, f"{failure}; {answer.advice}", kind, detail, headers)
    return None


def answer_bug(kind: Kind) -> Answer:
    """Return what the client gets when we failed in a way nobody foresaw."""
    return _error(_BUG, f"the mirror failed; {_BUG.advice}", kind, None, {})


def _error(answer: ErrorAnswer, message: str, kind: Kind, detail: object, headers: dict[str, str]) -> Answer:
    error: dict[str, object] = {"code": answer.code or _UNKNOWN_CODES[kind], "message": message}
    if detail is not None:
        error["detail"] = detail
    return Answer.of_bytes(
        answer.status,
        json.dumps({"errors": [error]}).encode(),
        {"Content-Type": "application/json", **headers},
        outcome=answer.outcome,
    )
