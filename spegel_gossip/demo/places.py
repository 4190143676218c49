"""Addresses for processes that must not meet anything else on this machine."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from spegel_gossip.demo.errors import DemoError
from spegel_gossip.swim.address import Address

REGISTRY_PORT = 29500
PEER_PORT = 29501
STATUS_PORT = 29502

MAX_ATTEMPTS = 32
"""Networks of 127.0.0.0/8 that are tried; each is taken only by another demo."""

_NETWORKS = 250
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """The three addresses of one process: its registry, its peers' side, its status page."""

    registry: Address
    peers: Address
    status: Address

    @classmethod
    def at(cls, host: str) -> Self:
        """Return the usual ports of a host."""
        return cls(Address(host, REGISTRY_PORT), Address(host, PEER_PORT), Address(host, STATUS_PORT))


def find_places(count: int) -> Sequence[Place]:
    """Return places on which nobody listens now.

    On Linux all of 127.0.0.0/8 is this machine, so that every node has the same ports and
    an address of its own, as on real machines. Where only 127.0.0.1 is, free ports do.

    Raises:
        DemoError: there are none.
    """
    for network in _networks():
        places = [Place.at(f"127.29.{network}.{number}") for number in range(1, count + 1)]
        try:
            _try_all(places)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                continue
            return _on_free_ports(count)
        return places
    raise DemoError(f"{MAX_ATTEMPTS} networks of 127.29.0.0/16 are in use: end the other demos")


def _networks() -> Iterator[int]:
    # Two demos that start at once begin their search at different places.
    for attempt in range(MAX_ATTEMPTS):
        yield (os.getpid() + attempt) % _NETWORKS + 1


def _try_all(places: Sequence[Place]) -> None:
    with ExitStack() as stack:
        for place in places:
            for address in (place.registry, place.peers, place.status):
                _bind(stack, socket.SOCK_STREAM, address.host, address.port)
            _bind(stack, socket.SOCK_DGRAM, place.peers.host, place.peers.port)


def _on_free_ports(count: int) -> Sequence[Place]:
    with ExitStack() as stack:
        try:
            # All are held until all are found, so that none is found twice.
            ports = [_bind(stack, socket.SOCK_STREAM, _LOOPBACK, 0) for _ in range(3 * count)]
        except OSError as exc:
            raise DemoError(f"no free port on {_LOOPBACK} ({exc.strerror}): is the loopback up?") from exc
    addresses = [Address(_LOOPBACK, port) for port in ports]
    return [Place(*addresses[first : first + 3]) for first in range(0, 3 * count, 3)]


def _bind(stack: ExitStack, kind: socket.SocketKind, host: str, port: int) -> int:
    sock = stack.enter_context(socket.socket(socket.AF_INET, kind))
    if kind is socket.SOCK_STREAM:
        # As the nodes will: what an earlier demo's connections left behind is no obstacle.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    bound: int = sock.getsockname()[1]
    return bound
