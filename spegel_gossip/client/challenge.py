"""The WWW-Authenticate header, parsed (RFC 9110, section 11.6.1; RFC 6750, section 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_CHALLENGE_LENGTH = 8192
"""Characters of one header that are looked at."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?=\s|,|$)(?!\s*=)")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a server offers."""

    scheme: str
    """In lower case: `bearer`, `basic`."""

    parameters: Mapping[str, str]
    """By their names in lower case."""


def parse_challenges_untrusted(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges in all WWW-Authenticate headers of an answer, in order.

    One header may hold several, and several headers may be there. What breaks the grammar
    ends its header; what came before it counts.
    """
    challenges: list[Challenge] = []
    for header in headers:
        text, position = header[:MAX_CHALLENGE_LENGTH], 0
        parameters: dict[str, str] | None = None
        while position < len(text):
            if (match := _SCHEME.match(text, position)) is not None:
                parameters = {}
                challenges.append(Challenge(match[1].lower(), parameters))
            elif parameters is not None and (match := _PARAMETER.match(text, position)) is not None:
                value = match[3] if match[2] is None else _ESCAPED.sub(r"\1", match[2])
                # The first of two that have one name: a later one must not override it.
                parameters.setdefault(match[1].lower(), value)
            else:
                break
            position = match.end()
    return tuple(challenges)
