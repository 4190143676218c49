"""docker-registry in a namespace of its own, and what its access log says was asked of it."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lab.images import Artifact
from lab.network import Namespace
from lab.process import Process, wait_until
from lab.pushing import push

REGISTRY_PORT = 5000
START_TIMEOUT = 20.0

HOST = "registry.lab"
"""The registry's name in references; hosts.toml says where it is, DNS does not know it."""

_LINE = re.compile(
    r'^(?P<client>[\d.]+) - - \[[^]]*\] "(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" '
    r'(?P<status>\d+) (?P<size>\d+) "[^"]*" "(?P<agent>[^"]*)"$',
    re.MULTILINE,
)

_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {storage}}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}
http: {{addr: '{address}:{port}', secret: lab, relativeurls: true}}
"""

USER, PASSWORD = "lab", "lab"

_HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuuBma4em9AU5Wse0h3BzRWqUYtwFfWqNy\n"
_AUTH = "auth: {{htpasswd: {{realm: lab, path: {path}}}}}\n"


@dataclass(frozen=True)
class Request:
    """One line of the access log; `size` is the body bytes that went out."""

    client: str
    method: str
    path: str
    status: int
    size: int
    agent: str

    @property
    def is_blob(self) -> bool:
        """Whether it asked for the bytes of a blob."""
        return self.method == "GET" and "/blobs/" in self.path

    @property
    def is_manifest(self) -> bool:
        """Whether it asked for a manifest, or whether there is one (HEAD)."""
        return "/manifests/" in self.path and self.method in {"GET", "HEAD"}


def parse_access_log(text: str) -> list[Request]:
    """The requests in an access log of docker-registry (Apache's combined format), other lines skipped."""
    return [
        Request(
            client=found["client"],
            method=found["method"],
            path=found["path"].partition("?")[0],
            status=int(found["status"]),
            size=int(found["size"]),
            agent=found["agent"],
        )
        for found in _LINE.finditer(text)
    ]


class Registry:
    """The upstream of a lab: starts empty, keeps what was pushed over a stop and a start."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.url = f"http://{namespace.address}:{REGISTRY_PORT}"
        self.log = directory / "registry.log"
        self._config = directory / "registry.yml"
        self._storage = directory / "registry"
        self._process: Process | None = None
        self._is_private = False
        self._counted_from = 0

    def start(self, *, is_private: bool = False) -> None:
        """Start it and wait until it answers; nothing happens when it runs that way already.

        Args:
            is_private: whether it wants `USER` and `PASSWORD`; pushes go to one that does not
        """
        if self._process is not None and self._is_private == is_private:
            return
        self.stop()
        self._is_private = is_private
        text = _CONFIG.format(storage=self._storage, address=self.namespace.address, port=REGISTRY_PORT)
        if is_private:
            passwords = self._config.with_name("registry.htpasswd")
            passwords.write_text(_HTPASSWD)
            text += _AUTH.format(path=passwords)
        self._config.write_text(text)
        argv = self.namespace.argv("docker-registry", "serve", str(self._config))
        self._process = process = Process(argv, log=self.log, environment={"OTEL_TRACES_EXPORTER": "none"})
        wait_until(
            self.is_answering,
            what="docker-registry to answer",
            timeout=START_TIMEOUT,
            logs=[self.log],
            still_possible=process.is_running,
        )

    def stop(self) -> None:
        """Stop it: connections to it are refused from now on."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def is_answering(self) -> bool:
        """Whether it answers requests, if only to ask who wants to know."""
        try:
            status, _ = self.namespace.get(self.namespace.address, REGISTRY_PORT, "/v2/", timeout=1.0)
        except OSError:
            return False
        return status in {200, 401}

    def push(self, artifact: Artifact, repository: str, tag: str | None = "latest") -> str:
        """Push an artifact and return a reference to it, by tag, or by digest when `tag` is None."""
        with closing(self.namespace.http(self.namespace.address, REGISTRY_PORT, timeout=120.0)) as connection:
            push(connection, artifact, repository, tag)
        return f"{HOST}/{repository}" + (f"@{artifact.root.digest}" if tag is None else f":{tag}")

    def requests(self, *, client: str | None = None) -> Sequence[Request]:
        """What was asked of it since the last `forget`, of all or of one client address; pushes left out."""
        with self.log.open("rb") as log:
            log.seek(self._counted_from)
            seen = parse_access_log(log.read().decode(errors="replace"))
        ours = {self.namespace.address}
        return [one for one in seen if one.client not in ours and client in {None, one.client}]

    def blob_bytes(self, artifact: Artifact | None = None) -> int:
        """Blob bytes that it sent since the last `forget`, of all or of one artifact.

        A request is in its log once it has ended: what a pull got that was cut off long ago may come late.
        """
        counted = [one for one in self.requests() if one.is_blob]
        if artifact is not None:
            counted = [one for one in counted if one.path.rpartition("/")[2] in artifact.digests]
        return sum(one.size for one in counted)

    def sending_to(self) -> dict[str, int]:
        """Unsent bytes by the address of whoever they are for: to whom it is sending at this moment."""
        listed = self.namespace.run("ss", "-Htn", "state", "established", "sport", "=", f":{REGISTRY_PORT}")
        waiting: dict[str, int] = {}
        for line in listed.splitlines():
            _, unsent, _, peer = line.split()[:4]
            address = peer.rpartition(":")[0].removeprefix("[::ffff:").removesuffix("]")
            if int(unsent):
                waiting[address] = waiting.get(address, 0) + int(unsent)
        return waiting

    def forget(self) -> None:
        """Count requests from here on."""
        self._counted_from = self.log.stat().st_size
