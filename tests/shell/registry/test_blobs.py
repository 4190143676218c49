from __future__ import annotations

import random

import pytest

from spegel_gossip.content import Availability
from spegel_gossip.oci.digest import Digest
from spegel_gossip.testing.blob_sources import ScriptedSource, Then
from spegel_gossip.testing.http_client import HttpClient
from spegel_gossip.testing.memory_peers import MemoryFetcher
from spegel_gossip.testing.memory_store import MemoryStore

BLOB = random.Random(7).randbytes(300_000)
DIGEST = Digest.of(BLOB)
PATH = f"/v2/library/nginx/blobs/{DIGEST}?ns=docker.io"
UNAVAILABLE = Availability(is_connected=False, is_readable=False, reason="containerd.sock refused")


@pytest.fixture(params=[True, False], ids=["extension", "plain"])
def sends_blobs_itself(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["here", "at a peer"])
def held(request: pytest.FixtureRequest, store: MemoryStore, fetcher: MemoryFetcher) -> str:
    if request.param == "here":
        store.add_blob(BLOB)
    else:
        fetcher.add_blob(BLOB)
    return str(request.param)


async def test_a_blob_comes_whole(client: HttpClient, held: str) -> None:
    reply = await client.ask(PATH)

    assert reply.status == 200
    assert reply.body == BLOB
    assert reply.headers["content-length"] == str(len(BLOB))
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["docker-content-digest"] == str(DIGEST)
    assert reply.headers["etag"] == f'"{DIGEST}"'
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.headers["spegel-gossip-source"] == ("local" if held == "here" else "source--1")
    assert "content-encoding" not in reply.headers


async def test_head_is_get_without_the_body(client: HttpClient, held: str) -> None:
    got = await client.ask(PATH)
    headed = await client.ask(PATH, method="HEAD")

    assert headed.status == got.status
    assert headed.body == b""
    varies = {"date", "spegel-gossip-source"}
    assert {k: v for k, v in headed.headers.items() if k not in varies} == {
        k: v for k, v in got.headers.items() if k not in varies
    }


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100000-199999", 100_000, 200_000),
        ("bytes=299999-", 299_999, 300_000),
        ("bytes=0-", 0, 300_000),
        ("bytes=1000-999999999", 1000, 300_000),
        ("bytes=-1", 299_999, 300_000),
        ("bytes=-300000", 0, 300_000),
        ("bytes=-999999", 0, 300_000),
    ],
)
async def test_a_range_is_answered_206(
    client: HttpClient, held: str, header: str, start: int, stop: int
) -> None:
    reply = await client.ask(PATH, headers=[("Range", header)])

    assert reply.status == 206
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BLOB)}"
    assert reply.headers["content-length"] == str(stop - start)
    assert reply.headers["docker-content-digest"] == str(DIGEST)
    assert reply.body == BLOB[start:stop]


@pytest.mark.parametrize("header", ["bytes=300000-", "bytes=300000-400000", "bytes=-0"])
async def test_a_range_past_the_end_is_answered_416_with_the_size(
    client: HttpClient, held: str, header: str
) -> None:
    reply = await client.ask(PATH, headers=[("Range", header)])

    assert reply.status == 416
    assert reply.headers["content-range"] == f"bytes */{len(BLOB)}"
    assert reply.json()["errors"][0]["code"] == "RANGE_INVALID"
    assert (await client.ask(PATH, headers=[("Range", "bytes=0-1")])).status == 206, "the connection goes on"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=0-1", "bytes=x", "bytes=5-2", ""])
async def test_a_range_that_may_be_ignored_gives_the_whole_blob(
    client: HttpClient, held: str, header: str
) -> None:
    reply = await client.ask(PATH, headers=[("Range", header)])

    assert reply.status == 200
    assert reply.body == BLOB


async def test_a_range_of_a_head_is_ignored(client: HttpClient, held: str) -> None:
    # RFC 9110, section 14.2: range handling is defined for GET alone.
    reply = await client.ask(PATH, method="HEAD", headers=[("Range", "bytes=0-9")])

    assert reply.status == 200
    assert reply.headers["content-length"] == str(len(BLOB))


async def test_if_range_with_another_tag_gives_the_whole_blob(client: HttpClient, held: str) -> None:
    same = await client.ask(PATH, headers=[("Range", "bytes=0-9"), ("If-Range", f'"{DIGEST}"')])
    other = await client.ask(PATH, headers=[("Range", "bytes=0-9"), ("If-Range", '"other"')])

    assert (same.status, same.body) == (206, BLOB[:10])
    assert (other.status, other.body) == (200, BLOB)


