import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from shell.stores.fake_containerd import FakeContainerd
from spegel_gossip.oci.reference import Reference
from spegel_gossip.pulling import PullFailedError, PullProblem
from spegel_gossip.stores.containerd.link import MAX_CALLS, Link
from spegel_gossip.stores.containerd.pulls import ContainerdPuller

APP = Reference.parse("registry.example.com/team/app:v1")
PATIENCE = 30.0


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[FakeContainerd]:
    fake = FakeContainerd(tmp_path)
    fake.start()
    yield fake
    fake.stop()


async def test_a_pull_that_waits_for_a_thread_as_containerd_goes_fails_and_ends_nothing_else(
    containerd: FakeContainerd,
) -> None:
    link = Link(containerd.config())
    await link.connect()
    puller = ContainerdPuller(containerd.config(), link)
    may_answer = threading.Event()

    async def pull() -> None:
        with pytest.raises(PullFailedError) as failed:
            await puller.pull(APP)
        assert failed.value.problem is PullProblem.UNAVAILABLE

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_CALLS):
                nursery.start_soon(link.run, may_answer.wait)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(pull)
            await trio.testing.wait_all_tasks_blocked()
            link.cut("containerd does not answer")
            may_answer.set()

    assert not containerd.pull_came.is_set()


async def test_a_pull_under_way_as_containerd_is_given_up_is_told_as_its_absence(
    containerd: FakeContainerd,
) -> None:
    link = Link(containerd.config())
    await link.connect()
    containerd.answers.clear()

    async def pull() -> None:
        with pytest.raises(PullFailedError) as failed:
            await ContainerdPuller(containerd.config(), link).pull(APP)
        assert failed.value.problem is PullProblem.UNAVAILABLE

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pull)
            await trio.to_thread.run_sync(containerd.pull_came.wait)
            link.cut("containerd does not answer")


async def test_a_pull_that_containerd_ends_well_is_done(containerd: FakeContainerd) -> None:
    link = Link(containerd.config())
    await link.connect()

    with trio.fail_after(PATIENCE):
        await ContainerdPuller(containerd.config(), link).pull(APP)

    link.cut("done")
