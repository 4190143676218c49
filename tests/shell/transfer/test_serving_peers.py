from collections.abc import Mapping

import pytest
import trio

from shell.transfer.bench import Blob, ServeStore
from spegel_gossip.content import (
    Availability,
    ContentNotFoundError,
    ContentStoreUnavailableError,
)
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Peer
from spegel_gossip.testing.blob_sources import MemoryReader
from spegel_gossip.testing.memory_store import MemoryStore
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.wire.client import PeerClient

SIZE = 1_000_003


class FailingStore(MemoryStore):
    """A store whose blobs can be opened, and read to the middle."""

    def __init__(self, data: bytes, *, fail_at: int) -> None:
        super().__init__()
        self.readers: list[MemoryReader] = []
        self._content = data
        self._fail_at = fail_at

    async def open(self, digest: Digest) -> MemoryReader:  # type: ignore[override]  # another class of reader
        await trio.lowlevel.checkpoint()
        if digest != Digest.of(self._content):
            raise ContentNotFoundError(digest)
        failure = ContentStoreUnavailableError("the disk is gone")
        self.readers.append(MemoryReader(self._content, fail_at=self._fail_at, failure=failure))
        return self.readers[-1]


async def ask(
    client: PeerClient,
    peer: Peer,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and as much of the body as came before FIN or Content-Length."""
    response = await client.open(peer, method, path, headers=headers or {})
    body = bytearray(response.head)
    wanted = 0 if method == "HEAD" else response.content_length
    while len(body) < wanted:
        data = await response.socket.recv(65_536)
        if not data:
            break
        body += data
    await response.aclose(drained=len(body) == wanted)
    return response.status, response.headers, bytes(body)


@pytest.mark.parametrize("path", ["/blobs/", "/manifests/"])
async def test_content_is_served_with_its_length_and_digest(
    path: str, client: PeerClient, serve_store: ServeStore, blob: Blob
) -> None:
    store = MemoryStore()
    digest = store.add_blob(blob(SIZE))
    peer = await serve_store("a", store)

    status, headers, body = await ask(client, peer, f"{path}{digest}")
    head_status, head_headers, nothing = await ask(client, peer, f"{path}{digest}", method="HEAD")

    assert (status, body) == (200, blob(SIZE))
    assert headers["content-length"] == str(SIZE)
    assert headers["docker-content-digest"] == str(digest)
    assert (head_status, head_headers, nothing) == (status, headers, b"")


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-", 10, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        ("bytes=5-99999999", 5, SIZE),
    ],
)
async def test_a_range_is_served_as_206(
    header: str, start: int, stop: int, client: PeerClient, serve_store: ServeStore, blob: Blob
) -> None:
    store = MemoryStore()
    digest = store.add_blob(blob(SIZE))
    peer = await serve_store("a", store)

    status, headers, body = await ask(client, peer, f"/blobs/{digest}", headers={"Range": header})

    assert (status, body) == (206, blob(SIZE)[start:stop])
    assert headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"


async def test_a_range_behind_the_end_is_answered_416_with_the_size(
    client: PeerClient, serve_store: ServeStore, blob: Blob
) -> None:
    store = MemoryStore()
    digest = store.add_blob(blob(SIZE))
    peer = await serve_store("a", store)

    status, headers, _ = await ask(client, peer, f"/blobs/{digest}", headers={"Range": f"bytes={SIZE}-"})

    assert (status, headers["content-range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        (f"/blobs/sha256:{'0' * 64}", "GET", 404),
        (f"/blobs/sha256:{'0' * 64}", "HEAD", 404),
        (f"/manifests/sha256:{'0' * 64}", "GET", 404),
        ("/blobs/sha256:short", "GET", 400),
        ("/blobs/../../etc/passwd", "GET", 400),
        ("/manifests/", "GET", 400),
        (f"/blobs/sha256:{'0' * 64}", "DELETE", 405),
    ],
)
async def test_what_cannot_be_served_is_refused_and_the_connection_lives_on(
    path: str, method: str, status: int, client: PeerClient, serve_store: ServeStore, blob: Blob
) -> None:
    store = MemoryStore()
    digest = store.add_blob(blob(10))
    peer = await serve_store("a", store)

    refused, _, _ = await ask(client, peer, path, method=method)
    _, _, body = await ask(client, peer, f"/blobs/{digest}")

    assert refused == status
    assert body == blob(10)


async def test_a_store_that_cannot_answer_is_no_miss(
    client: PeerClient, serve_store: ServeStore, blob: Blob
) -> None:
    store = MemoryStore()
    store.set_availability(Availability(is_connected=False, is_readable=False, reason="containerd is down"))
    peer = await serve_store("a", store)

    status, headers, _ = await ask(client, peer, f"/blobs/{Digest.of(blob(1))}")

    assert status == 503
    assert "spegel-gossip-busy" not in headers


async def test_a_disk_that_fails_in_the_middle_ends_the_answer_short_by_fin(
    client: PeerClient, serve_store: ServeStore, blob: Blob
) -> None:
    store = FailingStore(blob(SIZE), fail_at=300_000)
    peer = await serve_store("a", store)

    status, headers, body = await ask(client, peer, f"/blobs/{Digest.of(blob(SIZE))}")

    assert (status, headers["content-length"]) == (200, str(SIZE))
    # The end was read as an end: a reset would have raised, and taken bytes with it.
    assert 0 < len(body) <= 300_000
    assert blob(SIZE).startswith(body)
    assert store.readers[0].is_closed


class TestWithOneUpload:
    @pytest.fixture(params=["by number", "by rate"])
    def config(self, request: pytest.FixtureRequest) -> TransferConfig:
        if request.param == "by number":
            return TransferConfig(max_uploads=1)
        return TransferConfig(upload_rate=100 << 20, min_upload_rate=80 << 20)

    async def test_one_blob_too_many_is_sent_elsewhere_and_manifests_are_not(
        self, client: PeerClient, serve_store: ServeStore, blob: Blob
    ) -> None:
        large = blob(24 << 20)  # more than the buffers hold, so that it is still being sent
        store = MemoryStore()
        digest, manifest = store.add_blob(large), store.add_blob(b"{}")
        peer = await serve_store("a", store)
        first = await client.open(peer, "GET", f"/blobs/{digest}", headers={})

        status, headers, _ = await ask(client, peer, f"/blobs/{digest}")
        _, _, manifest_body = await ask(client, peer, f"/manifests/{manifest}")
        head_status, _, _ = await ask(client, peer, f"/blobs/{digest}", method="HEAD")
        await first.aclose(drained=False)

        assert (status, headers["spegel-gossip-busy"]) == (503, "1")
        assert manifest_body == b"{}"
        assert head_status == 200
        body = b""
        while not body:  # the slot comes back when the first one's end was noticed
            status, _, body = await ask(client, peer, f"/blobs/{digest}")
        assert body == large
