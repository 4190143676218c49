"""What Spegel does to the certs.d of its node: in its init container, and in the hook of its removal."""

import shutil
from pathlib import Path

from kubelab.node import KubeNode
from kubelab.settings import CERTS_DIRECTORY
from lab.registry import HOST

BACKUP = "_backup"
_PORT = 30020


class Spegel:
    """Spegel on one node, set up to keep what it found (`prependExisting`); no mirror of it runs."""

    def __init__(self, node: KubeNode) -> None:
        self._node = node

    @property
    def _top(self) -> Path:
        return self._node.machine.path(CERTS_DIRECTORY)

    def start(self) -> None:
        """A pod of it starts: everything is moved away at the first time, and thrown away at every other."""
        backup = self._top / BACKUP
        if not backup.exists():
            backup.mkdir()
            for found in self._others():
                found.rename(backup / found.name)
        self._clear()
        # Below its own table it repeats those of the file it found.
        existing = self.found().partition("\n\n")[2]
        folder = self._top / HOST
        folder.mkdir()
        (folder / "hosts.toml").write_text(
            f"server = 'http://{HOST}'\n\n[host.'http://{self._node.address}:{_PORT}']\n"
            f"capabilities = ['pull', 'resolve']\ndial_timeout = '200ms'\n\n{existing}"
        )

    def found(self) -> str:
        """The registry's file as Spegel found it: what it writes and puts back is made of that."""
        return (self._top / BACKUP / HOST / "hosts.toml").read_text()

    def uninstall(self) -> None:
        """Its hook puts back what was moved away."""
        self._clear()
        for saved in (self._top / BACKUP).iterdir():
            saved.rename(self._top / saved.name)
        (self._top / BACKUP).rmdir()

    def _clear(self) -> None:
        for entry in self._others():
            shutil.rmtree(entry)

    def _others(self) -> list[Path]:
        return [one for one in self._top.iterdir() if one.name != BACKUP]
