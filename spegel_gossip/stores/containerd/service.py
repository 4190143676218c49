"""containerd's gRPC API: besides `pulls`, the only module that knows grpc.

Everything here blocks and is called from worker threads: grpcio has no trio. Every
call has a deadline, because trio cannot cancel a thread. The generated stubs carry
no types, so what they return is checked or cast in this module and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, cast

import grpc
import structlog
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from spegel_gossip.content import ContentStoreUnavailableError
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError
from spegel_gossip.stores import metrics as store_metrics
from spegel_gossip.stores.containerd import metrics
from spegel_gossip.stores.containerd.api import (
    content_pb2,
    content_pb2_grpc,
    cri_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    images_pb2,
    images_pb2_grpc,
    introspection_pb2,
    introspection_pb2_grpc,
    namespaces_pb2,
    namespaces_pb2_grpc,
    version_pb2_grpc,
)
from spegel_gossip.stores.containerd.config import ContainerdConfig
from spegel_gossip.stores.containerd.records import ContentNews, ImageNews, News
from spegel_gossip.stores.records import ImageRecord, IngestRecord

log = structlog.get_logger(__name__)

MAX_BLOBS = 500_000
"""Blobs known of one namespace; a busy node has a few thousand. Beyond it the rest is not shared."""

MAX_IMAGES = 50_000
"""Images known of one namespace."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Of one gRPC answer: a list of 50,000 images fits. containerd itself sends 16 MiB at most by default."""

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # We make a channel an attempt; a shared pool would carry grpc's own back-off over.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # Some versions derive the authority from the socket's path, which grpc-go refuses.
    ("grpc.default_authority", "localhost"),
)


class ContainerdService:
    """One connection to containerd, seen from one namespace. Blocks: for worker threads only."""

    def __init__(self, config: ContainerdConfig) -> None:
        self._config = config
        self._metadata = (("containerd-namespace", config.namespace),)
        self._channel = grpc.insecure_channel(f"unix:{config.address}", options=_CHANNEL_OPTIONS)
        self._content: Any = content_pb2_grpc.ContentStub(self._channel)
        self._images: Any = images_pb2_grpc.ImagesStub(self._channel)
        self._events: Any = events_pb2_grpc.EventsStub(self._channel)
        self._introspection: Any = introspection_pb2_grpc.IntrospectionStub(self._channel)
        self._namespaces: Any = namespaces_pb2_grpc.NamespacesStub(self._channel)
        self._version: Any = version_pb2_grpc.VersionStub(self._channel)
        # Made here as all of them are: grpcio ends the process where a stub is made on a closed channel.
        self._cri_images: Any = cri_pb2_grpc.ImageServiceStub(self._channel)

    @property
    def cri_images(self) -> Any:  # noqa: ANN401  # stubs
        """The CRI plugin's image service; whoever calls it translates grpc's errors.

        Once the connection was closed, a call raises ValueError.
        """
        return self._cri_images

    def close(self) -> None:
        """Drop the connection; calls in flight fail."""
        self._channel.close()

    def version(self) -> str:
        """Return containerd's version: the cheapest sign of life."""
        return str(self._call(self._version.Version, Empty()).version)

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces."""
        answer = self._call(self._namespaces.List, namespaces_pb2.ListNamespacesRequest())
        return [str(namespace.name) for namespace in answer.namespaces]

    def content_root(self) -> str | None:
        """Return where containerd says its content store is, in its own mount namespace."""
        request = introspection_pb2.PluginsRequest(filters=["type==io.containerd.content.v1,id==content"])
        for plugin in self._call(self._introspection.Plugins, request).plugins:
            if "root" in plugin.exports:
                return str(plugin.exports["root"])
        return None

    def blobs(self) -> dict[Digest, int]:
        """Return all committed content of the namespace with its size."""
        found: dict[Digest, int] = {}
        for answer in self._stream(self._content.List, content_pb2.ListContentRequest()):
            for info in answer.info:
                digest = _digest(info.digest)
                if digest is not None:
                    found[digest] = int(info.size)
            if len(found) > MAX_BLOBS:
                log.warning("more blobs than can be known; the rest is not shared", limit=MAX_BLOBS)
                break
        return found

    def blob_size(self, digest: Digest) -> int | None:
        """Return the size of one blob of the namespace, or None if it is not there."""
        answer = self._find(self._content.Info, content_pb2.InfoRequest(digest=str(digest)))
        return None if answer is None else int(answer.info.size)

    def read(self, digest: Digest, offset: int, length: int) -> bytes | None:
        """Return up to `length` bytes of a blob from `offset`, or None if it is not there."""
        request = content_pb2.ReadContentRequest(digest=str(digest), offset=offset, size=length)
        try:
            return b"".join(
                cast("bytes", answer.data) for answer in self._stream(self._content.Read, request)
            )
        except _NotFoundError:
            return None

    def ingests(self) -> list[IngestRecord]:
        """Return the open ingests of the namespace."""
        answer = self._call(self._content.ListStatuses, content_pb2.ListStatusesRequest())
        return [IngestRecord(str(s.ref), int(s.offset), int(s.total)) for s in answer.statuses]

    def abort(self, ref: str) -> None:
        """Throw an ingest away; the only thing that is ever changed in containerd unasked."""
        self._find(self._content.Abort, content_pb2.AbortRequest(ref=ref))

    def images(self) -> list[ImageRecord]:
        """Return all images of the namespace whose target can be understood."""
        answer = self._call(
            self._images.List, images_pb2.ListImagesRequest(), timeout=self._config.list_timeout
        )
        if len(answer.images) > MAX_IMAGES:
            log.warning("more images than can be known; the rest is not shared", limit=MAX_IMAGES)
        records = (_image(image) for image in answer.images[:MAX_IMAGES])
        return [record for record in records if record is not None]

    def image(self, name: str) -> ImageRecord | None:
        """Return one image by its full name, or None if there is none."""
        answer = self._find(self._images.Get, images_pb2.GetImageRequest(name=name))
        return None if answer is None else _image(answer.image)

    def subscribe(self) -> Subscription:
        """Begin to listen to the namespace's news, for one reconcile interval."""
        namespace = self._config.namespace
        # One filter a topic: filters are alternatives, the parts of one are all required.
        filters = [f'namespace=="{namespace}",topic~="^/{kind}/"' for kind in ("images", "content")]
        stream = self._events.Subscribe(
            events_pb2.SubscribeRequest(filters=filters),
            timeout=self._config.reconcile_interval,
            metadata=self._metadata,
        )
        return Subscription(cast("_Stream", stream))

    def _call(self, method: Any, request: object, *, timeout: float | None = None) -> Any:  # noqa: ANN401  # stubs
        deadline = self._config.call_timeout if timeout is None else timeout
        try:
            return method(request, timeout=deadline, metadata=self._metadata)
        except (grpc.RpcError, ValueError) as exc:
            raise _translated(exc) from exc

    def _find(self, method: Any, request: object) -> Any:  # noqa: ANN401  # stubs
        try:
            return self._call(method, request)
        except _NotFoundError:
            return None

    def _stream(self, method: Any, request: object) -> Iterator[Any]:  # noqa: ANN401  # stubs
        try:
            yield from method(request, timeout=self._config.list_timeout, metadata=self._metadata)
        except (grpc.RpcError, ValueError) as exc:
            raise _translated(exc) from exc


