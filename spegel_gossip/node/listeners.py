"""The HTTP listeners of this node's own clients, bound before anything is started."""

from __future__ import annotations

import errno
import socket

import trio

from spegel_gossip.errors import ConfigError
from spegel_gossip.swim.address import Address

_BACKLOG = 256

_REMEDIES = {
    errno.EADDRINUSE: "stop what listens there (an old node?) or choose another port",
    errno.EADDRNOTAVAIL: "use an address of this node",
    errno.EACCES: "choose a port above 1023",
}


def listen(flag: str, address: Address) -> trio.SocketListener:
    """Return a listener at `address`; `flag` is what the operator set it with.

    Raises:
        ConfigError: the address cannot be had; says why and what to do.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise _cannot(flag, address, exc) from exc
    try:
        # A restarted process gets its port back although old connections linger.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        raise _cannot(flag, address, exc) from exc
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _cannot(flag: str, address: Address, error: OSError) -> ConfigError:
    remedy = _REMEDIES.get(error.errno or 0, "choose another address")
    return ConfigError(f"{flag}: cannot listen on {address} ({error.strerror}); {remedy}")
