"""A containerd of a few lines: gRPC over a directory, for what a real one cannot be made to do."""

import queue
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

from spegel_gossip.oci.digest import Digest
from spegel_gossip.stores.containerd.api import (
    content_pb2,
    content_pb2_grpc,
    cri_pb2,
    cri_pb2_grpc,
    events_pb2_grpc,
    images_pb2,
    images_pb2_grpc,
    introspection_pb2,
    introspection_pb2_grpc,
    namespaces_pb2,
    namespaces_pb2_grpc,
    types_pb2,
    version_pb2,
    version_pb2_grpc,
)
from spegel_gossip.stores.containerd.config import ContainerdConfig

LIST_STEP = 100
"""Blobs in one message of a listing, as containerd sends them."""


class FakeContainerd:
    """What it holds is what a test put there; it says nothing of it unless told to."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.content = self.root / "io.containerd.content.v1.content"
        self.socket = directory / "containerd.sock"
        (self.content / "ingest").mkdir(parents=True)
        (self.content / "blobs" / "sha256").mkdir(parents=True)
        self.listed: dict[str, int] = {}
        self.images: dict[str, Any] = {}
        self.exported_root = str(self.content)
        self.namespaces = ["k8s.io"]
        self.infos = 0
        self.lists = 0
        self.aborts = 0
        self.refuses_aborts = False
        self.answers = threading.Event()
        self.answers.set()
        self.pull_came = threading.Event()
        self._asked = threading.Condition()
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._server: Any = None

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8))
        handlers = _Handlers(self)
        content_pb2_grpc.add_ContentServicer_to_server(handlers, self._server)
        cri_pb2_grpc.add_ImageServiceServicer_to_server(_Pulls(self), self._server)
        images_pb2_grpc.add_ImagesServicer_to_server(_Images(self), self._server)
        events_pb2_grpc.add_EventsServicer_to_server(handlers, self._server)
        introspection_pb2_grpc.add_IntrospectionServicer_to_server(handlers, self._server)
        namespaces_pb2_grpc.add_NamespacesServicer_to_server(_Namespaces(self), self._server)
        version_pb2_grpc.add_VersionServicer_to_server(handlers, self._server)
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def stop(self) -> None:
        self.answers.set()
        self.end_subscription()
        if self._server is not None:
            self._server.stop(0).wait()

    def count_info(self) -> None:
        with self._asked:
            self.infos += 1
            self._asked.notify_all()

    def count_list(self) -> None:
        with self._asked:
            self.lists += 1
            self._asked.notify_all()

    def wait_for_lists(self, number: int) -> None:
        with self._asked:
            assert self._asked.wait_for(lambda: self.lists >= number, timeout=15)

    def wait_for_infos(self, number: int) -> None:
        with self._asked:
            assert self._asked.wait_for(lambda: self.infos >= number, timeout=15)

    def config(self) -> ContainerdConfig:
        return ContainerdConfig(
            address=self.socket, root=self.root, call_timeout=1.0, ping_interval=0.2, max_retry_interval=0.2
        )

    def add_file(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        (self.content / "blobs" / "sha256" / digest.hex).write_bytes(data)
        return digest

    def add_blob(self, data: bytes) -> Digest:
        digest = self.add_file(data)
        self.listed[str(digest)] = len(data)
        return digest

    def add_ingest(self, digest: Digest, data: bytes, *, total: int | None = None) -> Path:
        directory = self.content / "ingest" / digest.hex[:16]
        directory.mkdir()
        (directory / "ref").write_text(f"k8s.io/1/layer-{digest}")
        (directory / "total").write_text(str(len(data) if total is None else total))
        (directory / "data").write_bytes(data)
        return directory

    def add_image(self, name: str, digest: str, size: int = 0, media_type: str = "") -> None:
        target = types_pb2.Descriptor(media_type=media_type, digest=digest, size=size)
        self.images[name] = images_pb2.Image(name=name, target=target, updated_at=Timestamp(seconds=7))

    def tell(self, topic: str, name: str) -> None:
        self.tell_raw(topic, images_pb2.ImageEvent(name=name).SerializeToString())

    def tell_raw(self, topic: str, value: bytes) -> None:
        event = AnyMessage(type_url="containerd.events.ImageCreate", value=value)
        self._events.put(types_pb2.Envelope(namespace="k8s.io", topic=topic, event=event))

    def end_subscription(self) -> None:
        self._events.put(None)

    def events(self) -> Iterator[Any]:
        while (event := self._events.get()) is not None:
            yield event


class _Handlers(
    content_pb2_grpc.ContentServicer,  # type: ignore[misc]  # generated, untyped
    events_pb2_grpc.EventsServicer,  # type: ignore[misc]  # generated, untyped
    introspection_pb2_grpc.IntrospectionServicer,  # type: ignore[misc]  # generated, untyped
    version_pb2_grpc.VersionServicer,  # type: ignore[misc]  # generated, untyped
):
    def __init__(self, fake: FakeContainerd) -> None:
        self._fake = fake

    def Info(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        self._fake.count_info()
        if request.digest not in self._fake.listed:
            context.abort(grpc.StatusCode.NOT_FOUND, "not found")
        size = self._fake.listed[request.digest]
        return content_pb2.InfoResponse(info=content_pb2.Info(digest=request.digest, size=size))

    def List(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: ANN401, N802  # gRPC's
        everything = [content_pb2.Info(digest=one, size=size) for one, size in self._fake.listed.items()]
        self._fake.count_list()
        for at in range(0, len(everything), LIST_STEP):
            yield content_pb2.ListContentResponse(info=everything[at : at + LIST_STEP])

    def ListStatuses(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        statuses = [
            content_pb2.Status(
                ref=(one / "ref").read_text().removeprefix("k8s.io/1/"),
                offset=(one / "data").stat().st_size,
                total=int((one / "total").read_text()),
            )
            for one in sorted((self._fake.content / "ingest").iterdir())
        ]
        return content_pb2.ListStatusesResponse(statuses=statuses)

    def Abort(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        self._fake.aborts += 1
        if self._fake.refuses_aborts:
            context.abort(grpc.StatusCode.UNKNOWN, "directory not empty")
        for one in (self._fake.content / "ingest").iterdir():
            if (one / "ref").read_text() == f"k8s.io/1/{request.ref}":
                shutil.rmtree(one)
        return Empty()

    def Subscribe(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: ANN401, N802  # gRPC's
        return self._fake.events()

    def Plugins(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        plugin = introspection_pb2.Plugin(exports={"root": self._fake.exported_root})
        return introspection_pb2.PluginsResponse(plugins=[plugin])

    def Version(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        self._fake.answers.wait()
        return version_pb2.VersionResponse(version="0.0")


class _Images(images_pb2_grpc.ImagesServicer):  # type: ignore[misc]  # generated, untyped
    def __init__(self, fake: FakeContainerd) -> None:
        self._fake = fake

    def Get(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        if request.name not in self._fake.images:
            context.abort(grpc.StatusCode.NOT_FOUND, "not found")
        return images_pb2.GetImageResponse(image=self._fake.images[request.name])

    def List(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        return images_pb2.ListImagesResponse(images=list(self._fake.images.values()))


class _Namespaces(namespaces_pb2_grpc.NamespacesServicer):  # type: ignore[misc]  # generated, untyped
    def __init__(self, fake: FakeContainerd) -> None:
        self._fake = fake

    def List(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        return namespaces_pb2.ListNamespacesResponse(
            namespaces=[namespaces_pb2.Namespace(name=one) for one in self._fake.namespaces]
        )


class _Pulls(cri_pb2_grpc.ImageServiceServicer):  # type: ignore[misc]  # generated, untyped
    def __init__(self, fake: FakeContainerd) -> None:
        self._fake = fake

    def PullImage(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # gRPC's
        self._fake.pull_came.set()
        self._fake.answers.wait()
        return cri_pb2.PullImageResponse()
