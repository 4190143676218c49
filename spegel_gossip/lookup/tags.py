"""When upstream last said what a tag names, as far as this node can know.

containerd does not say from whom it has an image. What it does is ask our mirror
first: if the mirror answered 404 just before, upstream was asked then; if the
mirror answered, the pull is as old as the observation it was answered with.
Anything else (an import, a local tag, an image found at start) is no observation.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName

ANSWER_INTERVAL: Final = 1_800.0
"""Seconds from the mirror's answer to the image event: as long as a slow pull of a large image."""

MAX_CLOCK_LEAD: Final = 300.0
"""Seconds an observation may lie in the future before its clock is taken to be wrong."""

MAX_ANSWERS: Final = 4_096
"""Answers remembered, and observations; the oldest is forgotten first."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the mirror told containerd about a tag."""

    answered_at: float
    observed_at: float | None
    """The observation passed on; None for a 404."""


class TagObservations:
    """The mirror's answers, and the observations made of them. All times are unix seconds."""

    def __init__(self) -> None:
        self._answers: OrderedDict[TagName, _Answer] = OrderedDict()
        self._observed: OrderedDict[TagName, tuple[Digest, float]] = OrderedDict()

    def answered(self, name: TagName, observed_at: float | None, now: float) -> None:
        """Remember what the mirror just answered."""
        self._answers.pop(name, None)
        self._answers[name] = _Answer(now, observed_at)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    def observe(self, name: TagName, digest: Digest, now: float) -> float:
        """Return when upstream said that the tag names this digest; 0 if nobody knows."""
        observed_at = self._from_answer(name, now)
        known, known_at = self._observed.pop(name, (digest, 0.0))
        if known == digest:
            observed_at = max(observed_at, known_at)
        self._observed[name] = (digest, observed_at)
        if len(self._observed) > MAX_ANSWERS:
            self._observed.popitem(last=False)
        return observed_at

    def observed_at(self, name: TagName, digest: Digest, now: float) -> float:
        """Return when upstream said that the tag names this digest; 0 if nobody knows.

        An image whose event is still to come counts by the answer that led to it.
        """
        known, known_at = self._observed.get(name, (digest, 0.0))
        return max(known_at if known == digest else 0.0, self._answered_at(self._answers.get(name), now))

    def recall(self, name: TagName, digest: Digest, observed_at: float) -> None:
        """Know an observation made before a restart."""
        self._observed[name] = (digest, observed_at)

    def purge(self, name: TagName, until: float) -> None:
        """Drop what was observed, or answered, until then."""
        _, known_at = self._observed.get(name, (None, math.inf))
        if known_at <= until:
            del self._observed[name]
        answer = self._answers.get(name)
        if answer is not None and self._answered_at(answer, answer.answered_at) <= until:
            del self._answers[name]

    @property
    def observed(self) -> Mapping[TagName, tuple[Digest, float]]:
        """What each tag was seen to name, and when; a live view."""
        return self._observed

    def forget(self, name: TagName) -> None:
        """Drop the observation of a tag that is here no more."""
        self._observed.pop(name, None)

    def _from_answer(self, name: TagName, now: float) -> float:
        return self._answered_at(self._answers.pop(name, None), now)

    def _answered_at(self, answer: _Answer | None, now: float) -> float:
        if answer is None or now - answer.answered_at > ANSWER_INTERVAL:
            return 0.0
        observed_at = answer.answered_at if answer.observed_at is None else answer.observed_at
        return 0.0 if observed_at > now + MAX_CLOCK_LEAD else observed_at
