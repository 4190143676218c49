"""The keyring file, changed on an operator's word.

Where the file is a mounted secret it cannot be written, and the secret itself is to
be changed; the node reads it again within seconds (`reload`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from spegel_gossip.errors import ConfigError, SpegelGossipError
from spegel_gossip.wire.keyring import MAX_KEYS, Keyring, load_keyring, parse_keyring

FINGERPRINT_DIGITS = 16
"""Hexadecimal digits by which people know a key: 64 bits, and nothing of the key itself."""


class KeyringChangeError(SpegelGossipError, ValueError):
    """What was asked of the keyring cannot be; the message says what can."""


def fingerprint(key: bytes) -> str:
    """Return what people call a key: it may be shown, compared, and typed."""
    return sha256(b"spegel-gossip key\0" + key).hexdigest()[:FINGERPRINT_DIGITS]


@dataclass(frozen=True, slots=True)
class KeyringFile:
    """The keyring file of this node. Every method blocks for the disk: call it from a thread.

    Comments stay where they are, and so do the file's mode and owner.
    """

    path: Path

    def add(self, text: str) -> Keyring:
        """Append a key, which from now on decrypts; one that is there already stays where it is.

        Raises:
            KeyringChangeError: the text is not one key, there is no room, or the file cannot be written.
            ConfigError: the file cannot be read.
        """
        try:
            added = parse_keyring(text, source="the key to add").keys
        except ConfigError as exc:
            raise KeyringChangeError(str(exc).removeprefix("--cluster-key-file: ")) from exc
        if len(added) != 1:
            raise KeyringChangeError(f"one key is added at a time, not {len(added)}")
        keyring = load_keyring(self.path)
        if added[0] in keyring.keys:
            return keyring
        if len(keyring.keys) >= MAX_KEYS:
            raise KeyringChangeError(f"there are {MAX_KEYS} keys already: remove an old one first")
        return self._write([*self._lines(), next(line for line in text.splitlines() if _key_of(line))])

    def use(self, wanted: str) -> Keyring:
        """Have the key with this fingerprint encrypt: it comes to the front.

        Raises:
            KeyringChangeError: there is no such key, or the file cannot be written.
            ConfigError: the file cannot be read.
        """
        self._find(wanted)
        lines = self._lines()
        chosen = [line for line in lines if _is(line, wanted)]
        rest = [line for line in lines if not _is(line, wanted)]
        first = next((at for at, line in enumerate(rest) if _key_of(line)), len(rest))
        return self._write([*rest[:first], *chosen, *rest[first:]])

    def remove(self, wanted: str) -> Keyring:
        """Forget the key with this fingerprint.

        Raises:
            KeyringChangeError: there is no such key, it encrypts, or the file cannot be written.
            ConfigError: the file cannot be read.
        """
        if self._find(wanted) == 0:
            raise KeyringChangeError("that key encrypts: use another one before you remove it")
        return self._write([line for line in self._lines() if not _is(line, wanted)])

    def _find(self, wanted: str) -> int:
        known = [fingerprint(key) for key in load_keyring(self.path).keys]
        if wanted not in known:
            raise KeyringChangeError(
                f"there is no key {wanted[:FINGERPRINT_DIGITS]!r}: there are {', '.join(known)}"
            )
        return known.index(wanted)

    def _lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def _write(self, lines: list[str]) -> Keyring:
        """Replace the file whole or not at all; a link to it stays a link."""
        path = self.path.resolve()
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            there = path.stat()
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IMODE(there.st_mode))
            with os.fdopen(descriptor, "w") as file:
                os.fchown(descriptor, there.st_uid, there.st_gid)
                file.write("".join(f"{line}\n" for line in lines))
                file.flush()
                os.fsync(descriptor)
            temporary.replace(path)
        except OSError as exc:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise KeyringChangeError(
                f"{self.path} cannot be written ({exc.strerror}): if it is a mounted secret, change the "
                "secret, and every node reads it again"
            ) from exc
        return load_keyring(self.path)


def _key_of(line: str) -> str:
    return line.partition("#")[0].strip()


def _is(line: str, wanted: str) -> bool:
    word = _key_of(line)
    return bool(word) and fingerprint(parse_keyring(word, source="a line").primary) == wanted
