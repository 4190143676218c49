import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts.disk import ChangedUnderneathError, apply
from spegel_gossip.hosts.files import HostsConfig, remove_hosts, show_hosts, write_hosts
from spegel_gossip.hosts.plan import HostsState, RemoveFile, Step, WriteFile
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.swim.address import Address

MIRROR = Address("127.0.0.1", 29500)
THEIRS = b'# theirs\nserver = "https://elsewhere"\n'


@pytest.fixture
def config(tmp_path: Path) -> HostsConfig:
    return HostsConfig(hosts_dir=tmp_path, mirror=MIRROR)


def make(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything there is: files with their content, folders as None."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


SHAPES: dict[str, dict[str, bytes]] = {
    "nothing": {},
    "a file": {"docker.io/hosts.toml": THEIRS},
    "certificates alone": {"ghcr.io/ca.crt": b"ca", "ghcr.io/me.cert": b"me", "ghcr.io/me.key": b"key"},
    "a folder with something else": {"quay.io/README": b"read me"},
    "a file for all": {"_default/hosts.toml": THEIRS, "_default/ca.crt": b"ca"},
    "what spegel left": {
        "_backup/docker.io/hosts.toml": THEIRS,
        "_default/hosts.toml": b"[host.'http://10.0.0.7:30020']\ndial_timeout = '200ms'\n",
    },
    "what cannot be read": {"docker.io/hosts.toml": b"[host", "ghcr.io/hosts.toml": b"\xff"},
    "many": {f"r{number}.lan_5000_/hosts.toml": THEIRS for number in range(5)},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_removing_restores_everything_byte_for_byte(config: HostsConfig, shape: dict[str, bytes]) -> None:
    make(config.hosts_dir, shape)
    before = tree(config.hosts_dir)

    write_hosts(config)
    written = tree(config.hosts_dir)
    remove_hosts(config)

    assert written != before
    assert tree(config.hosts_dir) == before


def test_an_empty_folder_gets_a_file_and_is_there_again_afterwards(config: HostsConfig) -> None:
    (config.hosts_dir / "docker.io").mkdir()

    write_hosts(config)
    assert (config.hosts_dir / "docker.io" / "hosts.toml").exists()
    remove_hosts(config)

    assert tree(config.hosts_dir) == {"docker.io": None}


def test_a_registry_that_is_named_gets_a_folder_of_its_own(config: HostsConfig) -> None:
    named = HostsConfig(
        hosts_dir=config.hosts_dir, mirror=MIRROR, registries=(RegistryUrl("https", "quay.io"),)
    )
    make(config.hosts_dir, {"ghcr.io/hosts.toml": THEIRS})
    before = tree(config.hosts_dir)

    write_hosts(named)
    assert b'server = "https://quay.io"' in (config.hosts_dir / "quay.io" / "hosts.toml").read_bytes()
    assert (config.hosts_dir / "ghcr.io" / "hosts.toml").read_bytes() == THEIRS
    remove_hosts(named)

    assert tree(config.hosts_dir) == before


def test_what_is_written_is_readable_by_all_and_shown_as_current(config: HostsConfig) -> None:
    old = os.umask(0o077)
    try:
        write_hosts(config)
    finally:
        os.umask(old)

    folder = config.hosts_dir / "_default"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "hosts.toml").stat().st_mode) == 0o644
    assert [entry.state for entry in show_hosts(config)] == [HostsState.CURRENT]


def test_a_file_keeps_its_permissions_and_its_owner(config: HostsConfig) -> None:
    make(config.hosts_dir, {"docker.io/hosts.toml": THEIRS})
    file = config.hosts_dir / "docker.io" / "hosts.toml"
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12, 34)
    before = file.stat()

    write_hosts(config)

    after = file.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_writing_again_does_not_touch_the_file(config: HostsConfig) -> None:
    write_hosts(config)
    before = (config.hosts_dir / "_default" / "hosts.toml").stat()

    steps, _ = write_hosts(config)

    after = (config.hosts_dir / "_default" / "hosts.toml").stat()
    assert steps == []
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_folder_of_ours_that_holds_somebodys_certificates_stays_with_them(config: HostsConfig) -> None:
    write_hosts(config)
    (config.hosts_dir / "_default" / "ca.crt").write_text("theirs")

    remove_hosts(config)

    assert tree(config.hosts_dir) == {"_default": None, "_default/ca.crt": b"theirs"}


