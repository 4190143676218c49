"""The text of our `hosts.toml`, and how one of ours is recognised.

containerd 1.6 rejects a file that has only `server` ("invalid `host` tree") and then
asks the registry itself, so there is always a `[host]` table. `dial_timeout` is
honoured from containerd 2.1 on; older ones ignore it.
"""

from __future__ import annotations

from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.swim.address import Address

_MARK = "# Written by spegel-gossip"

_HEADER = f"""{_MARK}, which writes it again when it is changed.
# `spegel-gossip hosts remove` takes it away.
"""

_DIAL_TIMEOUT = "200ms"
"""The mirror is on this machine: it accepts at once, or it is not running."""

_UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not bound


def mirror_url(listen: Address) -> str:
    """Return the URL of our registry for a client on this machine, which needs no name looked up."""
    return f"http://{Address(_UNSPECIFIED.get(listen.host, listen.host), listen.port)}"


def render(mirror: str, registry: RegistryUrl | None) -> bytes:
    """Return our `hosts.toml` for one registry, or for all of them if None.

    The file for all has no `server`: containerd then goes on to the registry in the
    image's own name, which is what a miss here means.
    """
    server = "" if registry is None else f'server = "{registry.server}"\n\n'
    return (
        f'{_HEADER}\n{server}[host."{mirror}"]\n'
        f'  capabilities = ["pull", "resolve"]\n  dial_timeout = "{_DIAL_TIMEOUT}"\n'
    ).encode()


def is_ours(content: bytes) -> bool:
    """Return whether a `hosts.toml` was written by us, by this release or another."""
    return content.startswith(_MARK.encode())
