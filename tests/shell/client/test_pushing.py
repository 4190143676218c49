from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from lab import images
from shell.client.conftest import Bench, Start
from shell.client.scripted import Asked, Told, error, serving
from spegel_gossip.client.errors import DeniedError, IncompleteImageError, TransientError
from spegel_gossip.client.progress import Outcome
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import Platform

IMAGE = images.image(11, [0, 250_000])
LAYER = IMAGE.blobs[-1]
LAYER_BYTES = b"".join(LAYER.chunks())
UPLOADS = "/v2/team/app/blobs/uploads/"


class Upstream:
    """A registry that takes pushes: a script, with the troubles that a test gives it."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.takes_whole = True
        self.mounts: Sequence[str] = ()
        self.trouble: list[Told] = []
        """Answered, last first, to the PATCHes and PUTs that carry bytes."""

    def __call__(self, asked: Asked) -> Told:
        if "/manifests/" in asked.path:
            return self._manifest(asked)
        if asked.path == UPLOADS:
            return self._begin(asked)
        if asked.path.startswith("/upload/"):
            return self._upload(asked)
        return Told() if asked.path.rpartition("/")[2] in self.blobs else error(404)

    def _manifest(self, asked: Asked) -> Told:
        reference = asked.path.rpartition("/")[2]
        if asked.method == "PUT":
            self.manifests[reference] = asked.body
            return Told(201)
        content = self.manifests.get(reference)
        if content is None:
            return error(404)
        return Told(200, {"Docker-Content-Digest": str(Digest.of(content))})

    def _begin(self, asked: Asked) -> Told:
        query = dict(asked.query)
        if query.get("from", "") in self.mounts:
            self.blobs[query["mount"]] = b""
            return Told(201)
        number = str(len(self.uploads))
        self.uploads[number] = bytearray()
        return Told(202, {"Location": f"/upload/{number}?state=a%2Fb"})

    def _upload(self, asked: Asked) -> Told:
        number = asked.path.rpartition("/")[2]
        assert ("state", "a/b") in asked.query
        held = self.uploads[number]
        where = {"Location": f"/upload/{number}?state=a%2Fb", "Range": f"0-{max(0, len(held) - 1)}"}
        if asked.method == "GET":
            return Told(204, where)
        if asked.body and self.trouble:
            return self.trouble.pop()
        if asked.method == "PATCH":
            match = re.fullmatch(r"([0-9]+)-([0-9]+)", asked.headers["content-range"])
            assert match is not None
            assert int(match[1]) == len(held)
            held += asked.body
            return Told(202, where)
        if asked.body and not self.takes_whole:
            return error(413)
        held += asked.body
        digest = dict(asked.query)["digest"]
        if str(Digest.of(bytes(held))) != digest:
            return error(400, "DIGEST_INVALID")
        self.blobs[digest] = bytes(held)
        return Told(201)


@pytest.fixture
async def filled(bench: Bench, start: Start) -> Bench:
    registry = await start(serving(IMAGE))
    await bench.pull(f"{registry.host}/team/app:v1")
    bench.witness.by_source.clear()
    return bench


async def test_a_push_brings_all_of_an_image_and_nothing_twice(filled: Bench, start: Start) -> None:
    upstream = Upstream()
    registry = await start(upstream)

    await filled.push(IMAGE.root.digest, f"{registry.host}/team/app:v2")

    assert upstream.blobs == {blob.digest: b"".join(blob.chunks()) for blob in IMAGE.blobs}
    assert set(upstream.manifests) == {"v2"}
    registry.asked.clear()
    await filled.push(IMAGE.root.digest, f"{registry.host}/team/app:v2")
    assert {asked.method for asked in registry.asked} == {"HEAD"}
    assert set(filled.witness.outcomes.values()) == {Outcome.HELD}


async def test_a_registry_that_takes_no_large_body_gets_parts(filled: Bench, start: Start) -> None:
    upstream = Upstream()
    upstream.takes_whole = False
    registry = await start(upstream)

    await filled.push(IMAGE.root.digest, f"{registry.host}/team/app:v2")

    assert upstream.blobs[LAYER.digest] == LAYER_BYTES
    parts = [len(asked.body) for asked in registry.asked if asked.method == "PATCH"]
    assert max(parts) == filled.config.chunk_bytes


async def test_parts_go_on_where_the_registry_says_it_is(filled: Bench, start: Start) -> None:
    upstream = Upstream()
    upstream.takes_whole = False
    registry = await start(upstream)
    failing = [3]

    def script(asked: Asked) -> Told:
        if asked.method == "PATCH" and len(asked.body) == 50_000 and failing[0]:
            failing[0] -= 1
            return error(502)
        return upstream(asked)

    registry.script = script

    await filled.push(IMAGE.root.digest, f"{registry.host}/team/app:v2")

    assert upstream.blobs[LAYER.digest] == LAYER_BYTES
    large = [asked for asked in registry.asked if asked.method == "PATCH" and len(asked.body) == 100_000]
    assert len(large) == 2


async def test_an_upload_that_was_forgotten_begins_anew(filled: Bench, start: Start) -> None:
    upstream = Upstream()
    upstream.takes_whole = False
    registry = await start(upstream)
    forgotten: list[str] = []

    def script(asked: Asked) -> Told:
        number = asked.path.rpartition("/")[2]
        if asked.method == "PATCH" and len(asked.body) == 50_000 and not forgotten:
            forgotten.append(number)
            return error(500)
        if asked.path.startswith("/upload/") and number in forgotten:
            return error(404, "BLOB_UPLOAD_UNKNOWN")
        return upstream(asked)

    registry.script = script

    await filled.push(IMAGE.root.digest, f"{registry.host}/team/app:v2")

    assert upstream.blobs[LAYER.digest] == LAYER_BYTES


async def test_a_blob_of_another_repository_is_mounted(filled: Bench, start: Start) -> None:
    upstream = Upstream()
    upstream.mounts = ["team/base"]
    registry = await start(upstream)

    await filled.push(IMAGE.root.digest, f"{registry.host}/team/app:v2", mount_from=("team/base",))

    assert filled.witness.outcomes[Digest.parse(LAYER.digest)] is Outcome.MOUNTED
    assert upstream.uploads == {}


async def test_a_mount_that_is_not_done_becomes_an_upload(filled: Bench, start: Start) -> None:
    upstream = Upstream()
    registry = await start(upstream)

    def script(asked: Asked) -> Told:
        return error(403) if ("from", "team/secret") in asked.query else upstream(asked)

    registry.script = script

    await filled.push(
        IMAGE.root.digest, f"{registry.host}/team/app:v2", mount_from=("team/secret", "team/other")
    )

    assert upstream.blobs[LAYER.digest] == LAYER_BYTES


async def test_a_registry_that_takes_nothing_says_why(filled: Bench, start: Start) -> None:
    registry = await start(lambda asked: error(404) if asked.method == "HEAD" else error(403, "DENIED"))

    with pytest.raises(DeniedError, match="denied"):
        await filled.push(IMAGE.root.digest, f"{registry.host}/team/app:v2")


async def test_a_registry_that_fails_for_good_is_given_up(filled: Bench, start: Start) -> None:
    upstream = Upstream()
    upstream.trouble = [error(500)] * 1000
    registry = await start(upstream)

    with pytest.raises(TransientError, match="500"):
        await filled.push(IMAGE.root.digest, f"{registry.host}/team/app:v2")

    assert upstream.manifests == {}


class TestIndexes:
    INDEX = images.index(12)

    async def test_children_are_pushed_before_the_index(self, bench: Bench, start: Start) -> None:
        source = await start(serving(self.INDEX))
        await bench.pull(f"{source.host}/team/app:v1")
        upstream = Upstream()
        registry = await start(upstream)

        await bench.push(self.INDEX.root.digest, f"{registry.host}/team/app:v2")

        amd64, arm64, _root = self.INDEX.manifests
        assert set(upstream.manifests) == {amd64.digest, arm64.digest, "v2"}
        assert list(upstream.manifests)[-1] == "v2"

    async def test_one_that_is_here_in_part_is_pushed_in_part_or_not_at_all(
        self, bench: Bench, start: Start
    ) -> None:
        source = await start(serving(self.INDEX))
        await bench.pull(f"{source.host}/team/app:v1", platform=Platform("linux", "arm64"))
        upstream = Upstream()
        registry = await start(upstream)

        with pytest.raises(IncompleteImageError, match="linux/amd64"):
            await bench.push(self.INDEX.root.digest, f"{registry.host}/team/app:v2")
        target = await bench.push(
            self.INDEX.root.digest, f"{registry.host}/team/app:v2", platform=Platform("linux", "arm64")
        )

        assert str(target.digest) == self.INDEX.manifests[1].digest
        assert set(upstream.manifests) == {"v2"}
