"""Seeds behind the SRV records of a name: `--seed-dns _peers._udp.NAME`.

SRV records carry ports, so members need not share one.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from spegel_gossip.discovery.dns_message import (
    SrvAnswer,
    SrvTarget,
    decode_answer_untrusted,
    encode_question,
)
from spegel_gossip.discovery.source import DiscoveryError, SeedName, resolve
from spegel_gossip.errors import DecodeError
from spegel_gossip.swim.address import Address

RESOLV_CONF: Final = Path("/etc/resolv.conf")
MAX_SERVERS: Final = 3
"""As many as the C library asks (resolv.conf(5), MAXNS)."""

MAX_TARGETS: Final = 16
"""Targets resolved each time, chosen anew: any member will do as a seed."""

SERVER_TIMEOUT: Final = 1.5
"""Seconds for one server; with three of them a source is still within the time that it is given."""

_PORT: Final = 53
_NO_SUCH_NAME: Final = 3
_MAX_DATAGRAM: Final = 4096
_MAX_STREAM: Final = 65535


class SrvSeeds:
    """The targets of one name's SRV records."""

    def __init__(
        self, name: str, *, rng: random.Random, servers: Callable[[], Sequence[Address]] | None = None
    ) -> None:
        """Take the name; `servers` are those of /etc/resolv.conf if None, read anew each time."""
        self._name = name
        self._rng = rng
        self._servers = servers or configured_servers

    @property
    def name(self) -> str:
        """The flag and its value."""
        return f"--seed-dns {self._name}"

    async def find(self) -> Sequence[Address]:
        """Ask for the records, and resolve their targets.

        Raises:
            DiscoveryError: no server answers, or the name has no SRV records, or no target resolves.
        """
        targets = await self._targets()
        chosen = self._rng.sample(targets, min(len(targets), MAX_TARGETS))
        found: dict[Address, None] = {}
        failures: list[str] = []

        async def look_up(target: SrvTarget) -> None:
            try:
                found.update(dict.fromkeys(await resolve(SeedName(target.host, target.port))))
            except DiscoveryError as exc:
                failures.append(str(exc))

        async with trio.open_nursery() as nursery:
            for target in chosen:
                nursery.start_soon(look_up, target)
        if failures and not found:
            raise DiscoveryError(failures[0])
        return sorted(found)

    async def _targets(self) -> Sequence[SrvTarget]:
        problem = f"{RESOLV_CONF} names no server"
        for server in self._servers()[:MAX_SERVERS]:
            try:
                with trio.fail_after(SERVER_TIMEOUT):
                    answer = await self._ask(server)
            except (trio.TooSlowError, OSError, DecodeError, ValueError) as exc:
                problem = f"{server} does not answer for {self._name} ({str(exc) or 'no answer in time'})"
                continue
            if answer.targets:
                return answer.targets
            if answer.code in {0, _NO_SUCH_NAME}:
                raise DiscoveryError(f"{self._name} has no SRV records")
            problem = f"{server} refuses to answer for {self._name} (code {answer.code})"
        raise DiscoveryError(problem)

    async def _ask(self, server: Address) -> SrvAnswer:
        number = self._rng.randrange(1 << 16)
        question = encode_question(number, self._name)
        answer = await _by_datagram(server, question, number)
        return await _by_stream(server, question, number) if answer.is_truncated else answer


def configured_servers() -> Sequence[Address]:
    """Return the name servers of /etc/resolv.conf; none if it cannot be read."""
    try:
        lines = RESOLV_CONF.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    words = [line.split() for line in lines]
    texts = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    return [Address.make(text, _PORT) for text in texts if _is_ip(text)]


def _is_ip(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text.partition("%")[0])
        except OSError:
            continue
        return True
    return False


def _family(server: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server.host else socket.AF_INET


async def _by_datagram(server: Address, question: bytes, number: int) -> SrvAnswer:
    with trio.socket.socket(_family(server), socket.SOCK_DGRAM) as sock:
        # Connected: the kernel drops what comes from elsewhere.
        await sock.connect((server.host, server.port))
        await sock.send(question)
        while True:
            data = await sock.recv(_MAX_DATAGRAM)
            try:
                return decode_answer_untrusted(data, number)
            except DecodeError:
                # A late answer to an earlier question, or a forgery: the right one may still come.
                continue


async def _by_stream(server: Address, question: bytes, number: int) -> SrvAnswer:
    with trio.socket.socket(_family(server), socket.SOCK_STREAM) as sock:
        await sock.connect((server.host, server.port))
        stream = trio.SocketStream(sock)
        await stream.send_all(len(question).to_bytes(2, "big") + question)
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            chunk = await stream.receive_some(_MAX_STREAM)
            if not chunk:
                raise DecodeError("the answer ends before its length")
            data += chunk
        return decode_answer_untrusted(data[2:], number)
