from __future__ import annotations

import errno
import socket

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.wire.sockets import open_peer_sockets


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "0.0.0.0"])  # noqa: S104 # what an operator may write
def test_both_sockets_get_one_port(host: str) -> None:
    opened = open_peer_sockets(host, 0)

    assert opened.udp.getsockname()[1] == opened.tcp.getsockname()[1] == opened.port
    opened.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken_is_a_config_error_that_says_what_to_do(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()

        with pytest.raises(ConfigError, match=r"--peer-listen: .* choose another port"):
            open_peer_sockets("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["node-1", "", "192.0.2.1", "10.0.0.0.1"])
def test_an_address_that_is_not_ours_is_a_config_error(host: str) -> None:
    with pytest.raises(ConfigError, match="--peer-listen"):
        open_peer_sockets(host, 0)


def test_a_kernel_without_ipv6_gets_v4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel(socket.socket):
        def __init__(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> None:  # noqa: A002 # the interface's name
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, type)

    monkeypatch.setattr(socket, "socket", Kernel)
    opened = open_peer_sockets("::", 0)

    assert opened.udp.family == opened.tcp.family == socket.AF_INET
    opened.close()


def test_the_receive_buffer_is_larger_than_the_usual() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        usual = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    opened = open_peer_sockets("127.0.0.1", 0)

    # The kernel may cut it to what is usual, and never below.
    assert opened.udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= usual
    opened.close()
