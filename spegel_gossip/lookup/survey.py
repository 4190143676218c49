"""What all owners of a key say, for people: each is asked, none is believed over another."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import replace

import trio

from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.keys import PackedKey, pack_key, unpack_key_untrusted
from spegel_gossip.directory.messages import Arrival, KeyAnswer
from spegel_gossip.errors import DecodeError
from spegel_gossip.lookup.asking import Asker
from spegel_gossip.lookup.snapshots import (
    ArrivalView,
    HolderView,
    KeyView,
    NamingView,
    OwnerView,
    SpreadingView,
)
from spegel_gossip.oci.digest import Digest
from spegel_gossip.routing import Key


async def survey(key: Key, directory: Directory, asker: Asker, *, zone_of: Callable[[str], str]) -> KeyView:
    """Ask all owners at once; those who do not answer within a second are shown as such."""
    packed = pack_key(key)
    owners = directory.owners(packed)
    answers: dict[str, KeyAnswer | None] = {}

    async def ask(owner: str) -> None:
        answers[owner] = await asker.ask_one(packed, owner)

    async with trio.open_nursery() as nursery:
        for owner in owners:
            nursery.start_soon(ask, owner)
    views = tuple(_view(owner, answers[owner], directory) for owner in owners)
    heard = [answer for answer in answers.values() if answer is not None]
    named = [answer for answer in heard if answer.digest is not None]
    newest = max(named, key=lambda answer: answer.observed_at_ms, default=None)
    complete = {name: None for view in views for name in view.holders}
    if directory.has_advertised(packed):
        # Owners do not name the asker, as it would not ask itself for the bytes.
        complete[directory.name] = None
    spreading = _spreading(heard, directory, zone_of, complete)
    named_partial = [name for view in views for name in view.partials]
    named_partial += [one.name for one in spreading.arrivals if one.offset]
    partial = {name: None for name in named_partial if name not in complete}
    return KeyView(
        key=key,
        owners=views,
        holders=(
            *(HolderView(name, zone_of(name), is_complete=True) for name in sorted(complete)),
            *(HolderView(name, zone_of(name), is_complete=False) for name in sorted(partial)),
        ),
        size=max((answer.size for answer in heard), default=0),
        digest="" if newest is None or newest.digest is None else _digest_text(newest.digest),
        observed_at=0.0 if newest is None else newest.observed_at_ms / 1000,
        namings=_namings(heard, directory),
        purged_at=max((answer.purged_at_ms for answer in heard), default=0) / 1000,
        spreading=spreading,
    )


def _view(owner: str, answer: KeyAnswer | None, directory: Directory) -> OwnerView:
    if answer is None:
        return OwnerView(
            owner, has_answered=False, is_young=False, has_same_view=False, holders=(), partials=()
        )
    return OwnerView(
        owner,
        has_answered=True,
        is_young=answer.is_young,
        has_same_view=answer.has_same_view,
        holders=_names(answer.holders, directory),
        partials=_names(answer.partials, directory),
        hidden=_names(answer.hidden, directory),
    )


def _names(hashes: Iterable[int], directory: Directory) -> tuple[str, ...]:
    names = (directory.name_of(hashed) for hashed in hashes)
    return tuple(name for name in names if name is not None)


def _namings(answers: Iterable[KeyAnswer], directory: Directory) -> tuple[NamingView, ...]:
    """Put together what each owner says that a tag is said to name."""
    observed: dict[str, int] = {}
    holders: dict[str, dict[str, None]] = {}
    for naming in (naming for answer in answers for naming in answer.namings):
        text = _digest_text(naming.digest)
        if text:
            observed[text] = max(naming.observed_at_ms, observed.get(text, 0))
            holders.setdefault(text, {}).update(dict.fromkeys(_names(naming.holders, directory)))
    newest_first = sorted(observed, key=lambda text: (-observed[text], text))
    return tuple(
        NamingView(text, observed[text] / 1000, tuple(sorted(holders[text]))) for text in newest_first
    )


def _spreading(
    answers: Iterable[KeyAnswer],
    directory: Directory,
    zone_of: Callable[[str], str],
    complete: Container[str],
) -> SpreadingView:
    """Put together what the owners say of a blob's spreading: the first two know, by and large the same."""
    told = [answer.spreading for answer in answers if answer.spreading is not None]
    arrivals: dict[str, ArrivalView] = {}
    for arrival in (arrival for one in told for arrival in one.arrivals):
        view = _arrival(arrival, directory, zone_of)
        if view is not None and view.name not in complete:
            known = arrivals.get(view.name, view)
            # Only the first owner, who told it, knows from whom a node reads; both hear how far it is.
            best = max(known, view, key=lambda one: (one.lease_age is not None, one.offset))
            arrivals[view.name] = replace(best, reads_from=known.reads_from or view.reads_from)
    return SpreadingView(
        arrivals=tuple(
            sorted(arrivals.values(), key=lambda one: (one.lease_age is None, -one.offset, one.name))
        ),
        receivers=max((one.receivers for one in told), default=0),
        waiting=max((one.waiting for one in told), default=0),
        refused_for=max((one.refused_ms for one in told), default=0) / 1000,
    )


def _arrival(arrival: Arrival, directory: Directory, zone_of: Callable[[str], str]) -> ArrivalView | None:
    name = directory.name_of(arrival.holder)
    if name is None:
        return None
    age_ms = arrival.lease_age_ms
    return ArrivalView(
        name,
        zone_of(name),
        arrival.offset,
        arrival.total,
        None if age_ms is None else age_ms / 1000,
        directory.name_of(arrival.parent) or "",
    )


def digest_of(packed: PackedKey | None) -> Digest | None:
    """Return what a tag is said to name; owners pass on what a holder once wrote."""
    try:
        digest = None if packed is None else unpack_key_untrusted(packed)
    except DecodeError:
        return None
    return digest if isinstance(digest, Digest) else None


def _digest_text(packed: PackedKey) -> str:
    return str(digest_of(packed) or "")
