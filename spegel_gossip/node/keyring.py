"""The keyring commands of the admin socket: the file is changed, and what it says is used at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog
import trio

from spegel_gossip.admin.shapes import KeyringShape
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.keyring_file import KeyringChangeError, KeyringFile, fingerprint

log = structlog.get_logger(__name__)


class KeyringControl:
    """Shows and changes the keyring of a running node."""

    def __init__(self, path: Path | None, credentials: Credentials) -> None:
        """Take the keyring file, None in plaintext mode, and what uses its keys."""
        self._file = None if path is None else KeyringFile(path)
        self._credentials = credentials

    def commands(self) -> dict[str, Callable[[Mapping[str, str]], Awaitable[object]]]:
        """Return what is done for POST, by path."""
        return {"/keyring/add": self.add, "/keyring/use": self.use, "/keyring/remove": self.remove}

    async def show(self, _query: Mapping[str, str]) -> KeyringShape:
        """Return the keys in use, by their fingerprints.

        Raises:
            KeyringChangeError: there is no keyring.
        """
        file, keyring = self._need_file(), self._credentials.keyring
        if keyring is None:
            raise KeyringChangeError(f"{file.path} was not read")
        return self._shape(file, keyring)

    async def add(self, arguments: Mapping[str, str]) -> KeyringShape:
        """Append the key in `key`.

        Raises:
            KeyringChangeError: it cannot be; the message says why.
            ConfigError: the file cannot be read.
        """
        return await self._change(self._need_file().add, arguments.get("key", ""), "added")

    async def use(self, arguments: Mapping[str, str]) -> KeyringShape:
        """Have the key with `fingerprint` encrypt.

        Raises:
            KeyringChangeError: it cannot be; the message says why.
            ConfigError: the file cannot be read.
        """
        return await self._change(self._need_file().use, arguments.get("fingerprint", ""), "used")

    async def remove(self, arguments: Mapping[str, str]) -> KeyringShape:
        """Forget the key with `fingerprint`.

        Raises:
            KeyringChangeError: it cannot be; the message says why.
            ConfigError: the file cannot be read.
        """
        return await self._change(self._need_file().remove, arguments.get("fingerprint", ""), "removed")

    async def _change(self, change: Callable[[str], Keyring], argument: str, what: str) -> KeyringShape:
        keyring = await trio.to_thread.run_sync(change, argument)
        self._credentials.keyring = keyring
        log.info("the keyring was changed by command", change=what, keys=len(keyring.keys))
        return self._shape(self._need_file(), keyring)

    def _need_file(self) -> KeyringFile:
        if self._file is None:
            raise KeyringChangeError(
                "this node runs in plaintext and has no keyring: start it with --cluster-key-file"
            )
        return self._file

    @staticmethod
    def _shape(file: KeyringFile, keyring: Keyring) -> KeyringShape:
        return {
            "file": str(file.path),
            "keys": [
                {"fingerprint": fingerprint(key), "encrypts": key == keyring.primary} for key in keyring.keys
            ],
        }
