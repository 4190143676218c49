from __future__ import annotations

import base64
from pathlib import Path

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.wire.keyring import MAX_KEYS, Keyring, load_keyring, new_key, parse_keyring

FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    keyring = parse_keyring(f"{text(FIRST)}\n{text(SECOND)}\n", source="keys")

    assert keyring.primary == FIRST
    assert keyring.keys == (FIRST, SECOND)


def test_blank_lines_and_comments_are_ignored() -> None:
    keyring = parse_keyring(f"# ours\n\n  {text(FIRST)}  # since May\n", source="keys")

    assert keyring.keys == (FIRST,)


def test_a_key_that_stands_twice_is_one_key() -> None:
    assert parse_keyring(f"{text(FIRST)}\n{text(FIRST)}", source="keys").keys == (FIRST,)


def test_a_new_key_is_a_keyring_and_no_two_are_alike() -> None:
    one, other = new_key(), new_key()

    assert one != other
    assert len(parse_keyring(one, source="keys").primary) == 32


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nothing yet\n",
        "not base64 at all!",
        "ÄÖÜ",
        base64.b64encode(b"short").decode(),
        base64.b64encode(bytes(64)).decode(),
        "\n".join(new_key() for _ in range(MAX_KEYS + 1)),
    ],
)
def test_what_is_no_keyring_is_a_config_error(content: str) -> None:
    with pytest.raises(ConfigError, match="--cluster-key-file: keys"):
        parse_keyring(content, source="keys")


def test_an_error_names_the_line_and_not_the_key() -> None:
    damaged = text(FIRST)[:-3]

    with pytest.raises(ConfigError, match="line 2") as caught:
        parse_keyring(f"{text(SECOND)}\n{damaged}\n", source="keys")

    assert damaged not in str(caught.value)


def test_neither_repr_nor_str_shows_a_key() -> None:
    keyring = Keyring((FIRST,))

    assert repr(keyring) == str(keyring) == "Keyring(<1 keys>)"


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(new_key())

    assert len(load_keyring(path).keys) == 1


@pytest.mark.parametrize("kind", ["missing", "directory", "binary", "huge"])
def test_a_file_that_cannot_be_a_keyring_is_a_config_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys"
    match kind:
        case "directory":
            path.mkdir()
        case "binary":
            path.write_bytes(b"\xff\xfe" * 20)
        case "huge":
            path.write_bytes(b"#" * 100_000)
        case _:
            pass

    with pytest.raises(ConfigError, match="--cluster-key-file"):
        load_keyring(path)


@pytest.mark.parametrize("keys", [(), (b"short",), (FIRST,) * (MAX_KEYS + 1)])
def test_a_keyring_cannot_be_made_wrong(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="key"):
        Keyring(keys)
