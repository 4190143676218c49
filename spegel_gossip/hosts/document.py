"""What a `hosts.toml` must say for containerd to ask our mirror first.

How containerd reads one (`remotes/docker/config/hosts.go`): the `[host]` tables in the
order of the file, then what the top level says of the registry itself, `server` with
its `ca`, `client`, `header` and `override_path`. 1.6 rejects a file without any `[host]`
and then goes by the certificates beside it, as every release does where there is no
file; `dial_timeout` is honoured from 2.1 on and passed over by older ones.

A file that is there is never written anew from its parsed form: our lines are put into
its text, so every comment, key and blank line of its owner stays where it was.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.hosts.block import Made, Parted, part, wrap
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.swim.address import Address

_DIAL_TIMEOUT: Final = "200ms"
"""The mirror is on this machine: it accepts at once, or it is not running."""

_TABLE: Final = {"capabilities": ["pull", "resolve"], "dial_timeout": _DIAL_TIMEOUT}

_TABLE_HEADER: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)

_UNSPECIFIED: Final = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 - replaced, not bound
"""Who listens on `::` takes IPv4 too, and containerd 1.x cannot be given an IPv6 address: its reader takes
the first `]` of a table's header for the end, in quotes or not, and rejects the file."""


class LeftAloneError(SpegelGossipError):
    """A file that our table cannot be put into; the message says why, for its owner."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files beside a `hosts.toml` that containerd goes by only where there is none."""

    authorities: tuple[str, ...] = ()
    """`*.crt`: whom the registry's certificate may be signed by."""

    clients: tuple[tuple[str, str], ...] = ()
    """`*.cert` with its `*.key`, or with "" if the key is in the same file."""

    def root_keys(self) -> dict[str, object]:
        """Return the keys of the top level that mean the same as these files."""
        keys: dict[str, object] = {}
        if self.authorities:
            keys["ca"] = list(self.authorities)
        if self.clients:
            # A pair must be one of two; a file alone is written as a string.
            keys["client"] = [list(pair) if pair[1] else pair[0] for pair in self.clients]
        return keys


