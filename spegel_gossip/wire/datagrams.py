"""The UDP socket: sealed datagrams in and out, handed out by kind."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import trio
from prometheus_client import Counter

from spegel_gossip.errors import ConfigError, DecodeError
from spegel_gossip.swim.address import Address
from spegel_gossip.wire import metrics
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.envelope import MAX_DATAGRAM, Envelope
from spegel_gossip.wire.errors import EnvelopeError
from spegel_gossip.wire.kinds import DatagramKind
from spegel_gossip.wire.quiet import QuietLog

BURST = 64
"""Datagrams taken from the socket in one turn; then others on the loop have theirs."""

MAX_ADDRESSES = 4096
"""Senders' addresses kept in their checked form; checking one takes as long as opening its datagram."""

_SEND_FAILURES = {
    errno.EAGAIN: "buffer_full",
    errno.ENOBUFS: "buffer_full",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EADDRNOTAVAIL: "unreachable",
    errno.EAFNOSUPPORT: "unreachable",
    errno.EPERM: "forbidden",  # what a local firewall rule answers
    errno.EACCES: "forbidden",
    errno.EMSGSIZE: "too_large",
}


_Counters = tuple[Counter, Counter]


def _counters(direction: str) -> dict[int, _Counters]:
    # Looked up once and not for each datagram, which costs more than to count it.
    return {
        kind.value: (
            metrics.DATAGRAMS.labels(kind.name.lower(), direction),
            metrics.DATAGRAM_BYTES.labels(kind.name.lower(), direction),
        )
        for kind in DatagramKind
    }


_SENT = _counters("sent")
_RECEIVED = _counters("received")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a datagram; name and boot are authentic when a key is set."""

    name: str
    boot: int
    address: Address
    """Where it came from, which need not be an address the member advertises."""


DatagramHandler = Callable[[bytes, Sender], None]


class Datagrams:
    """The one owner of the UDP socket."""

    def __init__(self, sock: socket.socket, credentials: Credentials) -> None:
        """Take a bound, non-blocking socket; whoever opened it closes it."""
        self._sock = sock
        self._is_v6 = sock.family == socket.AF_INET6
        self._envelope = Envelope(credentials)
        self._handlers: dict[int, DatagramHandler] = {}
        self._log_dropped = QuietLog("datagram dropped")
        self._log_unsent = QuietLog("datagram not sent")
        self._log_failed = QuietLog("datagram failed")
        self.max_body = self._envelope.max_body
        """Bytes of a body that fit into one datagram of ours."""

    def handle(self, kind: DatagramKind, handler: DatagramHandler) -> None:
        """Have all datagrams of one kind passed to `handler`, as they arrive.

        It runs on the receiving task, so it must not take long. It may raise
        `DecodeError`: the datagram is counted and dropped. Any other exception is a bug,
        which is logged; the datagram is dropped as well.
        """
        if kind in self._handlers:
            raise RuntimeError(f"{kind.name} has a handler already")
        self._handlers[kind] = handler

    def send(self, kind: DatagramKind, body: bytes, *, to: Address, target: str) -> None:
        """Send without waiting; what the kernel does not take is counted and lost, as UDP is.

        Args:
            kind: who handles it there
            body: at most `max_body` bytes
            to: where
            target: the member it is for; empty only for a seed whose name is not known
        """
        data = self._envelope.seal(kind, body, target=target)
        host = f"::ffff:{to.host}" if self._is_v6 and ":" not in to.host else to.host
        try:
            self._sock.sendto(data, (host, to.port))
        except OSError as exc:
            metrics.UNSENT.labels(_why_unsent(exc)).inc()
            self._log_unsent(to=str(to), target=target, reason=str(exc))
            return
        _count(_SENT[kind], data)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive until cancelled."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            for _ in range(BURST):
                try:
                    # One byte more, so that a datagram that is too long is seen to be.
                    data, source = self._sock.recvfrom(MAX_DATAGRAM + 1)
                except BlockingIOError:
                    break
                except OSError as exc:
                    # Errors that ICMP brought for something we sent: not about this datagram.
                    metrics.DROPPED.labels("socket").inc()
                    self._log_dropped(reason=str(exc))
                    break
                self._receive(data, source[0], source[1])
            else:
                await trio.lowlevel.checkpoint()

    def _receive(self, data: bytes, host: str, port: int) -> None:
        try:
            opened = self._envelope.open_untrusted(data)
            handler = self._handler(opened.kind)
            sender = Sender(opened.name, opened.boot, _address(host, port))
            handler(opened.body, sender)
        except EnvelopeError as exc:
            self._drop(exc.reason, exc, host, port)
            return
        except DecodeError as exc:
            self._drop("body", exc, host, port)
            return
        except ConfigError as exc:  # a source port of 0, which only a forger sends
            self._drop("source", exc, host, port)
            return
        except Exception as exc:  # noqa: BLE001 - one datagram that meets a bug must not end the node
            metrics.DROPPED.labels("internal").inc()
            self._log_failed.failed(exc, sender=f"{host} port {port}")
            return
        _count(_RECEIVED[opened.kind], data)

    def _handler(self, kind: int) -> DatagramHandler:
        try:
            return self._handlers[kind]
        except KeyError as exc:
            raise EnvelopeError("kind") from exc

    def _drop(self, reason: str, exc: Exception, host: str, port: int) -> None:
        metrics.DROPPED.labels(reason).inc()
        self._log_dropped(sender=f"{host} port {port}", reason=str(exc))


@lru_cache(maxsize=MAX_ADDRESSES)
def _address(host: str, port: int) -> Address:
    return Address.make(host, port)


def _why_unsent(exc: OSError) -> str:
    # A v6 address and a socket that is v4 only: the resolver says so, not the kernel.
    if isinstance(exc, socket.gaierror):
        return "unreachable"
    return _SEND_FAILURES.get(exc.errno or 0, "other")


def _count(counters: _Counters, data: bytes) -> None:
    datagrams, octets = counters
    datagrams.inc()
    octets.inc(len(data))
