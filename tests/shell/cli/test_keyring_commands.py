import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from spegel_gossip.admin.server import AdminServer
from spegel_gossip.cli.main import run_cli
from spegel_gossip.node.keyring import KeyringControl
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import Keyring, load_keyring, new_key
from spegel_gossip.wire.keyring_file import fingerprint

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keyring"
    path.write_text(new_key() + "\n")
    return path


@pytest.fixture
def credentials(file: Path) -> Credentials:
    return Credentials("a", 1, "test", load_keyring(file))


@pytest.fixture
async def run(
    file: Path, credentials: Credentials, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> Run:
    control = KeyringControl(file, credentials)
    path = file.with_name("admin.sock")
    await nursery.start(AdminServer(path, {"/keyring": control.show}, control.commands()).run)

    async def run_command(*arguments: str) -> tuple[int, str, str]:
        where = ["--admin-socket", str(path)]
        code = await trio.to_thread.run_sync(run_cli, ["keyring", *arguments, *where])
        return code, *capsys.readouterr()

    return run_command


def in_use(credentials: Credentials) -> Keyring:
    assert credentials.keyring is not None
    return credentials.keyring


async def test_a_key_is_replaced_by_command_and_used_at_once(
    run: Run, file: Path, credentials: Credentials
) -> None:
    old = in_use(credentials).primary
    added = file.with_name("new")
    added.write_text(new_key() + "\n")
    new = load_keyring(added).primary

    assert (await run("add", str(added)))[0] == 0
    assert in_use(credentials).keys == (old, new)
    assert (await run("use", fingerprint(new)))[0] == 0
    assert in_use(credentials).keys == (new, old)
    assert (await run("remove", fingerprint(old)))[0] == 0
    assert in_use(credentials).keys == load_keyring(file).keys == (new,)


async def test_keys_are_listed_by_fingerprint_and_never_shown(
    run: Run, file: Path, credentials: Credentials
) -> None:
    _, table, _ = await run("list")
    _, text, _ = await run("list", "--json")

    key = fingerprint(in_use(credentials).primary)
    assert json.loads(text) == {"file": str(file), "keys": [{"fingerprint": key, "encrypts": True}]}
    assert table.splitlines()[1].split() == [key, "encrypts"]
    assert base64.b64encode(in_use(credentials).primary).decode() not in table + text


@pytest.mark.parametrize("command", ["use", "remove"])
async def test_what_cannot_be_done_is_one_sentence(run: Run, command: str, credentials: Credentials) -> None:
    before = in_use(credentials)
    code, _, error = await run(command, "0" * 16)
    assert code == 1
    assert fingerprint(before.primary) in error
    assert credentials.keyring is before


async def test_a_node_without_a_keyring_says_how_to_get_one(
    tmp_path: Path, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    control = KeyringControl(None, Credentials("a", 1, "test", None))
    path = tmp_path / "admin.sock"
    await nursery.start(AdminServer(path, {"/keyring": control.show}, control.commands()).run)
    code = await trio.to_thread.run_sync(run_cli, ["keyring", "list", "--admin-socket", str(path)])
    assert code == 1
    assert "--cluster-key-file" in capsys.readouterr().err
