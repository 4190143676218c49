from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from lab import images
from shell.client.conftest import Bench, Start
from shell.client.scripted import Asked, ScriptedRegistry, Told, error, part_of, serving
from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.errors import (
    DeniedError,
    NoSuchPlatformError,
    NotThereError,
    RegistryProtocolError,
    TransientError,
    WrongBytesError,
)
from spegel_gossip.client.progress import Outcome
from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import Platform
from spegel_gossip.oci.reference import TagName

IMAGE = images.image(1, [0, 300_000, 1_500_000])
LAYER = IMAGE.blobs[-1]
LAYER_BYTES = b"".join(LAYER.chunks())
MANIFEST_BYTES = b"".join(IMAGE.root.chunks())
SERVE = serving(IMAGE)


def is_layer(asked: Asked) -> bool:
    return asked.path.endswith(LAYER.digest)


async def test_a_pull_brings_all_of_an_image_and_its_tag(bench: Bench, start: Start) -> None:
    registry = await start(SERVE)

    target = await bench.pull(f"{registry.host}/team/app:v1")

    assert str(target.digest) == IMAGE.root.digest
    assert all(bench.holds(digest) for digest in IMAGE.digests)
    resolved = await bench.store.resolve(TagName.parse(f"{registry.host}/team/app:v1"))
    assert resolved.target == target
    total = sum(blob.size for blob in (*IMAGE.manifests, *IMAGE.blobs))
    assert bench.witness.by_source == {registry.host: total}


async def test_a_second_pull_moves_the_manifest_only(bench: Bench, start: Start) -> None:
    registry = await start(SERVE)
    await bench.pull(f"{registry.host}/team/app:v1")
    registry.asked.clear()

    await bench.pull(f"{registry.host}/team/app:v1")

    assert [asked.path for asked in registry.asked] == ["/v2/team/app/manifests/v1"]
    assert set(bench.witness.outcomes.values()) == {Outcome.HELD}


async def test_an_image_by_digest_that_is_here_needs_no_registry(bench: Bench, start: Start) -> None:
    registry = await start(SERVE)
    await bench.pull(f"{registry.host}/team/app@{IMAGE.root.digest}")
    registry.asked.clear()

    await bench.pull(f"{registry.host}/team/app@{IMAGE.root.digest}")

    assert registry.asked == []


async def test_a_body_that_is_cut_is_gone_on_with_where_it_stopped(bench: Bench, start: Start) -> None:
    def script(asked: Asked) -> Told:
        return replace(SERVE(asked), cut_after=700_000) if is_layer(asked) else SERVE(asked)

    registry = await start(script)

    await bench.pull(f"{registry.host}/team/app:v1")

    ranges = [asked.headers.get("range") for asked in registry.asked_for(LAYER.digest)]
    assert ranges == [None, "bytes=700000-", "bytes=1400000-"]
    assert bench.witness.restarted == []


async def test_what_a_failed_pull_left_is_used_by_the_next(bench: Bench, start: Start) -> None:
    def script(asked: Asked) -> Told:
        if is_layer(asked):
            return error(403) if "range" in asked.headers else replace(SERVE(asked), cut_after=600_000)
        return SERVE(asked)

    registry = await start(script)
    with pytest.raises(DeniedError):
        await bench.pull(f"{registry.host}/team/app:v1")
    registry.script = SERVE
    registry.asked.clear()

    await bench.pull(f"{registry.host}/team/app:v1")

    assert bench.witness.offsets[Digest.parse(LAYER.digest)] == 600_000
    assert registry.asked_for(LAYER.digest)[0].headers["range"] == "bytes=600000-"


def without_ranges(asked: Asked) -> Told:
    if not is_layer(asked):
        return SERVE(asked)
    return Told(200, {}, LAYER_BYTES, cut_after=None if "range" in asked.headers else 500_000)


def with_another_range(asked: Asked) -> Told:
    if not is_layer(asked):
        return SERVE(asked)
    if "range" in asked.headers:
        return Told(206, {"Content-Range": f"bytes 0-{LAYER.size - 1}/{LAYER.size}"}, LAYER_BYTES)
    is_first = not with_another_range.__dict__.get("seen")
    with_another_range.__dict__["seen"] = True
    return Told(200, {}, LAYER_BYTES, cut_after=500_000 if is_first else None)


@pytest.mark.parametrize("script", [without_ranges, with_another_range])
async def test_a_registry_that_does_not_do_ranges_starts_over(
    bench: Bench, start: Start, script: ScriptedRegistry
) -> None:
    registry = await start(script)  # type: ignore[arg-type]  # parametrize hides what it passes

    await bench.pull(f"{registry.host}/team/app:v1")

    assert bench.holds(LAYER.digest)
    assert [str(digest) for digest in bench.witness.restarted] == [LAYER.digest]


