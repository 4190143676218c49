"""The way from Spegel, as docs/installation.md has it; what Spegel does to certs.d is written out here."""

import shutil
from pathlib import Path

import pytest

from spegel_gossip.hosts.files import HostsConfig, remove_hosts, show_hosts, write_hosts
from spegel_gossip.hosts.plan import HostsState
from spegel_gossip.swim.address import Address

MIRROR = Address("127.0.0.1", 29500)
BEFORE = {"docker.io/hosts.toml": b'server = "https://mirror.corp"  # ours\n', "quay.io/ca.crt": b"ca"}
SPEGELS = """\
[host.'http://10.0.0.7:30020']
capabilities = ['pull', 'resolve']
dial_timeout = '200ms'
"""


class Spegel:
    """What `spegel configuration` and `spegel cleanup` (v0.7.4) do to a directory."""

    def __init__(self, certs: Path) -> None:
        self._certs = certs
        self._backup = certs / "_backup"

    def configure(self) -> None:
        """Save everything once, remove everything, write its own: at each start of a pod."""
        others = [entry for entry in self._certs.iterdir() if entry != self._backup]
        if self._backup.exists():
            for entry in others:
                shutil.rmtree(entry)
        else:
            self._backup.mkdir()
            for entry in others:
                entry.rename(self._backup / entry.name)
        (self._certs / "_default").mkdir()
        (self._certs / "_default" / "hosts.toml").write_text(SPEGELS)

    def clean_up(self) -> None:
        """Remove everything, and move what was saved back: its uninstallation."""
        if not self._backup.exists():
            return
        for entry in self._certs.iterdir():
            if entry != self._backup:
                shutil.rmtree(entry)
        for entry in self._backup.iterdir():
            entry.rename(self._certs / entry.name)
        self._backup.rmdir()


@pytest.fixture
def config(tmp_path: Path) -> HostsConfig:
    for name, content in BEFORE.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)
    return HostsConfig(hosts_dir=tmp_path, mirror=MIRROR)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def hosts_in(config: HostsConfig, folder: str) -> list[str]:
    text = (config.hosts_dir / folder / "hosts.toml").read_text()
    return [line.split("//")[1].rstrip("'\"]") for line in text.splitlines() if line.startswith("[host.")]


def test_in_the_documented_order_nothing_is_lost(config: HostsConfig) -> None:
    spegel = Spegel(config.hosts_dir)
    spegel.configure()

    write_hosts(config)
    assert hosts_in(config, "_default") == ["127.0.0.1:29500", "10.0.0.7:30020"]
    spegel.configure()  # one of its pods restarts
    write_hosts(config)
    assert hosts_in(config, "_default") == ["127.0.0.1:29500", "10.0.0.7:30020"]
    spegel.clean_up()
    write_hosts(config)

    assert hosts_in(config, "docker.io") == ["127.0.0.1:29500"]
    assert {entry.state for entry in show_hosts(config)} == {HostsState.CURRENT}
    assert not any("Spegel" in entry.note for entry in show_hosts(config))
    remove_hosts(config)
    assert tree(config.hosts_dir) == BEFORE


def test_spegel_that_comes_after_us_saves_ours_and_puts_it_back(config: HostsConfig) -> None:
    spegel = Spegel(config.hosts_dir)
    write_hosts(config)
    ours = tree(config.hosts_dir)

    spegel.configure()
    write_hosts(config)
    spegel.clean_up()

    assert tree(config.hosts_dir) == ours
    remove_hosts(config)
    assert tree(config.hosts_dir) == BEFORE


def test_spegel_that_went_without_cleaning_up_can_be_undone_by_hand(config: HostsConfig) -> None:
    Spegel(config.hosts_dir).configure()
    write_hosts(config)
    assert any("Spegel's backup" in entry.note for entry in show_hosts(config))

    # The three lines of the documentation.
    remove_hosts(config)
    Spegel(config.hosts_dir).clean_up()
    write_hosts(config)

    assert not any("Spegel" in entry.note for entry in show_hosts(config))
    remove_hosts(config)
    assert tree(config.hosts_dir) == BEFORE
