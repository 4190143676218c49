"""The two peer sockets, bound to one port number before anything is started."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from spegel_gossip.errors import ConfigError

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked for, and cut by the kernel to net.core.rmem_max: a push of claims after a
partition comes in bursts, and what does not fit is lost without a trace."""

LISTEN_BACKLOG = 512
PORT_ATTEMPTS = 16
"""How often another free port is tried when the kernel chose one that UDP has taken."""

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


@dataclass(frozen=True, slots=True)
class PeerSockets:
    """The bound sockets, non-blocking; whoever opened them closes them."""

    udp: socket.socket
    tcp: socket.socket
    """Listening."""

    port: int

    def close(self) -> None:
        """Give the port back."""
        self.udp.close()
        self.tcp.close()


def open_peer_sockets(host: str, port: int) -> PeerSockets:
    """Bind UDP and TCP to one port.

    `::` means both families; where the kernel has no IPv6 it becomes `0.0.0.0`.

    Args:
        host: an IP address, without brackets
        port: 0 for any port that is free for both

    Raises:
        ConfigError: the address cannot be had; says why and what to do.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError as exc:
        raise ConfigError(
            f"--peer-listen: {host!r} is not an IP address; use for example [::]:29501"
        ) from exc
    try:
        return _open(ip, port)
    except OSError as exc:
        if exc.errno in _NO_IPV6 and ip == ipaddress.IPv6Address("::"):
            return open_peer_sockets("0.0.0.0", port)  # noqa: S104 # both peer sockets face the cluster
        remedy = {
            errno.EADDRINUSE: "stop what listens there or choose another port",
            errno.EADDRNOTAVAIL: "use an address of this node, or [::]",
            errno.EACCES: "choose a port above 1023",
        }.get(exc.errno or 0, "choose another address")
        raise ConfigError(
            f"--peer-listen: cannot listen on {host} port {port} ({exc.strerror}); {remedy}"
        ) from exc


def _open(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> PeerSockets:
    attempts = 1 if port else PORT_ATTEMPTS
    while True:
        attempts -= 1
        tcp = _bind(ip, port, socket.SOCK_STREAM)
        chosen: int = tcp.getsockname()[1]
        try:
            udp = _bind(ip, chosen, socket.SOCK_DGRAM)
        except OSError as exc:
            tcp.close()
            if exc.errno != errno.EADDRINUSE or attempts == 0:
                raise
            continue
        tcp.listen(LISTEN_BACKLOG)
        return PeerSockets(udp=udp, tcp=tcp, port=chosen)


def _bind(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, kind: socket.SocketKind
) -> socket.socket:
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            # A restarted process gets its port back although old connections linger.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind((str(ip), port))
    except BaseException:
        sock.close()
        raise
    return sock
