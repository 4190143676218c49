"""What all owners of a key say, for people: each is asked, none is believed over another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.keys import PackedKey, pack_key, unpack_key_untrusted
from spegel_gossip.directory.messages import KeyAnswer
from spegel_gossip.errors import DecodeError
from spegel_gossip.lookup.asking import Asker
from spegel_gossip.lookup.snapshots import HolderView, KeyView, NamingView, OwnerView
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
    partial = {name: None for view in views for name in view.partials if name not in complete}
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


def digest_of(packed: PackedKey | None) -> Digest | None:
    """Return what a tag is said to name; owners pass on what a holder once wrote."""
    try:
        digest = None if packed is None else unpack_key_untrusted(packed)
    except DecodeError:
        return None
    return digest if isinstance(digest, Digest) else None


def _digest_text(packed: PackedKey) -> str:
    return str(digest_of(packed) or "")