def test_certificates_that_come_later_are_written_out(config: HostsConfig) -> None:
    (config.hosts_dir / "ghcr.io").mkdir()
    write_hosts(config)
    (config.hosts_dir / "ghcr.io" / "ca.crt").write_text("new")

    write_hosts(config)

    assert b'ca = ["ca.crt"]' in (config.hosts_dir / "ghcr.io" / "hosts.toml").read_bytes()


@pytest.mark.parametrize("name", ["docker.io", "docker.io/hosts.toml"])
def test_a_link_is_somebodys_arrangement(config: HostsConfig, name: str, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    (elsewhere / "hosts.toml").write_bytes(THEIRS)
    link = config.hosts_dir / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere if name == "docker.io" else elsewhere / "hosts.toml")

    _, entries = write_hosts(config)

    assert [entry.state for entry in entries] == [HostsState.CURRENT, HostsState.FOREIGN]
    assert link.is_symlink()
    assert (elsewhere / "hosts.toml").read_bytes() == THEIRS


def test_a_file_that_is_too_long_is_left_alone(config: HostsConfig) -> None:
    make(config.hosts_dir, {"docker.io/hosts.toml": b"# " + b"x" * 300_000})

    _, entries = write_hosts(config)

    assert (entries[1].folder, entries[1].state) == ("docker.io", HostsState.FOREIGN)


def test_a_missing_directory_is_a_wrong_setting(config: HostsConfig) -> None:
    missing = HostsConfig(hosts_dir=config.hosts_dir / "missing", mirror=MIRROR)

    with pytest.raises(ConfigError, match=r"--hosts-dir: .*missing.*make or mount it"):
        write_hosts(missing)
    with pytest.raises(ConfigError, match="--hosts-dir"):
        show_hosts(missing)
    with pytest.raises(ConfigError, match="--hosts-dir"):
        remove_hosts(missing)


def test_a_file_as_the_directory_is_a_wrong_setting(config: HostsConfig) -> None:
    (config.hosts_dir / "file").touch()

    with pytest.raises(ConfigError, match=r"--hosts-dir: .*file: not a directory"):
        write_hosts(HostsConfig(hosts_dir=config.hosts_dir / "file", mirror=MIRROR))


def test_a_directory_that_cannot_be_written_to_is_a_wrong_setting() -> None:
    # Root may write anywhere but here: procfs takes no new files from anybody.
    with pytest.raises(ConfigError, match="--hosts-dir"):
        write_hosts(HostsConfig(hosts_dir=Path("/proc/sys/net"), mirror=MIRROR))


def test_a_folder_that_refuses_does_not_keep_the_others_from_their_mirror(config: HostsConfig) -> None:
    make(config.hosts_dir, {"a.lan/hosts.toml": THEIRS, "z.lan/hosts.toml": THEIRS})
    # Where the temporary file goes, so that it can be neither made nor removed, for root either.
    make(config.hosts_dir, {"a.lan/.hosts.toml.spegel-gossip/in the way": b""})

    with pytest.raises(ConfigError, match=r"a\.lan"):
        write_hosts(config)

    states = {entry.folder: entry.state for entry in show_hosts(config)}
    assert states == {
        "_default": HostsState.CURRENT,
        "a.lan": HostsState.OUTDATED,
        "z.lan": HostsState.CURRENT,
    }


# Every step that changes the disk is audited by the interpreter before it is taken: one of them is the last.
CRASHING = """
import os, sys
from pathlib import Path
from spegel_gossip.hosts.disk import ChangedUnderneathError, apply
from spegel_gossip.hosts.files import HostsConfig, remove_hosts, write_hosts
from spegel_gossip.swim.address import Address
directory, what, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
config = HostsConfig(hosts_dir=directory, mirror=Address("127.0.0.1", 29500))
def hook(event, arguments):
    global left
    changes = event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree"}
    if changes or (event == "open" and arguments[2] & os.O_CREAT):
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(hook)
write_hosts(config) if what == "write" else remove_hosts(config)
"""
CRASH_SHAPE = {"docker.io/hosts.toml": THEIRS, "ghcr.io/ca.crt": b"ca"}
MAX_STEPS = 40


