"""What an engine hands to its driver: messages for members, and answers to its questions."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.directory.messages import KeyAnswer


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for a member."""

    to: str
    id: int
    body: bytes
    by_stream: bool
    """As `POST /directory/batch`, whose answer is received like a datagram; else as a datagram."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to a question of this member's."""

    owner: str
    id: int
    answers: tuple[KeyAnswer, ...]