NO_CERTIFICATES: Final = Certificates()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What should be in one folder."""

    mirror: str
    registry: RegistryUrl | None = None
    """None: whatever registry the folder stands for."""


def mirror_url(listen: Address) -> str:
    """Return the URL of our registry for a client on this machine."""
    return f"http://{Address(_UNSPECIFIED.get(listen.host, listen.host), listen.port)}"


def with_ours(content: bytes | None, wish: Wish, certificates: Certificates, *, is_new_folder: bool) -> bytes:
    """Return the file as it should be; the same bytes if it is so already.

    Raises:
        LeftAloneError: it is no file that our table can be put into.
    """
    parted = Parted("", Made.FOLDER if is_new_folder else Made.FILE)
    if content is not None:
        parted = _without_changed(part(_text(content)), wish.mirror)
    theirs = _parsed(parted.theirs)
    if wish.mirror in _hosts_in(theirs):
        return _as_arranged(content, parted, wish.mirror)
    made = parted.made or Made.TABLE
    offset = _insertion_point(parted.theirs)
    before, after = parted.theirs[:offset], parted.theirs[offset:]
    if before and not before.endswith("\n"):
        before += "\n"
        made = Made.LINE_END_AND_TABLE if made is Made.TABLE else made
    block = wrap(_body(theirs, wish, certificates, is_file_ours=made in {Made.FILE, Made.FOLDER}), made)
    return _checked(before + block + after, theirs, wish.mirror)


def without_ours(content: bytes, mirror: str) -> tuple[bytes, Made | None]:
    """Return the file as it is without us, and what we had made for it.

    Where somebody changed our lines, or a program that keeps no comments wrote the file
    anew, only our table goes.

    Raises:
        LeftAloneError: what somebody made of it can no longer be parsed.
    """
    parted = part(_text(content))
    if parted.made is None and not parted.is_changed:
        theirs = _parsed(parted.theirs)
        if _hosts_in(theirs).get(mirror) != _TABLE:
            return content, None
        return _without_tables(parted.theirs, {mirror}).encode(), Made.TABLE
    return _without_changed(parted, mirror).theirs.encode(), parted.made or Made.TABLE


def names_mirror(content: bytes, mirror: str) -> bool:
    """Return whether its owner put our mirror into the file by hand."""
    parted = part(_text(content))
    return parted.made is None and mirror in _hosts_in(_parsed(parted.theirs))


def is_spegels(content: bytes) -> bool:
    """Return whether a file is one that Spegel writes: its mirrors first, each with a dial timeout.

    After them may stand, where it was told to keep them (`prependExisting`), the hosts it found.
    """
    try:
        document = _parsed(part(_text(content)).theirs)
    except LeftAloneError:
        return False
    tables = list(_hosts_in(document).values())
    return document.keys() <= {"server", "host"} and any(map(_is_spegels_table, tables[:1]))


def _is_spegels_table(table: object) -> bool:
    return (
        isinstance(table, dict)
        and table.keys() <= {"capabilities", "dial_timeout", "header"}
        and table.get("dial_timeout") == _DIAL_TIMEOUT
    )


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        raise LeftAloneError("it is not UTF-8, so containerd cannot read it either") from exc


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise LeftAloneError(f"it is not TOML, so containerd cannot read it either ({exc})") from exc


def _hosts_in(document: dict[str, Any]) -> dict[str, Any]:
    hosts = document.get("host", {})
    if not isinstance(hosts, dict):
        raise LeftAloneError("its `host` is no table, so containerd cannot read it either")
    return hosts


def _as_arranged(content: bytes | None, parted: Parted, mirror: str) -> bytes:
    # A table of ours beside theirs would define it twice, which makes the whole file unreadable.
    if content is None or parted.made is not None or parted.is_changed:
        raise LeftAloneError(f"it names {mirror} in a way that is not ours")
    return content


def _insertion_point(text: str) -> int:
    """Return where the first table begins, with the comment above it; the end if there is none.

    Top-level keys must stand before any table, and hosts are asked in the order of the file.
    A line that begins with a bracket may also be inside an array or a string: then what is
    before it does not parse by itself.
    """
    for found in _TABLE_HEADER.finditer(text):
        if _is_toml(text[: found.start()]):
            return _above_comments(text, found.start())
    return len(text)


def _above_comments(text: str, offset: int) -> int:
    while offset > 0:
        above = text.rfind("\n", 0, offset - 1) + 1
        if not text[above:offset].lstrip(" \t").startswith("#"):
            break
        offset = above
    return offset


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _body(theirs: dict[str, Any], wish: Wish, certificates: Certificates, *, is_file_ours: bool) -> str:
    return "".join(_lines(theirs, wish, certificates, is_file_ours))


def _lines(
    theirs: dict[str, Any], wish: Wish, certificates: Certificates, is_file_ours: bool
) -> Iterator[str]:
    if is_file_ours and wish.registry is not None and "server" not in theirs:
        # Without one, containerd goes on to the registry in the image's own name, by HTTPS.
        yield f"server = {json.dumps(wish.registry.server)}\n"
    if (is_file_ours or "host" not in theirs) and not theirs.keys() & {"ca", "client"}:
        # From now on there is a file with a host, so the certificates beside it count only if it names them.
        for key, value in certificates.root_keys().items():
            yield f"{key} = {json.dumps(value)}\n"
    yield f"[host.{json.dumps(wish.mirror)}]\n"
    for key, value in _TABLE.items():
        yield f"  {key} = {json.dumps(value)}\n"


def _checked(text: str, theirs: dict[str, Any], mirror: str) -> bytes:
    """Return the text, which is then known to say what theirs said and our mirror first.

    Hosts may be written as an inline table or with dotted keys, which no table can be put in front of.
    """
    try:
        merged = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        merged = {}
    hosts = merged.get("host", {})
    if next(iter(hosts), None) != mirror:
        raise LeftAloneError("its hosts are not tables of their own: write each as [host.'URL']")
    kept = {url: table for url, table in hosts.items() if url != mirror}
    said = {key: value for key, value in theirs.items() if key != "host"}
    if kept != theirs.get("host", {}) or any(merged.get(key) != value for key, value in said.items()):
        raise LeftAloneError("our table would change what it says")
    return text.encode()


def _without_changed(parted: Parted, mirror: str) -> Parted:
    if not parted.is_changed:
        return parted
    return Parted(_without_tables(parted.theirs, {mirror, parted.mirror}), parted.made)


def _without_tables(text: str, mirrors: set[str]) -> str:
    """Return the text without these tables; by lines, as no library writes everything else back as it was."""
    document = _parsed(text)
    for mirror in mirrors & _hosts_in(document).keys():
        text = _without_table(text, mirror)
        del document["host"][mirror]
    if _emptied(_parsed(text)) != _emptied(document):
        raise LeftAloneError("our table cannot be taken out of it")
    return text


def _emptied(document: dict[str, Any]) -> dict[str, Any]:
    # [host] may go with its last table, or stay.
    return {key: value for key, value in document.items() if key != "host" or value}


def _without_table(text: str, mirror: str) -> str:
    name = rf"(?:\"{re.escape(mirror)}\"|'{re.escape(mirror)}')"
    header = re.compile(rf"[ \t]*\[[ \t]*host[ \t]*\.[ \t]*{name}[ \t]*[].]")
    starts = [found.start() for found in _TABLE_HEADER.finditer(text) if _is_toml(text[: found.start()])]
    kept = [0, *(_above_comments(text, start) for start in starts), len(text)]
    parts = [text[start:end] for start, end in itertools.pairwise(kept)]
    ours = [False, *(header.match(text, start) is not None for start in starts)]
    return "".join(piece for piece, is_ours in zip(parts, ours, strict=True) if not is_ours)