def crash(root: Path, what: str, after: int) -> bool:
    """Whether the process was ended before it was done."""
    argv = [sys.executable, "-c", CRASHING, str(root), what, str(after)]
    status = subprocess.run(argv, check=False, timeout=30).returncode
    assert status in {0, 9}
    return status == 9


def seen_by_containerd(root: Path) -> dict[str, bytes | None]:
    return {name: content for name, content in tree(root).items() if "spegel-gossip" not in name}


@pytest.mark.parametrize("what", ["write", "remove"])
def test_a_crash_between_any_two_steps_leaves_every_file_whole_and_can_be_made_good(
    what: str, tmp_path: Path
) -> None:
    def fresh(name: str) -> HostsConfig:
        config = HostsConfig(hosts_dir=tmp_path / name, mirror=MIRROR)
        make(config.hosts_dir, CRASH_SHAPE)
        return config

    reference = fresh("reference")
    untouched = tree(reference.hosts_dir)
    write_hosts(reference)
    written = tree(reference.hosts_dir)
    allowed = {name: {untouched.get(name, b""), written.get(name, b"")} for name in untouched | written}
    crashes = 0
    for after in range(MAX_STEPS):
        config = fresh(f"{what}-{after}")
        if what == "remove":
            write_hosts(config)
        if not crash(config.hosts_dir, what, after):
            break
        crashes += 1

        for name, content in seen_by_containerd(config.hosts_dir).items():
            assert content in allowed[name], (after, name)
        # A folder without its file would hide `_default`, or be it.
        assert (config.hosts_dir / "_default").exists() == (
            config.hosts_dir / "_default" / "hosts.toml"
        ).exists()
        write_hosts(config)
        assert tree(config.hosts_dir) == written
        remove_hosts(config)
        assert tree(config.hosts_dir) == untouched
    assert 5 < crashes < MAX_STEPS


def test_what_a_crash_left_of_a_folder_with_somebodys_files_is_given_back(config: HostsConfig) -> None:
    make(config.hosts_dir, {".spegel-gossip.quay.io/ca.crt": b"theirs"})

    write_hosts(config)

    assert (config.hosts_dir / "quay.io" / "ca.crt").read_bytes() == b"theirs"
    assert b'ca = ["ca.crt"]' in (config.hosts_dir / "quay.io" / "hosts.toml").read_bytes()


def run_together(*works: Callable[[], object]) -> None:
    """Run all at once; an error in any of them is raised."""
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    if errors:
        raise errors[0]


def test_many_writers_and_removers_at_once_leave_what_one_leaves(config: HostsConfig) -> None:
    make(config.hosts_dir, CRASH_SHAPE)
    untouched = tree(config.hosts_dir)

    def work() -> None:
        for _ in range(10):
            write_hosts(config)
            remove_hosts(config)

    run_together(work, work, work, work)

    assert tree(config.hosts_dir) == untouched


def test_what_somebody_writes_without_our_lock_is_looked_at_again(config: HostsConfig) -> None:
    file = config.hosts_dir / "docker.io" / "hosts.toml"
    make(config.hosts_dir, {"docker.io/hosts.toml": THEIRS})

    def k3s() -> None:
        for number in range(200):
            temporary = file.with_name("theirs.tmp")
            temporary.write_bytes(b"# %d\n" % number)
            temporary.rename(file)

    def ours() -> None:
        for _ in range(50):
            write_hosts(config)

    run_together(k3s, ours)
    file.write_bytes(b"# the last\n")
    write_hosts(config)

    assert b"# the last\n" in file.read_bytes()
    remove_hosts(config)
    assert tree(config.hosts_dir) == {"docker.io": None, "docker.io/hosts.toml": b"# the last\n"}


@pytest.mark.parametrize(
    "step",
    [
        WriteFile("docker.io", b"ours", b"what it said"),
        WriteFile("docker.io", b"ours", None),
        RemoveFile("docker.io", b"what it said", with_folder=True),
    ],
)
def test_a_step_decided_on_another_text_is_not_taken(step: Step, config: HostsConfig) -> None:
    make(config.hosts_dir, {"docker.io/hosts.toml": THEIRS})

    with pytest.raises(ChangedUnderneathError):
        apply(config.hosts_dir, step)

    assert tree(config.hosts_dir) == {"docker.io": None, "docker.io/hosts.toml": THEIRS}
