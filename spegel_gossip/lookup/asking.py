"""Inquiries that wait: questions go out, answers are matched to them, time ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.inquiry import INQUIRY_TIMEOUT, REPEAT_AFTER, Inquiry, Verdict
from spegel_gossip.directory.keys import PackedKey, is_tag
from spegel_gossip.directory.messages import AskedFor, KeyAnswer
from spegel_gossip.directory.outgoing import Answered, Outgoing
from spegel_gossip.lookup import metrics
from spegel_gossip.lookup.transport import Transport

MAX_OPEN_QUESTIONS: Final = 4_096
"""Questions waiting for an answer; beyond that, no more are asked until some have ended."""

ANYBODY_TIMEOUT: Final = 0.25
"""Seconds to wait for members that are no owners: who lives answers in a few milliseconds."""

Verdicts = Mapping[PackedKey, tuple[KeyAnswer, Verdict]]
_Receive = Callable[[str, Mapping[PackedKey, KeyAnswer]], None]


@dataclass(slots=True)
class _Asked:
    """A question that waits for its answer."""

    owner: str
    keys: tuple[PackedKey, ...]
    receive: _Receive
    fail: Callable[[str], None]
    by_stream: bool


class Asker:
    """Asks owners, this node among them, in the name of whoever waits."""

    def __init__(self, directory: Directory, transport: Transport, wake_driver: Callable[[], None]) -> None:
        self._directory = directory
        self._transport = transport
        self._wake_driver = wake_driver
        self._asked: dict[int, _Asked] = {}

    async def inquire(self, keys: Sequence[PackedKey], order: Sequence[str], purpose: AskedFor) -> Verdicts:
        """Return a verdict for each key; at once and without a packet where this node can tell."""
        inquiry = Inquiry(keys, order, trio.current_time())
        changed = trio.Event()
        ids: list[int] = []

        def receive(owner: str, answers: Mapping[PackedKey, KeyAnswer]) -> None:
            inquiry.answered(owner, answers)
            changed.set()

        def fail(owner: str) -> None:
            inquiry.failed(owner)
            changed.set()

        try:
            while True:
                self._ask_due(inquiry, purpose, ids, receive, fail)
                inquiry.handle_timer(trio.current_time())
                timer_at = inquiry.next_timer_at()
                if timer_at is None:
                    return inquiry.outcome()
                with trio.move_on_at(timer_at):
                    await changed.wait()
                changed = trio.Event()
        finally:
            metrics.HEDGES.inc(inquiry.hedges)
            for id_ in ids:
                self._asked.pop(id_, None)

    async def ask_any(self, key: PackedKey, members: Sequence[str]) -> KeyAnswer | None:
        """Ask members that are no owners at once, and return the best answer; None if nobody has it.

        For a digest the first who has it will do; of a tag, the newest observation within
        the time there is.
        """
        changed = trio.Event()
        heard: dict[str, KeyAnswer] = {}

        def receive(member: str, answers: Mapping[PackedKey, KeyAnswer]) -> None:
            heard.update(dict.fromkeys([member], next(iter(answers.values()))) if answers else {})
            changed.set()

        ids = [
            self._ask(member, (key,), AskedFor.READ, receive, lambda _member: None, by_stream=False)
            for member in members
        ]
        try:
            with trio.move_on_after(ANYBODY_TIMEOUT):
                while len(heard) < len(members):
                    await changed.wait()
                    changed = trio.Event()
                    if not is_tag(key) and any(not answer.is_nobody for answer in heard.values()):
                        break
        finally:
            for id_ in ids:
                self._asked.pop(id_, None)
        found = [answer for answer in heard.values() if not answer.is_nobody]
        return max(found, key=lambda answer: answer.observed_at_ms, default=None)

    async def ask_one(self, key: PackedKey, owner: str) -> KeyAnswer | None:
        """Return all that one owner says, or None if it does not answer in time."""
        if owner == self._directory.name:
            return self._directory.ask_self(key, trio.current_time(), unix_ms(), AskedFor.EXPLAIN)
        answered = trio.Event()
        found: list[KeyAnswer] = []

        def receive(_owner: str, answers: Mapping[PackedKey, KeyAnswer]) -> None:
            found.extend(answers.values())
            answered.set()

        ids = [self._ask_to_explain(key, owner, receive, answered.set, by_stream=False)]
        try:
            with trio.move_on_after(REPEAT_AFTER):
                await answered.wait()
            if not found:
                # Over TCP the second time, as an inquiry would.
                answered = trio.Event()
                ids.append(self._ask_to_explain(key, owner, receive, answered.set, by_stream=True))
                with trio.move_on_after(INQUIRY_TIMEOUT - REPEAT_AFTER):
                    await answered.wait()
        finally:
            for id_ in ids:
                self._asked.pop(id_, None)
        return found[0] if found else None

    def _ask_to_explain(
        self, key: PackedKey, owner: str, receive: _Receive, fail: Callable[[], None], *, by_stream: bool
    ) -> int:
        return self._ask(owner, (key,), AskedFor.EXPLAIN, receive, lambda _owner: fail(), by_stream=by_stream)

    def answered(self, answer: Answered) -> None:
        """Pass an answer to whoever waits for it; late, foreign and misshapen ones are dropped."""
        asked = self._asked.get(answer.id)
        if asked is None or asked.owner != answer.owner or len(asked.keys) < len(answer.answers):
            return
        if asked.by_stream:
            self._transport.only_streams_reach(asked.owner, trio.current_time())
        asked.receive(answer.owner, dict(zip(asked.keys, answer.answers, strict=False)))

    def failed(self, id_: int) -> None:
        """Take in that a question did not reach its owner."""
        asked = self._asked.get(id_)
        if asked is not None:
            asked.fail(asked.owner)

    def _ask_due(
        self,
        inquiry: Inquiry,
        purpose: AskedFor,
        ids: list[int],
        receive: _Receive,
        fail: Callable[[str], None],
    ) -> None:
        while due := inquiry.owners_to_ask(trio.current_time()):
            for owner in due:
                keys = inquiry.open_keys
                if owner == self._directory.name:
                    now, wall = trio.current_time(), unix_ms()
                    answers = {key: self._directory.ask_self(key, now, wall) for key in keys}
                    inquiry.answered(owner, answers)
                else:
                    ids.append(self._ask(owner, keys, purpose, receive, fail, by_stream=False))
        ids.extend(
            self._ask(owner, inquiry.open_keys, purpose, receive, fail, by_stream=True)
            for owner in inquiry.owners_to_repeat(trio.current_time())
        )

    def _ask(
        self,
        owner: str,
        keys: tuple[PackedKey, ...],
        purpose: AskedFor,
        receive: _Receive,
        fail: Callable[[str], None],
        *,
        by_stream: bool,
    ) -> int:
        id_, body = self._directory.question(keys, purpose)
        if len(self._asked) < MAX_OPEN_QUESTIONS:
            self._asked[id_] = _Asked(owner, keys, receive, fail, by_stream)
            self._transport.send(Outgoing(owner, id_, body, by_stream), trio.current_time())
            self._wake_driver()
        return id_


def unix_ms() -> int:
    """Return the wall clock in milliseconds, against which observations of tags are held."""
    return int(time.time() * 1000)
