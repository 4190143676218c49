"""What a node is asked, and how it says it stands. Arrays: fields are only ever appended.

One message begins a pull and asks after it: a request between members may arrive twice, so
that whoever is asked again by the same id says how far it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, cast

import msgpack

from spegel_gossip.errors import DecodeError
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import Reference
from spegel_gossip.pulling import PullProblem

PULL_PATH: Final = "/prefetch/pull"

ID_BYTES: Final = 16
MAX_IMAGE: Final = 1_024
"""Characters of an image's name."""

MAX_DETAIL: Final = 1_000
"""Characters of a failure's text."""

_MAX_COUNT: Final = 2**63 - 1


class PullState(IntEnum):
    """How far a node is. On the wire: only append."""

    WAITING = 1
    PULLING = 2
    DONE = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class PullAsk:
    """Have this image pulled, or say how far it is."""

    id: bytes
    image: Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class PullStatus:
    """How a node stands with an image."""

    state: PullState
    here: int = 0
    """Bytes of what was to come that are there."""

    total: int = 0
    """Bytes that were to come, once the manifest says so."""

    upstream: int = 0
    """Bytes of them from the registry."""

    peers: int = 0
    """Bytes of them from other nodes."""

    seconds: float = 0.0
    problem: PullProblem = PullProblem.NONE
    detail: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in {PullState.DONE, PullState.FAILED}


def encode_ask(ask: PullAsk) -> bytes:
    """Return the message."""
    return cast("bytes", msgpack.packb([ask.id, str(ask.image)]))


def encode_status(status: PullStatus) -> bytes:
    """Return the message."""
    counts = [status.here, status.total, status.upstream, status.peers, int(status.seconds * 1000)]
    detail = status.detail[:MAX_DETAIL]
    return cast("bytes", msgpack.packb([status.state.value, *counts, status.problem.value, detail]))


def decode_ask_untrusted(body: bytes) -> PullAsk:
    """Parse a question.

    Raises:
        DecodeError: for every malformed input, and nothing else.
    """
    id_, image = _fields(body, 2)
    if not isinstance(id_, bytes) or len(id_) != ID_BYTES:
        raise DecodeError("a prefetch without an id")
    if not isinstance(image, str) or len(image) > MAX_IMAGE:
        raise DecodeError("a prefetch without an image")
    try:
        return PullAsk(id_, Reference.parse(image))
    except InvalidReferenceError as exc:
        raise DecodeError(str(exc)) from exc


def decode_status_untrusted(body: bytes) -> PullStatus:
    """Parse an answer; of a later release's states nothing is known but that it goes on.

    Raises:
        DecodeError: for every malformed input, and nothing else.
    """
    state, here, total, upstream, peers, milliseconds, problem, detail = _fields(body, 8)
    if not isinstance(detail, str):
        raise DecodeError("a detail that is no text")
    states = {known.value: known for known in PullState}
    problems = {known.value: known for known in PullProblem}
    return PullStatus(
        state=states.get(_count(state), PullState.PULLING),
        here=_count(here),
        total=_count(total),
        upstream=_count(upstream),
        peers=_count(peers),
        seconds=_count(milliseconds) / 1000,
        problem=problems.get(_count(problem), PullProblem.FAILED),
        detail=detail[:MAX_DETAIL],
    )


def _fields(body: bytes, count: int) -> list[object]:
    try:
        fields = msgpack.unpackb(body, use_list=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as exc:
        raise DecodeError(f"not a prefetch message: {exc}") from exc
    if not isinstance(fields, list) or len(fields) < count:
        raise DecodeError("a prefetch message of too few fields")
    if any(isinstance(field, list | dict) for field in fields[:count]):
        raise DecodeError("a field that is none")
    return fields[:count]


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_COUNT:
        raise DecodeError("expected a count")
    return value
