"""Fetch messages at one member, as owner and as asker, beside the directory whose keys they are about."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Final

from spegel_gossip.directory.complaints import Complaint
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.fetch_codec import decode_fetch_untrusted, encode_fetch
from spegel_gossip.directory.fetch_messages import (
    MAX_FAILED_TOLD,
    MAX_PROGRESS_ITEMS,
    FetchAsk,
    FetchTold,
    Progress,
    ProgressItem,
    ProgressState,
)
from spegel_gossip.directory.inquiry import view_of
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.directory.leases import Leases
from spegel_gossip.directory.messages import Spreading
from spegel_gossip.directory.outgoing import Outgoing
from spegel_gossip.directory.parents import Known
from spegel_gossip.directory.spreading import spreading_of
from spegel_gossip.swim.names import name_hash

PROGRESS_OWNERS: Final = 2
"""Owners that hear how far a blob is: the one that decides, and the one that would after it."""

MAX_BURDEN: Final = 0xFFFF
"""More than any node fetches at once."""

MAX_TOLD_WAITING: Final = 4_096
"""Answers that wait to be taken by whoever asked."""


class FetchDesk:
    """One member's part in the fetching of blobs."""

    def __init__(self, directory: Directory, *, first_token: int, first_id: int) -> None:
        """Begin with nothing.

        Args:
            directory: of this member
            first_token: as for `Leases`
            first_id: ids of questions and reports count up from here
        """
        self._directory = directory
        self._now = 0.0
        self._unix_ms = 0
        self._next_id = first_id
        self._outbox: list[Outgoing] = []
        self._told: list[tuple[str, FetchTold]] = []
        self.leases = Leases(self._known, directory.members, first_token, directory.name_of)
        directory.look_after_spreads_by(self._describe, self._note_holder)

    def ask(
        self,
        key: PackedKey,
        owner: str,
        *,
        id_: int | None,
        offset: int,
        total: int,
        failed: Sequence[str],
        stalled: Sequence[Complaint],
        must_decide: bool,
        is_urgent: bool,
        is_crowded: bool = False,
        is_blind: bool = False,
        burden: int = 0,
        busy: Sequence[str] = (),
        together: int = 0,
        gives_way: bool = False,
        now: float,
        unix_ms: int,
    ) -> int:
        """Ask an owner, this member perhaps, and return the id that the answer will carry.

        Args:
            key: the blob
            owner: who is asked
            id_: of the question that this one repeats
            offset: bytes that are here
            total: bytes in all; 0 if unknown
            failed: sources that did not answer, or not with the blob
            stalled: that sent nothing for too long, and when they were given up
            must_decide: the owners before this one are silent, or all young
            is_urgent: whether the asker has waited as long as it can
            is_crowded: whether others were seen to pull the same image
            is_blind: whether nobody could read from this member before it has it all
            burden: other blobs that it fetches, or may be told to
            busy: sources that had no upload to spare
            together: bytes that this member lacked of the image when it began; 0 if unknown
            gives_way: whether its slot is wanted by others, so that it neither waits nor reads now
            now: for the leases
            unix_ms: for the stamps
        """
        if id_ is None:
            self._next_id += 1
            id_ = self._next_id
        ask = FetchAsk(
            id_,
            key,
            view_of(self._directory.owners(key)),
            offset,
            total,
            must_decide,
            is_urgent,
            tuple(name_hash(name) for name in failed[-MAX_FAILED_TOLD:]),
            tuple(name_hash(name) for name, _ in stalled[-MAX_FAILED_TOLD:]),
            burden=min(burden, MAX_BURDEN),
            is_crowded=is_crowded,
            is_blind=is_blind,
            busy=tuple(name_hash(name) for name in busy[-MAX_FAILED_TOLD:]),
            together=together,
            stalled_ms=tuple(max(0, round((now - at) * 1000)) for _, at in stalled[-MAX_FAILED_TOLD:]),
            gives_way=gives_way,
        )
        if owner == self._directory.name:
            self._tell_self(self._answer(ask, owner, now, unix_ms))
        else:
            self._outbox.append(Outgoing(owner, id_, encode_fetch(ask), by_stream=False))
        return id_

    def report(
        self,
        items: Sequence[ProgressItem],
        *,
        deciders: Sequence[str] = (),
        sharing: int,
        is_growing: bool,
        uplink: int = 0,
        has_spare: bool = False,
        now: float,
        unix_ms: int,
    ) -> None:
        """Tell the owners of each ingest how far it is, and who decided about it if that is another.

        Args:
            items: the ingests
            deciders: for each of them who named its source; empty if nobody did
            sharing: as in `Progress`
            is_growing: as in `Progress`
            uplink: as in `Progress`
            has_spare: as in `Progress`
            now: for the leases
            unix_ms: for the stamps
        """
        by_owner: dict[str, list[ProgressItem]] = {}
        for item, decider in zip(items, deciders or [""] * len(items), strict=True):
            told = dict.fromkeys(self._directory.live_owners(item.key)[:PROGRESS_OWNERS])
            if decider in self._directory.members:
                told[decider] = None
            for owner in told:
                if self._is_told_by_record(item, owner):
                    continue
                by_owner.setdefault(owner, []).append(item)
        for owner, theirs in by_owner.items():
            for start in range(0, len(theirs), MAX_PROGRESS_ITEMS):
                self._next_id += 1
                some = tuple(theirs[start : start + MAX_PROGRESS_ITEMS])
                message = Progress(self._next_id, sharing, is_growing, some, uplink, has_spare)
                if owner == self._directory.name:
                    self._set_time(now, unix_ms)
                    self.leases.progress(owner, message, now, unix_ms)
                else:
                    body = encode_fetch(message)
                    self._outbox.append(Outgoing(owner, message.id, body, by_stream=False))
        self._drain()

    def receive(self, data: bytes, sender: str, now: float, unix_ms: int) -> bytes | None:
        """Take in a fetch message of a member; return the answer for it, if it wants one.

        Raises:
            DecodeError: for every malformed input, and nothing else.
        """
        message = decode_fetch_untrusted(data)
        self._set_time(now, unix_ms)
        reply = None
        match message:
            case FetchAsk():
                if sender in self._directory.members:
                    reply = encode_fetch(self._answer(message, sender, now, unix_ms))
            case FetchTold():
                if len(self._told) < MAX_TOLD_WAITING:
                    self._told.append((sender, message))
            case Progress():
                if sender in self._directory.members:
                    self.leases.progress(sender, message, now, unix_ms)
        self._drain()
        return reply

    def member_gone(self, name: str, now: float, unix_ms: int) -> None:
        """Take in that a member is dead or left."""
        self._set_time(now, unix_ms)
        self.leases.member_gone(name, now)
        self._drain()

    def next_timer_at(self) -> float | None:
        """Return when `handle_timer` is due."""
        return self.leases.next_timer_at()

    def handle_timer(self, now: float, unix_ms: int) -> None:
        """Do all that was due by `now`."""
        self._set_time(now, unix_ms)
        self.leases.handle_timer(now)
        self._drain()

    def messages_to_send(self) -> list[Outgoing]:
        """Drain what is to be sent, in order."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def answers_received(self) -> list[tuple[str, FetchTold]]:
        """Drain the answers to this member's questions, with the owner of each."""
        told, self._told = self._told, []
        return told

    def name_of(self, hashed: int) -> str | None:
        """Return the live member whose name has this hash."""
        return self._directory.name_of(hashed)

    def _is_told_by_record(self, item: ProgressItem, owner: str) -> bool:
        """Return whether an owner hears from a node's record, and as soon, that it has a blob.

        A record that is lost is told again within a second, and all that waits for it meanwhile is a slot of
        the source that was read. Releases that take no DONE from a record forget a reader after 5 s without
        one, and name it as a holder all the time; a lease would be counted as lost there, so its end is told.
        """
        is_read = item.state == ProgressState.DONE and not item.token
        return is_read and self._directory.has_advertised(item.key, to=owner)

    def _answer(self, ask: FetchAsk, asker: str, now: float, unix_ms: int) -> FetchTold:
        self._set_time(now, unix_ms)
        return self.leases.ask(asker, ask, self._names(ask.failed), self._complaints(ask), now, unix_ms)

    def _complaints(self, ask: FetchAsk) -> tuple[Complaint, ...]:
        told = zip(ask.stalled, chain(ask.stalled_ms, repeat(0)), strict=False)
        found = ((self._directory.name_of(hashed), ms) for hashed, ms in told)
        return tuple(Complaint(name, self._now - ms / 1000) for name, ms in found if name is not None)

    def _known(self, key: PackedKey, asker: str) -> Known:
        directory = self._directory
        answer = directory.ask_self(key, self._now, self._unix_ms)
        holders = self._names(answer.holders)
        if directory.has_advertised(key):
            holders = (directory.name, *holders)
        is_first = directory.live_owners(key)[:1] == (directory.name,)
        return Known(
            holders=tuple(name for name in holders if name != asker),
            size=answer.size,
            is_young=answer.is_young,
            is_first=is_first,
            is_former=not is_first and directory.former_owner(key, self._now) == directory.name,
        )

    def _note_holder(self, key: PackedKey, name: str, now: float) -> None:
        self._now = now
        self.leases.noted_holder(key, name, now)
        self._drain()

    def _describe(self, key: PackedKey, now: float) -> Spreading | None:
        spread = self.leases.spread_of(key)
        return None if spread is None else spreading_of(spread, now)

    def _names(self, hashes: Sequence[int]) -> tuple[str, ...]:
        names = (self._directory.name_of(one) for one in hashes)
        return tuple(name for name in names if name is not None)

    def _tell_self(self, told: FetchTold) -> None:
        self._told.append((self._directory.name, told))

    def _drain(self) -> None:
        for asker, told in self.leases.told():
            if asker == self._directory.name:
                self._tell_self(told)
            else:
                self._outbox.append(Outgoing(asker, told.id, encode_fetch(told), by_stream=False))

    def _set_time(self, now: float, unix_ms: int) -> None:
        self._now, self._unix_ms = now, unix_ms
