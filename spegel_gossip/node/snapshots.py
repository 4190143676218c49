"""What the node shows of itself, as JSON: for the CLI through the admin socket, for the page by HTTP."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio

from spegel_gossip.admin.keys import parse_key
from spegel_gossip.admin.shapes import (
    ArrivedShape,
    HoldersShape,
    KeyOwnersShape,
    LeasesShape,
    MemberShape,
    MembersShape,
    RingShape,
    StatusShape,
    StoreShape,
)
from spegel_gossip.directory.keys import PackedKey, unpack_key_untrusted
from spegel_gossip.errors import DecodeError
from spegel_gossip.node.assembly import Parts
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.splice.seam import seam_trouble
from spegel_gossip.swarm.arrivals import PEERS, Origin
from spegel_gossip.swim.introspection import MemberDetail
from spegel_gossip.swim.member import MemberState
from spegel_gossip.version import __version__

Snapshot = Callable[[Mapping[str, str]], Awaitable[object]]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Snapshots:
    """Makes the shapes of `admin.shapes` from the parts, each time anew."""

    def __init__(self, parts: Parts, *, started_at: float) -> None:
        """Take the running parts, and when they were started."""
        self._parts = parts
        self._started_at = started_at

    def by_name(self) -> dict[str, Snapshot]:
        """Return the snapshots by the name under which they are asked for."""
        return {
            "members": self.members,
            "ring": self.ring,
            "holders": self.holders,
            "leases": self.leases,
            "status": self.status,
        }

    async def members(self, _query: Mapping[str, str]) -> MembersShape:
        """Return the membership table."""
        gossip = self._parts.gossip
        own = gossip.own.name
        return {
            "cluster": self._parts.config.cluster_name,
            "self": own,
            "local_health": gossip.status().local_health,
            "conflicts": [{"address": str(one.address), "boot": one.boot} for one in gossip.conflicts],
            "members": [
                _member(detail, is_self=detail.member.name == own)
                for detail in sorted(gossip.details(), key=lambda detail: detail.member.name)
            ],
        }

    async def ring(self, query: Mapping[str, str]) -> RingShape:
        """Return the shares of the ring, and of one key its owners."""
        lookup = self._parts.lookup
        shape: RingShape = {
            "epoch": f"{lookup.epoch():016x}",
            "members": [
                {"name": part.name, "share": part.share, "tokens": part.tokens}
                for part in lookup.ring_shares()
            ],
        }
        if query.get("key"):
            key = parse_key(query["key"])
            view = await lookup.survey(key)
            owners: KeyOwnersShape = {
                "key": str(key),
                "owners": [{"name": owner.name, "young": owner.is_young} for owner in view.owners],
            }
            shape["key"] = owners
        return shape

    async def holders(self, query: Mapping[str, str]) -> HoldersShape:
        """Return who has a key, as its owners answer now.

        Raises:
            InvalidReferenceError: no key was given, or it is not one.
        """
        text = query.get("key", "")
        if not text:
            raise InvalidReferenceError(text, "ask with ?key= and a digest or an image's name")
        key = parse_key(text)
        view = await self._parts.lookup.survey(key)
        shape: HoldersShape = {
            "key": str(key),
            "owners": [owner.name for owner in view.owners],
            "holders": [
                {
                    "name": holder.name,
                    "zone": holder.zone,
                    "kind": "complete" if holder.is_complete else "partial",
                    "size": view.size,
                }
                for holder in view.holders
            ],
            "named_by": {owner.name: list(owner.holders) for owner in view.owners if owner.has_answered},
        }
        if view.digest:
            shape["digest"] = view.digest
        return shape

    async def leases(self, _query: Mapping[str, str]) -> LeasesShape:
        """Return what is fetched from upstream, as far as this node knows."""
        fetches = self._parts.lookup.fetches
        leases = fetches.desk.leases
        return {
            "granted": [
                {
                    "digest": _shown(view.key),
                    "holder": view.holder,
                    "offset": view.offset,
                    "total": view.total,
                    "age": view.age,
                    "receivers": view.receivers,
                }
                for view in leases.views(trio.current_time())
            ],
            "fetching": [str(one.digest) for one in fetches.receptions.leases()],
            "waiting": leases.waiting(),
            "counts": {
                "granted": leases.counts["granted"],
                "attached": leases.counts["attached"],
                "refused": leases.counts["refused"],
                "lost": {why: leases.counts[f"lost_{why}"] for why in ("stalled", "silent", "ended")},
            },
            "held": {"now": fetches.held, "total": fetches.verdicts["wait"]},
            "yields": 0 if self._parts.spreading is None else self._parts.spreading.yields,
            "bytes": self._arrived(),
        }

    def _arrived(self) -> ArrivedShape:
        totals = self._parts.reports.arrivals.totals
        return {
            "upstream": totals[Origin.UPSTREAM],
            "complete": totals[Origin.COMPLETE],
            "partial": totals[Origin.PARTIAL],
            "saved": sum(totals[origin] for origin in PEERS),
        }

    async def status(self, _query: Mapping[str, str]) -> StatusShape:
        """Return how this node stands."""
        parts = self._parts
        health = parts.readiness.check()
        counts = parts.lookup.counts()
        states = Counter(member.state for member in parts.gossip.members())
        return {
            "node": parts.config.node_name,
            "cluster": parts.config.cluster_name,
            "version": __version__,
            "ready": health.is_ready,
            "reasons": list(health.reasons),
            "uptime_s": round(trio.current_time() - self._started_at, 1),
            "store": self._store(),
            "members": {state.name.lower(): states[state] for state in MemberState},
            "records": {**counts.records, "advertised": counts.advertised},
            "listen": {
                "registry": str(parts.config.registry_listen),
                "peers": str(parts.config.peer_listen),
                "status": str(parts.config.status_listen),
            },
            "resident_bytes": _resident_bytes(),
            "zero_copy": not seam_trouble(),
        }

    def _store(self) -> StoreShape:
        store = self._parts.store
        availability = store.availability()
        return {
            "kind": str(self._parts.config.store),
            "connected": availability.is_connected,
            "readable": availability.is_readable,
            "reason": availability.reason,
            "blobs": len(store.blobs()),
            "tags": len(store.tags()),
            "partials": len(store.partials()),
        }


def _shown(key: PackedKey) -> str:
    try:
        return str(unpack_key_untrusted(key))
    except DecodeError:
        # Of a later release, perhaps: members report what they fetch, and owners need not understand it.
        return key.hex()


def _member(detail: MemberDetail, *, is_self: bool) -> MemberShape:
    member = detail.member
    trip = detail.round_trip_time
    return {
        "name": member.name,
        "state": member.state.name.lower(),
        "incarnation": member.incarnation,
        "boot": member.record.boot,
        "zone": member.record.zone,
        "version": member.record.version,
        "addresses": [str(address) for address in member.record.addresses],
        "address": str(detail.address),
        "rtt_ms": None if trip is None else round(trip * 1000, 3),
        "state_age_s": round(detail.state_age, 1),
        "last_probe_age_s": _tenths(detail.last_probe_age),
        "last_ack_age_s": _tenths(detail.last_ack_age),
        "udp_blocked": detail.is_udp_blocked,
        "suspected_by": list(detail.accusers) if member.state is MemberState.SUSPECT else [],
        "suspicion_left_s": _tenths(detail.suspicion_left),
        "clock_offset_s": _tenths(detail.clock_offset),
        "is_self": is_self,
    }


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1) + 0.0  # 0.0 in place of -0.0


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
