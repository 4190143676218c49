import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from spegel_gossip.content import ContentStoreUnavailableError
from spegel_gossip.stores.containerd.config import ContainerdConfig
from spegel_gossip.stores.containerd.link import Link, socket_trouble

NOBODY = 65_534


def without_descriptors(*_: object) -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@contextmanager
def listening(address: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        yield


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_socket_that_takes_connections_has_no_trouble(tmp_path: Path) -> None:
    with listening(tmp_path / "sock"):
        assert socket_trouble(tmp_path / "sock") is None


def test_the_trouble_names_what_to_do(tmp_path: Path) -> None:
    with listening(tmp_path / "stale"):
        pass
    (tmp_path / "file").write_text("")

    expected = {
        tmp_path / "nowhere" / "sock": "mount the directory",
        tmp_path / "sock": "start containerd",
        tmp_path / "stale": "refuses connections",
        tmp_path / "file": "refuses connections",
    }
    for address, remedy in expected.items():
        reason = socket_trouble(address)
        assert reason is not None
        assert remedy in reason


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can become somebody else")
def test_missing_permission_is_told_as_such(tmp_path: Path) -> None:
    # pytest's own directories are closed to others.
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    address = tmp_path / "sock"
    with listening(address):
        address.chmod(0o600)
        with as_nobody():
            reason = socket_trouble(address)

    assert reason is not None
    assert "permission denied" in reason


def test_no_descriptor_to_be_had_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", without_descriptors)
    reason = socket_trouble(tmp_path / "sock")
    assert reason is not None
    assert "Too many open files" in reason


async def test_a_disk_that_fails_is_a_containerd_that_cannot_be_followed(tmp_path: Path) -> None:
    link = Link(ContainerdConfig(address=tmp_path / "sock", root=tmp_path))
    with pytest.raises(ContentStoreUnavailableError, match="Too many open files"):
        await link.run(without_descriptors)
