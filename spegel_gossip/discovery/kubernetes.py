"""Seeds from the EndpointSlices of a Service: `--discovery kubernetes`.

The API server is watched from a thread of its own, so it may be away, slow or behind a
policy that drops its packets, and nothing here waits for it: what it said last is what
is known. This module is imported only where it is chosen; the client alone takes more
memory than the rest of a node.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import trio
import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration, DiscoveryV1Api
from kubernetes.config import ConfigException, load_incluster_config

from spegel_gossip.discovery.endpoint_slices import EndpointSlices
from spegel_gossip.discovery.source import DiscoveryError
from spegel_gossip.swim.address import Address

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT: Final = 5.0
LIST_TIMEOUT: Final = 15.0
WATCH_LENGTH: Final = 240.0
"""Seconds after which the API server is asked to end a watch; a list follows."""

WATCH_SLACK: Final = 10.0
"""Seconds over its length after which a watch that says nothing is given up: its packets are dropped."""

FIRST_BACK_OFF: Final = 1.0
LONGEST_BACK_OFF: Final = 60.0

PATIENCE: Final = 1.5
"""Seconds for which the first question waits for the first answer."""

MAX_LIST_BYTES: Final = 16 * 1024 * 1024
MAX_LINE_BYTES: Final = 2 * 1024 * 1024
"""An object in etcd is at most 1.5 MiB."""

_FAILURES: Final = (urllib3.exceptions.HTTPError, ApiException, ConfigException, DiscoveryError, OSError)

_CHUNK: Final = 64 * 1024
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class KubernetesSeeds:
    """The endpoints of one Service, each a member on the peer port."""

    def __init__(
        self,
        service: str,
        *,
        port: int,
        rng: random.Random,
        configure: Callable[[Configuration], None] = load_incluster_config,
        first_back_off: float = FIRST_BACK_OFF,
        watch_length: float = WATCH_LENGTH,
        watch_slack: float = WATCH_SLACK,
    ) -> None:
        """Take what to watch; nothing is asked before the first `find`.

        Args:
            service: `NAME`, or `NAMESPACE/NAME`; without a namespace, the pod's own
            port: every member's
            rng: spreads the questions of many nodes
            configure: says where the API server is and who we are; by default, as a pod is told
            first_back_off: seconds after the first failure, doubled with each further one
            watch_length: seconds of one watch
            watch_slack: seconds after which one that did not end is given up
        """
        self._service = service
        self._rng = rng
        self._configure = configure
        self._first_back_off = first_back_off
        self._watch_length = watch_length
        self._watch_slack = watch_slack
        self._slices = EndpointSlices(port=port)
        self._known: tuple[Address, ...] | None = None
        self._problem = "no answer from the API server yet"
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The flag and its value."""
        return f"--kubernetes-service {self._service}"

    async def find(self) -> Sequence[Address]:
        """Return what the API server said last, however long ago; the first call begins to watch.

        Raises:
            DiscoveryError: it has not said anything yet.
        """
        if self._thread is None:
            # A daemon: a read that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name="endpoint-slices", daemon=True)
            self._thread.start()
        if not self._asked.is_set():
            await trio.to_thread.run_sync(self._asked.wait, PATIENCE, abandon_on_cancel=True)
        if self._known is None:
            raise DiscoveryError(self._problem)
        return self._known

    def close(self) -> None:
        """Let the thread end after what it is waiting for."""
        self._closing.set()

    def _run(self) -> None:
        back_off = self._first_back_off
        was_failing = False
        while not self._closing.is_set():
            before = self._known
            try:
                self._follow()
                back_off, was_failing = self._first_back_off, False
            except _FAILURES as exc:
                self._problem = f"the API server cannot be asked: {_words(exc)}"
                if self._known is not before:
                    # It did answer; that a watch breaks is what watches do.
                    back_off, was_failing = self._first_back_off, False
                elif not was_failing and self._known is not None:
                    was_failing = True
                    log.warning(
                        "EndpointSlices are not watched now, going on with those known",
                        service=self._service,
                        problem=self._problem,
                    )
            self._asked.set()
            self._closing.wait(back_off * self._rng.uniform(0.5, 1.5))
            back_off = min(2 * back_off, LONGEST_BACK_OFF)

    def _follow(self) -> None:
        """List once, then apply changes until the watch ends."""
        configuration = Configuration()
        # Ours are the tries; urllib3's own three would hide a black hole for as many timeouts.
        configuration.retries = False
        self._configure(configuration)
        with ApiClient(configuration) as client:
            api = DiscoveryV1Api(client)
            version = self._list(api)
            self._asked.set()
            for line in self._changes(api, version):
                self._slices.read_change_untrusted(line)
                self._known = self._slices.addresses
                if self._closing.is_set():
                    return

    def _list(self, api: DiscoveryV1Api) -> str:
        response = self._ask(api, LIST_TIMEOUT)
        try:
            body = response.read(MAX_LIST_BYTES + 1, decode_content=True)
        finally:
            response.close()
        if len(body) > MAX_LIST_BYTES:
            raise DiscoveryError(f"its list of EndpointSlices is longer than {MAX_LIST_BYTES} bytes")
        version = self._slices.read_list_untrusted(body)
        self._known = self._slices.addresses
        return version

    def _changes(self, api: DiscoveryV1Api, version: str) -> Iterator[bytes]:
        response = self._ask(
            api,
            self._watch_length + self._watch_slack,
            watch=True,
            allow_watch_bookmarks=True,
            resource_version=version,
            timeout_seconds=max(1, round(self._watch_length)),
        )
        rest = b""
        try:
            for chunk in response.stream(_CHUNK, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line for line in lines if line.strip())
                if len(rest) > MAX_LINE_BYTES:
                    raise DiscoveryError(f"a change is longer than {MAX_LINE_BYTES} bytes")
        finally:
            response.close()

    def _ask(self, api: DiscoveryV1Api, read_timeout: float, **further: Any) -> urllib3.HTTPResponse:  # noqa: ANN401
        namespace, _, name = self._service.rpartition("/")
        ask: Any = api.list_namespaced_endpoint_slice  # not preloading, it returns what urllib3 does
        response: urllib3.HTTPResponse = ask(
            namespace or _own_namespace(),
            label_selector=f"kubernetes.io/service-name={name}",
            _preload_content=False,
            _request_timeout=(CONNECT_TIMEOUT, read_timeout),
            **further,
        )
        return response


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError as exc:
        raise DiscoveryError(
            f"{_NAMESPACE_FILE} cannot be read: mount the ServiceAccount's token, or name the namespace"
        ) from exc


def _words(error: Exception) -> str:
    if isinstance(error, ApiException):
        remedy = ": its Role must allow get, list and watch of EndpointSlices" if error.status == 403 else ""
        return f"it answered {error.status} {error.reason}{remedy}"
    return str(error) or type(error).__name__