class _Stream(Protocol):
    def __iter__(self) -> Iterator[Any]: ...

    def cancel(self) -> bool: ...


class Subscription:
    """News of the namespace, from now on."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def news(self) -> Iterator[News]:
        """Yield news until the subscription's time is up or it was cancelled.

        Raises:
            ContentStoreUnavailableError: containerd went away.
        """
        try:
            for envelope in self._stream:
                news = _news(str(envelope.topic), cast("bytes", envelope.event.value))
                if news is not None:
                    yield news
        except (grpc.RpcError, ValueError) as exc:
            if _code(exc) not in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}:
                raise _translated(exc) from exc

    def cancel(self) -> None:
        """End the news; may be called from any thread, and twice."""
        self._stream.cancel()


class _NotFoundError(ContentStoreUnavailableError):
    """containerd answered NOT_FOUND; becomes None before it leaves this module."""


def _code(exc: Exception) -> grpc.StatusCode | None:
    return exc.code() if isinstance(exc, grpc.Call) else None


def _translated(exc: Exception) -> ContentStoreUnavailableError:
    """Return our error for grpc's, or for the ValueError of a channel that was closed meanwhile."""
    code = _code(exc)
    if code is grpc.StatusCode.NOT_FOUND:
        return _NotFoundError("containerd has no such thing")
    metrics.RPC_ERRORS.labels(code="CLOSED" if code is None else code.name).inc()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ContentStoreUnavailableError(
            "containerd does not answer: look at its log, it may be overloaded or hung"
        )
    details = exc.details() if isinstance(exc, grpc.Call) else str(exc)
    return ContentStoreUnavailableError(f"containerd failed a call: {details}")


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidDigestError:
        return None


def _image(image: Any) -> ImageRecord | None:  # noqa: ANN401  # generated message
    digest = _digest(image.target.digest)
    if digest is None:
        log.warning("image skipped: its target is no digest", image=str(image.name)[:200])
        store_metrics.IMAGES_SKIPPED.inc()
        return None
    target = Descriptor(digest, int(image.target.size), str(image.target.media_type))
    updated_at = image.updated_at.seconds + image.updated_at.nanos / 1e9
    return ImageRecord(str(image.name), target, float(updated_at))


def _news(topic: str, event: bytes) -> News | None:
    try:
        return _parsed_news(topic, event)
    except DecodeError:
        log.warning(
            "event skipped: it cannot be parsed; the next comparison makes up for it", topic=topic[:100]
        )
        return None


def _parsed_news(topic: str, event: bytes) -> News | None:
    if topic.startswith("/images/"):
        name = str(images_pb2.ImageEvent.FromString(event).name)
        return ImageNews(name, is_deleted=topic == "/images/delete")
    if topic == "/content/create":
        digest = _digest(events_pb2.ContentEvent.FromString(event).digest)
        return None if digest is None else ContentNews(digest)
    return None