@pytest.mark.parametrize(
    "wrong",
    [
        LAYER_BYTES[:-1] + b"\xff",
        LAYER_BYTES + b"more",
    ],
)
async def test_wrong_bytes_are_never_kept(bench: Bench, start: Start, wrong: bytes) -> None:
    registry = await start(lambda asked: part_of(wrong, asked) if is_layer(asked) else SERVE(asked))

    with pytest.raises(WrongBytesError, match=r"nothing of them was kept"):
        await bench.pull(f"{registry.host}/team/app:v1")

    assert not bench.holds(LAYER.digest)
    assert len(registry.asked_for(LAYER.digest)) == 2
    registry.script = SERVE
    await bench.pull(f"{registry.host}/team/app:v1")
    assert bench.holds(LAYER.digest)


async def test_a_registry_whose_blob_is_shorter_than_its_manifest_says_is_given_up(
    bench: Bench, start: Start
) -> None:
    def script(asked: Asked) -> Told:
        if not is_layer(asked):
            return SERVE(asked)
        return error(416) if "range" in asked.headers else Told(200, {}, LAYER_BYTES[:1000])

    registry = await start(script)

    with pytest.raises(WrongBytesError):
        await bench.pull(f"{registry.host}/team/app:v1")


async def test_a_manifest_with_another_digest_is_refused(bench: Bench, start: Start) -> None:
    def script(asked: Asked) -> Told:
        told = SERVE(asked)
        return replace(told, body=told.body + b"\n") if "/manifests/" in asked.path else told

    registry = await start(script)

    with pytest.raises(WrongBytesError):
        await bench.pull(f"{registry.host}/team/app@{IMAGE.root.digest}")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"schemaVersion": 1}', b"[" * 100_000])
async def test_what_is_no_manifest_is_said_so(bench: Bench, start: Start, body: bytes) -> None:
    registry = await start(lambda asked: Told(200, {}, body))

    with pytest.raises(RegistryProtocolError, match="no usable manifest"):
        await bench.pull(f"{registry.host}/team/app:v1")


async def test_a_manifest_without_end_is_not_read_to_it(bench: Bench, start: Start) -> None:
    registry = await start(lambda asked: Told(200, {}, b"x" * (5 * 1024 * 1024)))

    with pytest.raises(RegistryProtocolError, match="more than"):
        await bench.pull(f"{registry.host}/team/app:v1")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_registry_in_trouble_is_asked_again(bench: Bench, start: Start, status: int) -> None:
    failures = [status, status]

    def script(asked: Asked) -> Told:
        return error(failures.pop()) if failures else SERVE(asked)

    registry = await start(script)

    await bench.pull(f"{registry.host}/team/app:v1")

    assert len(bench.witness.waits) == 2
    assert bench.holds(LAYER.digest)


async def test_what_retry_after_says_is_what_is_waited(bench: Bench, start: Start) -> None:
    failures = [error(429, Retry_After="0")]
    registry = await start(lambda asked: failures.pop() if failures else SERVE(asked))

    await bench.pull(f"{registry.host}/team/app:v1")

    assert bench.witness.waits == [0.0]


async def test_a_wait_that_is_too_long_is_the_persons_to_decide(bench: Bench, start: Start) -> None:
    registry = await start(lambda asked: error(429, Retry_After="3600"))

    with pytest.raises(TransientError, match="in 3600 s"):
        await bench.pull(f"{registry.host}/team/app:v1")

    assert len(registry.asked) == 1


async def test_trouble_without_end_is_given_up(bench: Bench, start: Start) -> None:
    registry = await start(lambda asked: error(503))

    with pytest.raises(TransientError, match="503"):
        await bench.pull(f"{registry.host}/team/app:v1")

    assert len(registry.asked) == ClientConfig().attempts


async def test_what_is_not_there_is_not_asked_for_again(bench: Bench, start: Start) -> None:
    registry = await start(lambda asked: error(404, "MANIFEST_UNKNOWN"))

    with pytest.raises(NotThereError, match="manifest_unknown"):
        await bench.pull(f"{registry.host}/team/app:v1")

    assert len(registry.asked) == 1


class TestPlatforms:
    INDEX = images.index(2)

    async def test_one_platform_brings_its_own_and_the_index(self, bench: Bench, start: Start) -> None:
        registry = await start(serving(self.INDEX))

        target = await bench.pull(f"{registry.host}/team/app:v1", platform=Platform("linux", "arm64"))

        amd64, arm64, _root = self.INDEX.manifests
        assert str(target.digest) == self.INDEX.root.digest
        assert bench.holds(arm64.digest)
        assert not bench.holds(amd64.digest)
        assert len(registry.asked_for("/blobs/")) == 3

    async def test_all_platforms_bring_everything(self, bench: Bench, start: Start) -> None:
        registry = await start(serving(self.INDEX))

        await bench.pull(f"{registry.host}/team/app:v1")

        assert all(bench.holds(digest) for digest in self.INDEX.digests)

    async def test_a_platform_that_is_not_offered_is_answered_with_those_that_are(
        self, bench: Bench, start: Start
    ) -> None:
        registry = await start(serving(self.INDEX))

        with pytest.raises(NoSuchPlatformError, match="linux/amd64, linux/arm64"):
            await bench.pull(f"{registry.host}/team/app:v1", platform=Platform("linux", "s390x"))


