"""One question to one holder: ask, and look whether the answer can be what was asked for."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidRangeError
from spegel_gossip.routing import Peer
from spegel_gossip.transfer.failures import HolderFailedError, Reason
from spegel_gossip.transfer.readers import parse_others_untrusted
from spegel_gossip.transfer.tail import BEHIND_HEADER, TAIL_HEADER, TailRequest
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.errors import PeerRefusedError, PeerUnreachableError, WireError
from spegel_gossip.wire.response import PeerResponse

BUSY_HEADER = "Spegel-Gossip-Busy"
"""On a 503: it has the blob and no upload to spare."""

TRY_HEADER = "Spegel-Gossip-Try"
"""Beside it: the names of nodes that read the blob from it now, and so have a part of it."""

BLOBS_PATH = "/blobs/"
MANIFESTS_PATH = "/manifests/"

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a holder."""

    digest: Digest
    start: int = 0
    stop: int | None = None
    size: int | None = None
    """Bytes in the whole blob, once a first holder said so: the next ones must agree."""

    @property
    def range_header(self) -> str | None:
        """The Range header, None for the whole blob."""
        if self.start == 0 and self.stop is None:
            return None
        return f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A holder's answer whose head is in and fits; the body is still to be read."""

    response: PeerResponse
    start: int
    stop: int
    size: int
    """Bytes in the whole blob, as this holder says."""


async def ask(
    client: PeerClient, peer: Peer, method: str, path: str, *, headers: Mapping[str, str], patience: float
) -> PeerResponse:
    """Return the answer's head, which is 200 or 206; anything else means the next holder.

    Args:
        client: the process's one
        peer: the holder
        method: GET or HEAD
        path: with the digest
        headers: of the request
        patience: seconds for connecting and the head of the answer

    Raises:
        HolderFailedError: no answer, or one that is no.
        InvalidRangeError: the blob is shorter than the range's start.
    """
    try:
        with trio.move_on_after(patience):
            response = await client.open(peer, method, path, headers=headers)
            if response.status in {200, 206}:
                return response
            await response.aclose(drained=len(response.head) == response.content_length)
            raise _refusal(response, headers)
    except PeerRefusedError as exc:
        raise HolderFailedError(Reason.REFUSED, exc.reason) from exc
    except PeerUnreachableError as exc:
        raise HolderFailedError(Reason.UNREACHABLE, exc.reason) from exc
    except WireError as exc:
        raise HolderFailedError(Reason.WRONG_ANSWER, exc.reason) from exc
    raise HolderFailedError(Reason.UNREACHABLE, f"no answer within {patience:g} s")


async def open_blob(
    client: PeerClient, peer: Peer, wanted: Wanted, *, patience: float, tail: TailRequest | None = None
) -> Opened:
    """Ask a holder for a blob, or a part of it.

    Args:
        client: the process's one
        peer: the holder
        wanted: what of it
        patience: seconds for the first byte
        tail: what to tell a holder that is still receiving the blob itself

    Raises:
        HolderFailedError: as for `ask`, or the answer is not what was asked for.
        InvalidRangeError: the blob is shorter than the range's start.
    """
    range_header = wanted.range_header
    headers = {} if range_header is None else {"Range": range_header}
    if tail is not None:
        headers[TAIL_HEADER] = tail.header()
    give_up_at = trio.current_time() + patience
    response = await ask(
        client, peer, "GET", f"{BLOBS_PATH}{wanted.digest}", headers=headers, patience=patience
    )
    try:
        opened = _check(response, wanted)
        if opened.stop > opened.start and not response.head:
            await _wait_for_first_byte(response, give_up_at)
    except BaseException:
        # There may be any number of bytes behind that head, so the connection goes with them.
        response.close(drained=False)
        raise
    return opened


async def _wait_for_first_byte(response: PeerResponse, give_up_at: float) -> None:
    """Return when there is one: a head is a promise, and ours is not made on another's promise.

    Once we have answered 200, a source that never sends a byte can only be replaced, or
    else end in an empty answer, of which containerd tolerates three.
    """
    with trio.move_on_at(give_up_at):
        try:
            await trio.lowlevel.wait_readable(response.socket)
            has_byte = bool(await response.socket.recv(1, socket.MSG_PEEK))
        except OSError as exc:
            raise HolderFailedError(Reason.ENDED, f"its connection broke: {exc}") from exc
        if not has_byte:
            raise HolderFailedError(Reason.EMPTY, "it ended before its first byte")
        return
    raise HolderFailedError(Reason.STALLED, "it answered, and sent no byte")


def _check(response: PeerResponse, wanted: Wanted) -> Opened:
    """Compare a 200 or 206 with what was asked for."""
    if wanted.range_header is None:
        if response.status != 200:
            raise HolderFailedError(
                Reason.WRONG_ANSWER, f"it answered {response.status} without a range asked"
            )
        opened = Opened(response, 0, response.content_length, response.content_length)
    else:
        value = response.headers.get("content-range", "")
        match = _CONTENT_RANGE.fullmatch(value)
        if response.status != 206 or match is None:
            raise HolderFailedError(
                Reason.WRONG_ANSWER,
                f"it answered {response.status} with Content-Range {value[:80]!r} to a range",
            )
        first, last, size = (int(text) for text in match.groups())
        opened = Opened(response, first, last + 1, size)
        promised = min(size, size if wanted.stop is None else wanted.stop)
        if (opened.start, opened.stop) != (wanted.start, promised):
            raise HolderFailedError(Reason.WRONG_ANSWER, f"it sends {value[:80]}, not {wanted.range_header}")
        if response.content_length != opened.stop - opened.start:
            raise HolderFailedError(
                Reason.WRONG_ANSWER, f"Content-Length {response.content_length} does not fit {value[:80]}"
            )
    if wanted.size is not None and opened.size != wanted.size:
        raise HolderFailedError(Reason.WRONG_ANSWER, f"its blob has {opened.size} bytes, not {wanted.size}")
    return opened


def _refusal(response: PeerResponse, headers: Mapping[str, str]) -> HolderFailedError | InvalidRangeError:
    status = response.status
    if status == 404:
        return HolderFailedError(Reason.MISS, "it does not have it")
    if status == 416 and (match := _UNSATISFIED.fullmatch(response.headers.get("content-range", ""))):
        return InvalidRangeError(headers.get("Range", ""), int(match[1]))
    if status == 503 and BUSY_HEADER.lower() in response.headers:
        others = parse_others_untrusted(response.headers.get(TRY_HEADER.lower()))
        return HolderFailedError(Reason.BUSY, "it is busy", others)
    if status == 503 and BEHIND_HEADER.lower() in response.headers:
        return HolderFailedError(Reason.STALLED, "it is not ahead of us")
    if status >= 500:
        return HolderFailedError(Reason.UNAVAILABLE, f"it answered {status}")
    return HolderFailedError(Reason.WRONG_ANSWER, f"it answered {status}")
