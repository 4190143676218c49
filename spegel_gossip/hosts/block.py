"""Our lines in a `hosts.toml`, told from everybody else's by two marks.

Between the marks stands what we wrote, and the first mark carries its digest and says
what we had to make for it: a table in a file that was there, the file, or the file
and its folder. So the file itself says how to undo us, byte for byte, without a
backup that could be lost, grow old, or be restored over what somebody changed since.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_BEGIN: Final = "# >>> spegel-gossip"
_END: Final = "# <<< spegel-gossip"
_ADVICE: Final = "`spegel-gossip hosts remove` takes these lines out again"
_DIGEST_LENGTH: Final = 12

_BLOCK: Final = re.compile(
    rf"^{re.escape(_BEGIN)} (?P<made>[a-z+-]+) (?P<digest>[0-9a-f]{{{_DIGEST_LENGTH}}}):[^\n]*\n"
    rf"(?P<body>.*?)^{re.escape(_END)}\r?(?:\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
_MARK_LINE: Final = re.compile(rf"^(?:{re.escape(_BEGIN)}|{re.escape(_END)})[^\n]*(?:\n|\Z)", re.MULTILINE)
_HOST_HEADER: Final = re.compile(r"^[ \t]*\[host\.(?:\"([^\"\n]+)\"|'([^'\n]+)')\]", re.MULTILINE)


class Made(StrEnum):
    """What was made so that our lines could be there, and goes with them."""

    FOLDER = "folder"
    FILE = "file"
    TABLE = "table"
    LINE_END_AND_TABLE = "line-end+table"
    """The file ended without a line break, which our lines had to be given."""


@dataclass(frozen=True, slots=True)
class Parted:
    """A file's text, parted into ours and theirs."""

    theirs: str
    """Everything that is not ours, in one piece."""

    made: Made | None = None
    """None: nothing here is ours."""

    is_changed: bool = False
    """Somebody changed what stood between the marks, or a mark: `theirs` has that, without the marks."""

    mirror: str = ""
    """The mirror named between the marks, if it is changed and names one."""


def wrap(body: str, made: Made) -> str:
    """Return `body` between marks."""
    return f"{_BEGIN} {made} {_digest(body)}: {_ADVICE}\n{body}{_END}\n"


def part(text: str) -> Parted:
    """Part a file's text; one that we never touched is all theirs."""
    found = _BLOCK.search(text)
    if found is None:
        unmarked = _MARK_LINE.sub("", text)
        return Parted(unmarked, is_changed=unmarked != text)
    made = _made(found["made"])
    before, after = text[: found.start()], text[found.end() :]
    if made is None or _digest(found["body"]) != found["digest"]:
        header = _HOST_HEADER.search(found["body"])
        mirror = "" if header is None else header[1] or header[2]
        theirs = f"{before}{found['body']}{_MARK_LINE.sub('', after)}"
        return Parted(theirs, made or Made.TABLE, is_changed=True, mirror=mirror)
    if made is Made.LINE_END_AND_TABLE:
        before = before.removesuffix("\n")
    return Parted(before + _MARK_LINE.sub("", after), made)


def _made(word: str) -> Made | None:
    try:
        return Made(word)
    except ValueError:
        # A later release's word, met after going back to this one.
        return None


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:_DIGEST_LENGTH]