class TestMirrors:
    async def test_a_mirror_is_asked_first_and_told_for_whom(self, bench: Bench, start: Start) -> None:
        registry = await start(SERVE)
        mirror = await start(SERVE)

        await bench.pull(f"{registry.host}/team/app:v1", mirrors=(mirror.url,))

        assert registry.asked == []
        assert {asked.query[0] for asked in mirror.asked} == {("ns", registry.host)}

    async def test_a_mirror_of_ours_says_which_node_it_was(self, bench: Bench, start: Start) -> None:
        registry = await start(SERVE)
        headers = {"Spegel-Gossip-Source": "node%2D3"}
        mirror = await start(lambda asked: replace(SERVE(asked), headers=headers))

        await bench.pull(f"{registry.host}/team/app:v1", mirrors=(mirror.url,))

        assert f"node-3 through {mirror.host}" in bench.witness.by_source

    @pytest.mark.parametrize("status", [401, 404, 429, 500])
    async def test_a_mirror_that_fails_is_passed_over_at_once(
        self, bench: Bench, start: Start, status: int
    ) -> None:
        registry = await start(SERVE)
        mirror = await start(lambda asked: error(status))

        await bench.pull(f"{registry.host}/team/app:v1", mirrors=(mirror.url,))

        assert bench.holds(LAYER.digest)
        assert bench.witness.waits == []
        assert set(bench.witness.passed_over) == {mirror.host}

    async def test_a_mirror_that_cannot_be_reached_is_tried_once_a_pull(
        self, bench: Bench, start: Start
    ) -> None:
        registry = await start(SERVE)

        await bench.pull(f"{registry.host}/team/app:v1", mirrors=("http://127.0.0.1:1",))

        assert bench.witness.passed_over == ["127.0.0.1:1"]

    async def test_a_mirror_with_wrong_bytes_costs_its_bytes_only(self, bench: Bench, start: Start) -> None:
        registry = await start(SERVE)
        wrong = bytes(LAYER.size)
        mirror = await start(lambda asked: part_of(wrong, asked) if is_layer(asked) else SERVE(asked))

        await bench.pull(f"{registry.host}/team/app:v1", mirrors=(mirror.url,))

        assert bench.holds(LAYER.digest)
        assert [asked.path for asked in registry.asked] == [f"/v2/team/app/blobs/{LAYER.digest}"]

    async def test_a_mirror_that_is_cut_off_for_good_is_followed_by_the_registry(
        self, bench: Bench, start: Start
    ) -> None:
        registry = await start(SERVE)

        def script(asked: Asked) -> Told:
            if is_layer(asked):
                return replace(SERVE(asked), cut_after=0 if "range" in asked.headers else 600_000)
            return SERVE(asked)

        mirror = await start(script)

        await bench.pull(f"{registry.host}/team/app:v1", mirrors=(mirror.url,))

        assert [asked.headers["range"] for asked in registry.asked] == ["bytes=600000-"]


class TestProxies:
    async def test_the_environments_proxy_is_used_but_never_for_this_machine(
        self, bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = await start(SERVE)
        registry = await start(SERVE)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)

        await bench.pull("registry.example:5000/team/app:v1", plain_http=True)
        await bench.pull(f"{registry.host}/team/app:v1")

        assert {asked.headers["host"] for asked in proxy.asked} == {"registry.example:5000"}
        assert [asked.path for asked in registry.asked] == ["/v2/team/app/manifests/v1"]

    async def test_all_of_127_is_this_machine(
        self, bench: Bench, start: Start, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = await start(SERVE)
        mirror = ScriptedRegistry(SERVE, address="127.29.1.2")
        await nursery.start(mirror.run)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)

        await bench.pull("registry.example:5000/team/app:v1", mirrors=(mirror.url,), plain_http=True)

        assert proxy.asked == []
        assert bench.witness.by_source.keys() == {mirror.host}

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "ftp://127.0.0.1:1"])
    async def test_a_proxy_that_cannot_be_used_is_a_wrong_setting(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, proxy: str
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", proxy)

        with pytest.raises(ConfigError, match="HTTP_PROXY"):
            await bench.pull("registry.example:5000/team/app:v1", plain_http=True)
