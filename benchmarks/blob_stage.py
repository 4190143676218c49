"""Where the blob benchmarks play: two nodes and two nginx that have the same file."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import digest_of
from benchmarks.harness import Bench
from benchmarks.programs import HOST, Nginx, Node, free_port, make_blob, write_key

NGINX_PROXY = """
    proxy_http_version 1.1; proxy_set_header Connection "";
    upstream origin {{ server {host}:{origin}; keepalive 64; }}
    server {{ listen {host}:{on}; proxy_buffering on; proxy_max_temp_file_size 0; proxy_buffers 16 64k;
             location / {{ proxy_pass http://origin; }} }}
    server {{ listen {host}:{off}; proxy_buffering off; proxy_buffer_size 256k; proxy_buffers 4 256k;
             location / {{ proxy_pass http://origin; }} }}
"""


@dataclass(frozen=True)
class Stage:
    """Everything that runs: node a holds the blob, node b holds nothing; nginx serves the same file."""

    a: Node
    b: Node
    origin: Nginx
    proxy: Nginx
    origin_port: int
    buffered_port: int
    unbuffered_port: int
    digest: str
    size: int
    directory: Path

    @property
    def blob(self) -> str:
        """The path under which both our registries and nginx have the blob."""
        return blob_path(self.digest)


def blob_path(digest: str) -> str:
    """The path of a blob at a registry."""
    return f"/v2/bench/blobs/{digest}"


def temporary_directory(stack: ExitStack) -> Path:
    """A directory that goes when the stack does."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spegel-gossip-bench-")))


def set_up(bench: Bench, stack: ExitStack, directory: Path, size: int) -> Stage:
    """Start two nodes and two nginx, and let one of each hold the same file."""
    bench.progress(f"starting two nodes and nginx, one blob of {size >> 20} MiB")
    key = write_key(directory)
    a = Node("a", directory, stack, has_containerd=True)
    b = Node("b", directory, stack, has_containerd=True)
    source = directory / "blob"
    digest = make_blob(source, size, bench.seed)
    on_disk = a.ingest(source, digest)
    source.unlink()
    a.start(key, [b])
    b.start(key, [a])
    for node in (a, b):
        node.wait_members(2)
    b.wait_holder(digest, "a")
    ports = [free_port() for _ in range(3)]
    # A hard link: both servers send the very same pages of the page cache.
    served = directory / "www" / "v2" / "bench" / "blobs"
    served.mkdir(parents=True)
    os.link(on_disk, served / digest)
    listen = f"server {{ listen {HOST}:{ports[0]}; root {directory}/www; }}"
    origin = Nginx("origin", directory, stack, listen)
    text = NGINX_PROXY.format(host=HOST, origin=ports[0], on=ports[1], off=ports[2])
    proxy = Nginx("proxy", directory, stack, text)
    for server, port in ((origin, ports[0]), (proxy, ports[1]), (proxy, ports[2])):
        server.wait_listening(port)
    for name, port in (("a", a.registry), ("b", b.registry), ("nginx", ports[0])):
        if digest_of(HOST, port, blob_path(digest)) != digest:
            raise RuntimeError(f"{name} sends wrong bytes")
    return Stage(a, b, origin, proxy, ports[0], ports[1], ports[2], digest, size, directory)
