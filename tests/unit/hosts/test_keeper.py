from pathlib import Path

import trio

from spegel_gossip.hosts.files import HostsConfig
from spegel_gossip.hosts.keeper import run_hosts
from spegel_gossip.swim.address import Address

EVERY_MILLISECOND = 0.001


def is_there(path: Path) -> bool:
    return path.exists()


async def wait_for(path: Path) -> None:
    # The keeper works in a thread, which no virtual clock sees.
    with trio.fail_after(10):
        while not is_there(path):  # noqa: ASYNC110 - a file has no event to wait for
            await trio.sleep(EVERY_MILLISECOND)


async def test_the_files_are_there_once_it_has_started_and_again_when_taken_away(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    config = HostsConfig(
        hosts_dir=tmp_path, mirror=Address("127.0.0.1", 29500), recheck_interval=EVERY_MILLISECOND
    )
    file = tmp_path / "_default" / "hosts.toml"

    await nursery.start(run_hosts, config)
    assert file.exists()
    file.unlink()

    await wait_for(file)


async def test_a_directory_that_comes_late_is_found(tmp_path: Path, nursery: trio.Nursery) -> None:
    hosts_dir = tmp_path / "late"
    config = HostsConfig(
        hosts_dir=hosts_dir, mirror=Address("127.0.0.1", 29500), recheck_interval=EVERY_MILLISECOND
    )

    await nursery.start(run_hosts, config)
    hosts_dir.mkdir()

    await wait_for(hosts_dir / "_default" / "hosts.toml")
