import os
from pathlib import Path

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.wire.keyring import MAX_KEYS, load_keyring, new_key, parse_keyring
from spegel_gossip.wire.keyring_file import KeyringChangeError, KeyringFile, fingerprint

FIRST, SECOND, THIRD = (new_key() for _ in range(3))


def key_of(text: str) -> bytes:
    return parse_keyring(text, source="test").primary


def name_of(text: str) -> str:
    return fingerprint(key_of(text))


@pytest.fixture
def file(tmp_path: Path) -> KeyringFile:
    path = tmp_path / "keyring"
    path.write_text(f"# the cluster's keys\n{FIRST} # since spring\n\n{SECOND}\n")
    path.chmod(0o640)
    return KeyringFile(path)


def test_a_rotation_in_three_steps(file: KeyringFile) -> None:
    assert file.add(THIRD).keys == (key_of(FIRST), key_of(SECOND), key_of(THIRD))
    assert file.use(name_of(THIRD)).primary == key_of(THIRD)
    file.remove(name_of(FIRST))
    assert file.remove(name_of(SECOND)).keys == (key_of(THIRD),)
    assert load_keyring(file.path).keys == (key_of(THIRD),)


def test_comments_and_mode_stay(file: KeyringFile) -> None:
    file.use(name_of(SECOND))
    assert file.path.read_text() == f"# the cluster's keys\n{SECOND}\n{FIRST} # since spring\n\n"
    assert file.path.stat().st_mode & 0o777 == 0o640


def test_a_key_that_is_there_is_not_added_twice(file: KeyringFile) -> None:
    before = file.path.read_text()
    file.add(SECOND)
    assert file.path.read_text() == before


def test_the_key_that_encrypts_is_not_removed(file: KeyringFile) -> None:
    with pytest.raises(KeyringChangeError, match="encrypts"):
        file.remove(name_of(FIRST))


@pytest.mark.parametrize("change", ["use", "remove"])
def test_an_unknown_key_is_named_beside_those_there_are(file: KeyringFile, change: str) -> None:
    with pytest.raises(KeyringChangeError, match=name_of(SECOND)):
        getattr(file, change)(name_of(THIRD))


@pytest.mark.parametrize("text", ["", "nonsense!", f"{THIRD}\n{new_key()}", "AAAA"])
def test_what_is_not_one_key_is_not_added(file: KeyringFile, text: str) -> None:
    with pytest.raises(KeyringChangeError):
        file.add(text)


def test_there_is_room_for_so_many_keys(file: KeyringFile) -> None:
    for _ in range(MAX_KEYS - 2):
        file.add(new_key())
    with pytest.raises(KeyringChangeError, match="remove"):
        file.add(new_key())


def test_a_link_to_the_file_stays_a_link(file: KeyringFile, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.path)
    KeyringFile(link).add(THIRD)
    assert link.is_symlink()
    assert len(load_keyring(file.path).keys) == 3


def test_a_file_that_cannot_be_replaced_is_left_as_it_is(file: KeyringFile) -> None:
    file.path.with_name(f"{file.path.name}.{os.getpid()}.tmp").mkdir()
    before = file.path.read_text()
    with pytest.raises(KeyringChangeError, match="mounted secret"):
        file.add(THIRD)
    assert file.path.read_text() == before


def test_a_file_that_is_gone_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        KeyringFile(tmp_path / "missing").add(THIRD)


def test_a_fingerprint_tells_keys_apart_and_nothing_of_them() -> None:
    assert len({name_of(FIRST), name_of(SECOND), name_of(THIRD)}) == 3
    assert name_of(FIRST) not in FIRST
