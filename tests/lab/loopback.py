"""docker-registry on this machine's loopback: for what needs a real registry and no network of its own."""

import http.client
import os
import socket
from contextlib import ExitStack, closing
from pathlib import Path

from lab.images import Artifact
from lab.process import Process, wait_until
from lab.pushing import push
from lab.registry import START_TIMEOUT, Request, parse_access_log

_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {storage}}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}
http: {{addr: '127.0.0.1:{port}', secret: lab, relativeurls: true}}
{more}
"""


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    [port] = free_ports(1)
    return port


def free_ports(count: int) -> list[int]:
    """As many as that, each another: drawn one after the other, two may be the same."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class LoopbackRegistry:
    """An empty registry; a context manager that ends it.

    Args:
        directory: for its files
        more: further lines of its configuration
    """

    def __init__(self, directory: Path, *, more: str = "") -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.log = directory / "registry.log"
        config = directory / "registry.yml"
        config.write_text(_CONFIG.format(storage=directory / "storage", port=self.port, more=more))
        environment = {"OTEL_TRACES_EXPORTER": "none", "PATH": os.environ["PATH"]}
        self._process = Process(
            ["docker-registry", "serve", str(config)], log=self.log, environment=environment
        )
        wait_until(
            self._is_answering,
            what="docker-registry to answer",
            timeout=START_TIMEOUT,
            logs=[self.log],
            still_possible=self._process.is_running,
        )

    def __enter__(self) -> "LoopbackRegistry":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def push(self, artifact: Artifact, repository: str, tag: str) -> str:
        """Push an artifact with plain requests, and return a reference to it."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            push(connection, artifact, repository, tag)
        return f"{self.host}/{repository}:{tag}"

    def requests(self) -> list[Request]:
        """What was asked of it so far."""
        return parse_access_log(self.log.read_text(errors="replace"))

    def _is_answering(self) -> bool:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)) as connection:
            try:
                connection.request("GET", "/v2/")
                return connection.getresponse().status in {200, 401}
            except OSError:
                return False
