"""A large cluster of directories at rest, without the packets that bring it there.

A thousand members owe each other a million closings. Through the simulated network that takes
minutes; handed over directly it takes half of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spegel_gossip.directory.advertisement import COALESCE_INTERVAL, SPREAD_INTERVAL
from spegel_gossip.directory.keys import PackedKey
from spegel_gossip.ring.ring import Ring
from spegel_gossip.testing.directories import UNIX_MS, SimDirectories, SimMember


def start_settled(
    cluster: SimDirectories, zones: Mapping[str, str], held: Mapping[str, Iterable[PackedKey]]
) -> None:
    """Start members that know each other, see the same ring, and have told each other all they hold."""
    made = [cluster.make(name, zone) for name, zone in zones.items()]
    ring = Ring.of(zones)
    for member in made:
        for other in made:
            member.engine.member_alive(other.engine.name, other.boot, other.zone, cluster.now)
        member.engine.change_ring(ring, cluster.now)
        for key in held.get(member.engine.name, ()):
            member.held[key] = None
            member.engine.put(key, cluster.now, size=1)
    cluster.now += SPREAD_INTERVAL + COALESCE_INTERVAL
    for member in made:
        _tell(cluster, member)
    for member in made:
        cluster.begin(member)


def _tell(cluster: SimDirectories, member: SimMember) -> None:
    """Hand over all that a member has to tell, and the acknowledgements."""
    engine = member.engine
    while (at := engine.next_timer_at()) is not None and at <= cluster.now:
        engine.handle_timer(cluster.now)
        for message in engine.messages_to_send():
            target = cluster.members[message.to].engine
            reply = target.receive(message.body, engine.name, cluster.now, UNIX_MS)
            if reply is not None:
                engine.receive(reply, message.to, cluster.now, UNIX_MS)
