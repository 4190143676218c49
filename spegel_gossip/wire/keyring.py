"""The cluster keys: which encrypts, which decrypt.

A key is replaced in three roll-outs, each a change of the file: the new key is
appended (everybody can read it), moved to the front (everybody writes it), and the
old one removed. So the first encrypts and all decrypt.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass
from pathlib import Path

from spegel_gossip.errors import ConfigError

KEY_BYTES = 32
MAX_KEYS = 8
"""Every key is tried on a datagram that does not open, so their number bounds that work."""

MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Keyring:
    """The cluster keys, the encrypting one first."""

    keys: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.keys) <= MAX_KEYS:
            raise ValueError(f"a keyring has 1-{MAX_KEYS} keys, not {len(self.keys)}")
        if any(len(key) != KEY_BYTES for key in self.keys):
            raise ValueError(f"a cluster key has {KEY_BYTES} bytes")

    def __repr__(self) -> str:
        # The generated one would write the keys into the first traceback.
        return f"Keyring(<{len(self.keys)} keys>)"

    @property
    def primary(self) -> bytes:
        """The key that encrypts and signs."""
        return self.keys[0]


def new_key() -> str:
    """Return a fresh key, as it stands in a keyring file."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_keyring(text: str, *, source: str) -> Keyring:
    """Parse a keyring file: a base64 key a line, blank lines and `#` comments aside.

    Args:
        text: the file's content
        source: how to call it in an error

    Raises:
        ConfigError: a line is no key, or there is none, or there are too many.
    """
    keys: list[bytes] = []
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        keys.append(_parse_key(word, where=f"{source} line {number}"))
    if not keys:
        raise ConfigError(f"--cluster-key-file: {source} holds no key; `spegel-gossip keyring new` makes one")
    if len(keys) > MAX_KEYS:
        raise ConfigError(
            f"--cluster-key-file: {source} holds {len(keys)} keys; remove old ones until {MAX_KEYS} are left"
        )
    return Keyring(tuple(dict.fromkeys(keys)))


def load_keyring(path: Path) -> Keyring:
    """Read a keyring file.

    Raises:
        ConfigError: the file cannot be read or is no keyring; the message names the remedy.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as exc:
        raise ConfigError(
            f"--cluster-key-file: {path} does not exist; make one with `spegel-gossip keyring new > {path}`"
        ) from exc
    except OSError as exc:
        raise ConfigError(
            f"--cluster-key-file: cannot read {path} ({exc.strerror}); make it a file that this user may read"
        ) from exc
    try:
        text = raw[:MAX_FILE_BYTES].decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(
            f"--cluster-key-file: {path} is not text; it wants one base64 key of {KEY_BYTES} bytes a line"
        ) from exc
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(
            f"--cluster-key-file: {path} is larger than {MAX_FILE_BYTES} bytes; is it a keyring?"
        )
    return parse_keyring(text, source=str(path))


def _parse_key(word: str, *, where: str) -> bytes:
    try:
        key = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError) as exc:
        # The line itself stays out of the message: it may be a key with one letter wrong.
        raise ConfigError(
            f"--cluster-key-file: {where} is not base64; `spegel-gossip keyring new` makes a key"
        ) from exc
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"--cluster-key-file: {where} is a key of {len(key)} bytes instead of {KEY_BYTES}; "
            f"`spegel-gossip keyring new` makes one"
        )
    return key
