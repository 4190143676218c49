"""What arrives at this node, as its owners are told of it."""

from __future__ import annotations

from spegel_gossip.directory.fetch_messages import ProgressItem, ProgressState
from spegel_gossip.directory.keys import pack_key
from spegel_gossip.swarm.receptions import ReceptionState, Report
from spegel_gossip.swim.names import name_hash

_STATES = {
    ReceptionState.ARRIVING: ProgressState.ARRIVING,
    ReceptionState.IDLE: ProgressState.IDLE,
    ReceptionState.DONE: ProgressState.DONE,
    ReceptionState.ENDED: ProgressState.ENDED,
}


def progress_items(report: Report) -> list[ProgressItem]:
    """Return an item for each blob of a report, in its order."""
    return [
        ProgressItem(
            pack_key(one.digest),
            one.token,
            one.offset,
            one.total,
            _STATES[one.state],
            name_hash(one.parent) if one.parent else 0,
        )
        for one in report.receptions
    ]
