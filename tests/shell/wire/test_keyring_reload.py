from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from spegel_gossip.wire import reload
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import load_keyring, new_key
from spegel_gossip.wire.reload import run_keyring_reload


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_new_keys_are_used_and_a_damaged_file_changes_nothing(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "LOOK_INTERVAL", 0.001)
    path = tmp_path / "keys"
    path.write_text(new_key())
    credentials = Credentials("a", 1, "test", load_keyring(path))
    nursery.start_soon(run_keyring_reload, path, credentials)

    path.write_text(f"{new_key()}\n{path.read_text()}")
    await until(lambda: credentials.keyring is not None and len(credentials.keyring.keys) == 2)
    in_use = credentials.keyring
    with capture_logs() as lines:
        path.write_text("damaged")
        await until(lambda: bool(lines))
        path.unlink()
        await until(lambda: len(lines) > 1)

    assert credentials.keyring == in_use
    path.write_text(new_key())
    await until(lambda: credentials.keyring != in_use)
