import os
import stat
from pathlib import Path

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts.files import HostsConfig, remove_hosts, show_hosts, write_hosts
from spegel_gossip.hosts.plan import HostsState
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.swim.address import Address


@pytest.fixture
def config(tmp_path: Path) -> HostsConfig:
    return HostsConfig(hosts_dir=tmp_path, mirror=Address("127.0.0.1", 29500))


def files_under(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_what_is_written_is_readable_by_all_and_shown_as_current(config: HostsConfig) -> None:
    old = os.umask(0o077)
    try:
        write_hosts(config)
    finally:
        os.umask(old)

    assert list(files_under(config.hosts_dir)) == ["_default/hosts.toml"]
    assert stat.S_IMODE((config.hosts_dir / "_default" / "hosts.toml").stat().st_mode) == 0o644
    assert [entry.state for entry in show_hosts(config)] == [HostsState.CURRENT]


def test_writing_again_does_not_touch_the_file(config: HostsConfig) -> None:
    write_hosts(config)
    before = (config.hosts_dir / "_default" / "hosts.toml").stat()

    steps, _ = write_hosts(config)

    after = (config.hosts_dir / "_default" / "hosts.toml").stat()
    assert steps == []
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_crash_in_the_middle_leaves_nothing_in_the_way(config: HostsConfig) -> None:
    (config.hosts_dir / "_default").mkdir()
    (config.hosts_dir / "_default" / ".hosts.toml.spegel-gossip").write_text("half")

    write_hosts(config)

    assert list(files_under(config.hosts_dir)) == ["_default/hosts.toml"]


def test_writing_and_removing_leaves_what_others_have_byte_for_byte(config: HostsConfig) -> None:
    for folder, name in (("quay.io", "hosts.toml"), ("ghcr.io", "ca.crt"), ("_default", "hosts.toml")):
        (config.hosts_dir / folder).mkdir()
        (config.hosts_dir / folder / name).write_bytes(b"# theirs\r\n\xff")
    before = files_under(config.hosts_dir)

    _, entries = write_hosts(config)
    written = files_under(config.hosts_dir)
    remove_hosts(config.hosts_dir)

    assert written == before == files_under(config.hosts_dir)
    assert {entry.state for entry in entries} == {HostsState.FOREIGN}


def test_removing_takes_our_folders_away_and_keeps_those_with_certificates(config: HostsConfig) -> None:
    registries = (RegistryUrl("https", "quay.io"), RegistryUrl("https", "ghcr.io"))
    write_hosts(HostsConfig(hosts_dir=config.hosts_dir, mirror=config.mirror, registries=registries))
    (config.hosts_dir / "ghcr.io" / "ca.crt").write_text("theirs")

    remove_hosts(config.hosts_dir)

    assert files_under(config.hosts_dir) == {"ghcr.io/ca.crt": b"theirs"}
    assert not (config.hosts_dir / "quay.io").exists()


def test_a_link_in_place_of_the_file_is_somebody_elses(config: HostsConfig, tmp_path: Path) -> None:
    (config.hosts_dir / "_default").mkdir()
    link = config.hosts_dir / "_default" / "hosts.toml"
    link.symlink_to(tmp_path / "elsewhere.toml")

    _, entries = write_hosts(config)

    assert entries[0].state is HostsState.FOREIGN
    assert link.is_symlink()


def test_a_changed_listen_address_is_written_anew(config: HostsConfig) -> None:
    write_hosts(config)

    write_hosts(HostsConfig(hosts_dir=config.hosts_dir, mirror=Address("127.0.0.1", 5)))

    assert b'[host."http://127.0.0.1:5"]' in files_under(config.hosts_dir)["_default/hosts.toml"]


def test_a_missing_directory_is_a_wrong_setting(config: HostsConfig) -> None:
    missing = HostsConfig(hosts_dir=config.hosts_dir / "missing", mirror=config.mirror)

    with pytest.raises(ConfigError, match=r"--hosts-dir: .*missing.*make or mount it"):
        write_hosts(missing)
    with pytest.raises(ConfigError, match="--hosts-dir"):
        show_hosts(missing)
    with pytest.raises(ConfigError, match="--hosts-dir"):
        remove_hosts(missing.hosts_dir)


def test_a_file_as_the_directory_is_a_wrong_setting(config: HostsConfig) -> None:
    (config.hosts_dir / "file").touch()

    with pytest.raises(ConfigError, match=r"--hosts-dir: .*file: not a directory"):
        write_hosts(HostsConfig(hosts_dir=config.hosts_dir / "file", mirror=config.mirror))


def test_a_directory_that_cannot_be_written_to_is_a_wrong_setting(config: HostsConfig) -> None:
    # Root may write anywhere but here: procfs takes no new files from anybody.
    with pytest.raises(ConfigError, match="--hosts-dir"):
        write_hosts(HostsConfig(hosts_dir=Path("/proc/sys/kernel"), mirror=config.mirror))