async def test_nothing_is_encoded_however_the_client_asks(client: HttpClient, held: str) -> None:
    reply = await client.ask(PATH, headers=[("Accept-Encoding", "zstd, gzip, deflate")])

    assert "content-encoding" not in reply.headers
    assert reply.body == BLOB


async def test_an_empty_blob_is_a_blob(
    client: HttpClient, store: MemoryStore, fetcher: MemoryFetcher
) -> None:
    fetcher.add_blob(b"")
    path = f"/v2/x/blobs/{Digest.of(b'')}"
    for _ in range(2):
        assert (await client.ask(path)).headers["content-length"] == "0"
        assert (await client.ask(path, method="HEAD")).status == 200
        assert (await client.ask(path, headers=[("Range", "bytes=-5")])).status == 200
        assert (await client.ask(path, headers=[("Range", "bytes=0-")])).status == 416
        store.add_blob(b"")


async def test_one_connection_serves_many_requests(client: HttpClient, held: str) -> None:
    for _ in range(5):
        assert (await client.ask(PATH)).body == BLOB
        assert (await client.ask(PATH, method="HEAD")).status == 200
        assert (await client.ask("/v2/nothing/here")).status == 404


async def test_a_local_blob_asks_no_peer(
    client: HttpClient, store: MemoryStore, fetcher: MemoryFetcher
) -> None:
    store.add_blob(BLOB)

    await client.ask(PATH)
    await client.ask(PATH, method="HEAD")

    assert fetcher.asked == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_nobody_has_is_a_404_that_says_what_happens_next(
    client: HttpClient, method: str
) -> None:
    reply = await client.ask(PATH, method=method)

    assert reply.status == 404
    assert reply.headers["content-type"] == "application/json"
    if method == "GET":
        error = reply.json()["errors"][0]
        assert error["code"] == "BLOB_UNKNOWN"
        assert "containerd will ask the registry itself" in error["message"]
        assert int(reply.headers["content-length"]) == len(reply.body)


async def test_a_store_that_cannot_say_leaves_the_peers_to_be_asked(
    client: HttpClient, store: MemoryStore, fetcher: MemoryFetcher
) -> None:
    fetcher.add_blob(BLOB)
    store.set_availability(UNAVAILABLE)

    reply = await client.ask(PATH)

    assert (reply.status, reply.body) == (200, BLOB)
    assert (await client.ask(PATH, method="HEAD")).status == 200


async def test_a_store_that_cannot_say_and_no_peer_is_a_404(client: HttpClient, store: MemoryStore) -> None:
    store.set_availability(UNAVAILABLE)

    assert (await client.ask(PATH)).status == 404


@pytest.mark.parametrize("store", [MemoryStore(has_descriptors=False)])
async def test_a_blob_without_a_descriptor_is_read_through_the_store(
    client: HttpClient, store: MemoryStore
) -> None:
    store.add_blob(BLOB)

    assert (await client.ask(PATH)).body == BLOB
    assert (await client.ask(PATH, headers=[("Range", "bytes=5-9")])).body == BLOB[5:10]


async def test_the_next_source_goes_on_where_one_stopped(client: HttpClient, fetcher: MemoryFetcher) -> None:
    sources = [ScriptedSource(gives=100_000, then=Then.CLOSE), ScriptedSource(head=10)]
    fetcher.add_blob(BLOB, sources=sources)

    reply = await client.ask(PATH)

    assert reply.body == BLOB
    assert fetcher.streams[0].asked == [0, 100_000]


async def test_a_blob_whose_sources_all_fail_ends_short_and_not_clean(
    client: HttpClient, fetcher: MemoryFetcher
) -> None:
    fetcher.add_blob(BLOB, sources=[ScriptedSource(gives=100_000, then=Then.CLOSE)])

    reply = await client.ask(PATH)

    assert reply.is_cut
    assert reply.body == BLOB[:100_000]


async def test_every_stream_is_closed_with_what_it_delivered(
    client: HttpClient, fetcher: MemoryFetcher
) -> None:
    fetcher.add_blob(BLOB)
    await client.ask(PATH)
    await client.ask(PATH, headers=[("Range", "bytes=5-9")])
    await client.ask("/v2/")  # the connection comes to it when the requests before are over

    assert [stream.delivered for stream in fetcher.streams] == [len(BLOB), 5]
