"""What an engine hands to its driver: messages for members, answers to its questions, and counts."""

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


@dataclass(frozen=True, slots=True)
class Tally:
    """What an engine counts."""

    records: dict[str, int]
    """Records kept as an owner, by kind."""

    advertised: int
    """Keys advertised as a holder."""

    moved: int
    """Records that others were told, or are to be, as they became owners by a change of the ring."""

    refused: int
    """Records not kept, or not advertised, as a table was full."""

    resyncs: int
    """Resyncs that notes led to: how often the net beneath the advertisement caught something."""
