from pathlib import Path

import pytest
import trio
import trio.testing

from lab import images
from shell.client.scripted import Asked, Script, ScriptedRegistry, Told, error, serving
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import Reference, TagName
from spegel_gossip.pulling import ImagePuller, PullFailedError, PullProblem
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.pulling import LayoutPuller
from spegel_gossip.stores.layout.store import LayoutStore

IMAGE = images.image(1, [0, 300_000])


@pytest.fixture(autouse=True)
def nobodys_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


async def started(nursery: trio.Nursery, script: Script) -> ScriptedRegistry:
    registry = ScriptedRegistry(script)
    await nursery.start(registry.run)
    return registry


async def test_the_image_comes_through_the_mirror_and_is_whole(nursery: trio.Nursery, tmp_path: Path) -> None:
    mirror = await started(nursery, serving(IMAGE))
    puller: ImagePuller = LayoutPuller(tmp_path / "layout", mirror=mirror.url)
    tag = TagName.parse("registry.example.com/team/app:v1")

    await puller.pull(Reference.parse(str(tag)))

    store = LayoutStore(LayoutConfig(root=tmp_path / "layout"))
    assert (await store.resolve(tag)).target.digest == Digest.parse(IMAGE.root.digest)
    assert all(
        ("ns", "registry.example.com") in asked.query for asked in mirror.asked if "/team/" in asked.path
    )


@pytest.mark.parametrize(
    ("status", "problem"), [(404, PullProblem.UNKNOWN_IMAGE), (401, PullProblem.UNAUTHORISED)]
)
async def test_why_it_failed_is_known(
    status: int, problem: PullProblem, nursery: trio.Nursery, tmp_path: Path
) -> None:
    def refuse(asked: Asked) -> Told:
        return error(status, **({"WWW-Authenticate": 'Basic realm="x"'} if status == 401 else {}))

    registry = await started(nursery, refuse)
    puller = LayoutPuller(tmp_path / "layout", mirror=registry.url)

    with pytest.raises(PullFailedError) as caught:
        await puller.pull(Reference.parse(f"{registry.host}/team/app:v1"))

    assert caught.value.problem is problem
    assert registry.host in caught.value.detail
    assert "\n" not in caught.value.detail


async def test_a_pull_that_is_given_up_ends_its_process(nursery: trio.Nursery, tmp_path: Path) -> None:
    asked_once = trio.Event()

    def hold(asked: Asked) -> Told:
        asked_once.set()
        return error(503)

    registry = await started(nursery, hold)
    puller = LayoutPuller(tmp_path / "layout", mirror=registry.url)
    async with trio.open_nursery() as pulling:
        pulling.start_soon(puller.pull, Reference.parse(f"{registry.host}/team/app:v1"))
        await asked_once.wait()
        pulling.cancel_scope.cancel()
    count = len(registry.asked)
    await trio.testing.wait_all_tasks_blocked(0.1)

    assert len(registry.asked) == count
