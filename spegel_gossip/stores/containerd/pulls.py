"""Has containerd pull an image, by the interface through which the kubelet has it pull.

Of containerd's own interfaces only 2.x has one that pulls (the transfer service), and it knows no
credentials of the node; the CRI plugin has been there all along, reads the node's own registry configuration,
and goes to the mirrors of hosts.toml as for any pod. It works on the namespace k8s.io alone.

That an image is made is the second thing that this project changes in containerd (the first is an
abort of a wrong ingest), and it is never done but on an operator's word.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final, Protocol

import grpc
import trio

from spegel_gossip.content import ContentStoreUnavailableError
from spegel_gossip.oci.reference import Reference
from spegel_gossip.pulling import PullFailedError, PullProblem
from spegel_gossip.stores.containerd.api import cri_pb2
from spegel_gossip.stores.containerd.config import ContainerdConfig
from spegel_gossip.stores.containerd.link import Link
from spegel_gossip.stores.containerd.service import ContainerdService

NAMESPACE: Final = "k8s.io"
"""Into which the CRI plugin pulls, whatever it is asked."""

PULL_TIMEOUT: Final = 3_600.0
"""Seconds for one image: it ends a pull that nobody else would."""

MAX_PULLS: Final = 4
"""Threads that wait for a pull; those of given-up ones end as soon as their call is cancelled."""

MAX_DETAIL: Final = 600
"""Characters of what containerd says: the reason stands at its end, after the names of all that it tried."""

_UNAUTHORISED = re.compile(
    r"\b401\b|\b403\b|unauthori[sz]ed|insufficient_scope|authorization failed|access denied", re.IGNORECASE
)
_UNKNOWN = re.compile(r"\bnot found\b|\b404\b|manifest unknown|name unknown", re.IGNORECASE)


class _Future(Protocol):
    def result(self) -> object: ...

    def cancel(self) -> bool: ...


class ContainerdPuller:
    """A `pulling.ImagePuller` over containerd's socket."""

    def __init__(self, config: ContainerdConfig, link: Link) -> None:
        self._config = config
        self._link = link
        self._limiter: trio.CapacityLimiter | None = None

    async def pull(self, image: Reference) -> None:
        """Return once containerd has the image; a cancelled pull is cancelled in containerd too."""
        if self._config.namespace != NAMESPACE:
            raise PullFailedError(
                PullProblem.UNSUPPORTED,
                f"containerd pulls on demand into {NAMESPACE} only, and this node shares "
                f"{self._config.namespace} (--containerd-namespace)",
            )
        if self._limiter is None:
            self._limiter = trio.CapacityLimiter(MAX_PULLS)
        try:
            call = await self._link.ask(lambda service: _begin(service, str(image)))
        except ContentStoreUnavailableError as exc:
            raise PullFailedError(PullProblem.UNAVAILABLE, str(exc)) from exc
        try:
            await trio.to_thread.run_sync(_wait, call, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            call.cancel()


def _begin(service: ContainerdService, image: str) -> _Future:
    request = cri_pb2.PullImageRequest(image=cri_pb2.ImageSpec(image=image))
    try:
        future: _Future = service.cri_images.PullImage.future(request, timeout=PULL_TIMEOUT)
    except (grpc.RpcError, ValueError) as exc:
        # The connection was given up while this waited for a thread.
        raise PullFailedError(PullProblem.UNAVAILABLE, f"containerd went away: {exc}") from exc
    return future


def _wait(call: _Future) -> None:
    with suppress(grpc.FutureCancelledError):
        try:
            call.result()
        except grpc.RpcError as exc:
            raise translated(exc) from exc


def translated(exc: Exception) -> PullFailedError:
    """Return our error for what the CRI plugin says; versions differ in codes, so its words count too."""
    code = exc.code() if isinstance(exc, grpc.Call) else None
    details = str(exc.details() if isinstance(exc, grpc.Call) else exc)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return PullFailedError(
            PullProblem.UNSUPPORTED,
            "this containerd has no CRI plugin (it is in disabled_plugins, or failed to load: see "
            "`ctr plugins ls`), and without it nobody can have it pull",
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return PullFailedError(
            PullProblem.TIMED_OUT, f"containerd had not pulled it within {PULL_TIMEOUT:.0f} s"
        )
    is_gone = code is grpc.StatusCode.UNAVAILABLE and "failed to pull" not in details
    # CANCELLED: by nobody but this node, whose link to containerd was cut meanwhile.
    if is_gone or code is grpc.StatusCode.CANCELLED:
        return PullFailedError(PullProblem.UNAVAILABLE, f"containerd went away: {details[-MAX_DETAIL:]}")
    problem = PullProblem.FAILED
    if _UNAUTHORISED.search(details):
        problem = PullProblem.UNAUTHORISED
    elif code is grpc.StatusCode.NOT_FOUND or _UNKNOWN.search(details):
        problem = PullProblem.UNKNOWN_IMAGE
    return PullFailedError(problem, details[-MAX_DETAIL:])
