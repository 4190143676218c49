"""The log lines about members: one for each change, and one for a storm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog
import trio

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import (
    BootRaised,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    MembershipEvent,
    MemberSuspected,
    MemberUpdated,
    NameConflicted,
    NoteReceived,
    UdpBlocked,
)

log = structlog.get_logger(__name__)

GATHER_TIME = 1.0
"""Seconds for which changes are gathered after the first."""

MAX_SINGLE = 5
"""Changes of one sort that get a line each; more of them share one."""

MAX_NAMED = 5
"""Members that a shared line names."""

MAX_GATHERED = 16_384

_SENTENCES: dict[type[MembershipEvent], str] = {
    MemberJoined: "member joined",
    MemberDied: "member died",
    MemberLeft: "member left",
}


class Announcer:
    """Gathers changes of the membership and logs them."""

    def __init__(self) -> None:
        self._gathered: dict[str, list[str]] = {}
        self._has_news = trio.Event()

    def tell(self, event: MembershipEvent) -> None:
        """Take in an event; joins, deaths and departures are logged soon, warnings at once."""
        match event:
            case MemberJoined(member) | MemberDied(member) | MemberLeft(member):
                names = self._gathered.setdefault(_SENTENCES[type(event)], [])
                if len(names) < MAX_GATHERED:
                    names.append(member.name)
                self._has_news.set()
            case NameConflicted(name, address, boot):
                log.warning(
                    "another process lives under our name: give each node its own --node-name",
                    name=name,
                    address=str(address),
                    boot=boot,
                )
            case UdpBlocked(member):
                log.warning(
                    "a member answers over TCP only: UDP between it and this node is blocked, "
                    "open its peer port for UDP both ways",
                    name=member.name,
                    addresses=[str(address) for address in member.record.addresses],
                )
            case BootRaised(boot):
                log.warning("the clock went back since this node last ran; its boot was raised", boot=boot)
            case NoteReceived():
                pass  # every second one, and nothing about the membership
            case MemberSuspected(member, accuser):
                log.debug("member suspected", name=member.name, accuser=accuser)
            case MemberUpdated(member) | MemberRefuted(member):
                log.debug("member changed", name=member.name, change=type(event).__name__)

    def tell_failure(self, peer: str, addresses: Sequence[Address], reason: str) -> None:
        """Log that a push-pull failed; while a seed is down that is every few seconds."""
        log.debug("push-pull failed", peer=peer, addresses=[str(one) for one in addresses], reason=reason)

    async def run(self) -> None:
        """Log what was gathered, for ever."""
        while True:
            await self._has_news.wait()
            await trio.sleep(GATHER_TIME)
            self._has_news = trio.Event()
            for sentence, names in self._take():
                if len(names) <= MAX_SINGLE:
                    for name in names:
                        log.info(sentence, name=name)
                else:
                    log.info(
                        "many members at once", change=sentence, count=len(names), first=names[:MAX_NAMED]
                    )

    def _take(self) -> Iterator[tuple[str, list[str]]]:
        gathered, self._gathered = self._gathered, {}
        yield from gathered.items()
