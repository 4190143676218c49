"""The log lines about members: one for each change, and one for a storm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog
import trio

from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import (
    BootRaised,
    ClockDiffers,
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

_CLOCK_DIFFERS = "the clock of a member is off from ours, which is allowed for: set both by NTP"

CLOCK_TOLERANCE = 5.0
"""Seconds by which a clock may be off without a word about it."""

CLOCK_QUIET_TIME = 60.0
"""Seconds between two warnings about clocks: who is off itself finds another to be with every ping."""


class Announcer:
    """Gathers changes of the membership and logs them."""

    def __init__(self) -> None:
        self._gathered: dict[str, dict[str, dict[str, object]]] = {}
        """By sentence and member: what else is to be said."""
        self._clocks_quiet_until = 0.0
        self._has_news = trio.Event()

    def tell(self, event: MembershipEvent) -> None:
        """Take in an event; joins, deaths and departures are logged soon, warnings at once."""
        match event:
            case MemberJoined(member) | MemberDied(member) | MemberLeft(member):
                self._gather(_SENTENCES[type(event)], member.name)
            case ClockDiffers(member, seconds):
                if abs(seconds) >= CLOCK_TOLERANCE:
                    self._gather(_CLOCK_DIFFERS, member.name, ahead_s=round(seconds))
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
            for sentence, members in self._take(trio.current_time()):
                say = log.warning if sentence == _CLOCK_DIFFERS else log.info
                if len(members) <= MAX_SINGLE:
                    for name, facts in members.items():
                        say(sentence, name=name, **facts)
                else:
                    first = list(members)[:MAX_NAMED]
                    say("many members at once", change=sentence, count=len(members), first=first)
            if self._gathered:
                self._has_news.set()

    def _gather(self, sentence: str, name: str, **facts: object) -> None:
        members = self._gathered.setdefault(sentence, {})
        if len(members) < MAX_GATHERED:
            members[name] = facts
        self._has_news.set()

    def _take(self, now: float) -> Iterator[tuple[str, dict[str, dict[str, object]]]]:
        gathered, self._gathered = self._gathered, {}
        if _CLOCK_DIFFERS in gathered:
            if now < self._clocks_quiet_until:
                self._gathered[_CLOCK_DIFFERS] = gathered.pop(_CLOCK_DIFFERS)
            else:
                self._clocks_quiet_until = now + CLOCK_QUIET_TIME
        yield from gathered.items()
