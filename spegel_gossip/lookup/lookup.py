"""The Router: lookups, reports, and news of membership and content, handed to the directory."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

import trio

from spegel_gossip.content import (
    AvailabilityChanged,
    BlobAdded,
    BlobRemoved,
    ContentEvent,
    PartialChanged,
    PartialLeft,
    PartialRemoved,
    TagChanged,
    TagRemoved,
)
from spegel_gossip.directory.engine import Directory
from spegel_gossip.directory.keys import pack_key
from spegel_gossip.directory.messages import KeyAnswer, PurgeItem
from spegel_gossip.lookup import metrics
from spegel_gossip.lookup.choice import HolderChoice
from spegel_gossip.lookup.config import LookupConfig
from spegel_gossip.lookup.driver import Driver
from spegel_gossip.lookup.fetches import Fetches
from spegel_gossip.lookup.finding import Finder
from spegel_gossip.lookup.reaching import Reacher
from spegel_gossip.lookup.snapshots import DirectoryCounts, KeyView, PurgeView, RingShare
from spegel_gossip.lookup.survey import digest_of, survey
from spegel_gossip.lookup.tagging import Tagging
from spegel_gossip.lookup.transport import BATCH_PATH, Transport
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.ring.points import virtual_nodes
from spegel_gossip.routing import (
    Holders,
    Key,
    NoHolderError,
    Peer,
    Purpose,
    TagHolders,
)
from spegel_gossip.swarm.uplink import Uplink
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.events import (
    BootRaised,
    ClockDiffers,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    MembershipEvent,
    MemberSuspected,
    MemberUpdated,
    NameConflicted,
    NoteReceived,
    UdpBlocked,
)
from spegel_gossip.swim.member import Member, MemberRecord
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.datagrams import Datagrams
from spegel_gossip.wire.kinds import DatagramKind
from spegel_gossip.wire.server import PeerServer

_DEFAULT_CONFIG: Final = LookupConfig()


class Lookup:
    """This node as asker, owner and holder. Implements `routing.Router`."""

    def __init__(
        self,
        record: MemberRecord,
        *,
        datagrams: Datagrams,
        client: PeerClient,
        server: PeerServer,
        has: Callable[[Digest], Awaitable[bool]],
        set_note: Callable[[str, bytes], None],
        is_udp_blocked: Callable[[str], bool],
        may_advertise: Callable[[TagName], bool],
        rng: random.Random,
        reacher: Reacher | None = None,
        uplink: Uplink | None = None,
        config: LookupConfig = _DEFAULT_CONFIG,
    ) -> None:
        """Register on both sockets; nothing is sent before `run`.

        Args:
            record: this node as a member
            datagrams: the UDP socket, for questions and small news
            client: for what does not fit into a datagram
            server: where others send such things
            has: looks into the content store itself, past every inventory
            set_note: has gossip's pings to a member carry a note
            is_udp_blocked: whether gossip reaches a member over TCP only
            may_advertise: whether the operator's filters let a tag be known
            rng: chance; seed it to repeat a run
            reacher: has images looked through, where it matters what reaches a blob
            uplink: what the transfers see of this node's; None: nothing is sent to others
            config: what the operator decides
        """
        self._config = config
        self._reacher = reacher
        self._me = record
        self._may_advertise = may_advertise
        self._directory = Directory(
            record.name,
            record.boot,
            record.zone,
            max_datagram=datagrams.max_body,
            rng=rng,
            spread_interval=config.spread_interval,
        )
        self._transport = Transport(record.addresses, datagrams, client, is_udp_blocked=is_udp_blocked)
        self._choice = HolderChoice(zone=record.zone, rng=rng)
        self._driver = Driver(
            self._directory,
            self._transport,
            has=has,
            set_note=set_note,
            on_purged=self._purged,
            make_fetches=lambda wake: Fetches(
                self._directory,
                self._transport,
                self._choice,
                wake,
                first_id=rng.getrandbits(62),
                uplink=uplink or Uplink(),
            ),
        )
        self._asker = self._driver.asker
        self._finder = Finder(self._directory, self._driver, rng=rng)
        self._tagging = Tagging(self._directory, config, wake_driver=self._driver.wake)
        self._unreached: dict[Digest, int] = {}
        if reacher is not None:
            reacher.reach.on_reached = self._reached
        datagrams.handle(DatagramKind.DIRECTORY, self._driver.receive_datagram)
        server.route(BATCH_PATH, self._driver.serve_batch)

    # -- the router port ----------------------------------------------------------------------

    async def lookup(self, digest: Digest, purpose: Purpose) -> Holders:
        """Return the live holders of a blob, best first.

        Raises:
            NoHolderError: the owners said nobody, or nobody that this node can reach.
            OwnersUnreachableError: nobody could be asked.
        """
        if purpose is Purpose.SEARCH:
            return await self._search(digest)
        answer = await self._finder.find(digest, purpose, "digest")
        peers = self._choice.order(self._peers_of(answer), trio.current_time())
        if not peers:
            raise NoHolderError(digest)
        if purpose is Purpose.FETCH:
            self._choice.started(peers[0].name, trio.current_time())
        return Holders(digest, tuple(peers), answer.size)

    async def lookup_tag(self, name: TagName) -> TagHolders:
        """Return what a tag names in the cluster, by the newest observation.

        `holders` is empty when this node is the only one to have that manifest.

        Raises:
            NoHolderError: nobody has a whole image of that tag.
            OwnersUnreachableError: nobody could be asked.
        """
        answer = await self._finder.find(name, Purpose.READ, "tag")
        peers = self._choice.order(self._peers_of(answer), trio.current_time())
        digest = digest_of(answer.digest)
        if digest is None or (not peers and not self._directory.has_advertised(pack_key(digest))):
            raise NoHolderError(name)
        if peers:
            # Who has a tag has the manifest that it names, which is what the mirror asks for next.
            self._finder.know(pack_key(digest), replace(answer, digest=None, observed_at_ms=0))
        return TagHolders(name, digest, answer.observed_at_ms / 1000, tuple(peers))

    def lookup_ahead(self, parts: Mapping[Digest, int], *, has_ingests: bool = False) -> None:
        """Take in what is lacked of an image; look it up ahead in batches, if that will be read."""
        self._driver.fetches.lacks(parts)
        if not has_ingests:
            self._finder.find_ahead(tuple(parts))

    def tag_answered(self, name: TagName, observed_at: float | None) -> None:
        """Remember what this node's mirror just told its containerd about a tag."""
        self._tagging.answered(name, observed_at)

    def tag_observed_at(self, name: TagName, digest: Digest) -> float | None:
        """Return when upstream said that a tag names a digest; 0: nobody knows, None: it was purged."""
        return self._tagging.observed_at(name, digest)

    def report_miss(self, digest: Digest, holder: str) -> None:
        """Tell the owners that a holder answered 404 for what its record promised."""
        metrics.MISSES.labels("reported").inc()
        key = pack_key(digest)
        self._finder.forget(key)
        self._choice.missed(holder)
        self._directory.report_miss(key, holder, trio.current_time())
        self._driver.wake()

    def report_unreachable(self, holder: str) -> None:
        """Skip a holder for a while: connecting to it failed."""
        self._choice.failed(holder, trio.current_time())

    def report_transfer(self, holder: str, *, moved_bytes: int, seconds: float) -> None:
        """Remember how fast a holder was."""
        self._choice.transferred(holder, moved_bytes=moved_bytes, seconds=seconds)

    @property
    def fetches(self) -> Fetches:
        """The way into the swarm (`routing.FetchRouter`)."""
        return self._driver.fetches

    # -- news from the other parts ------------------------------------------------------------

    def on_membership(self, event: MembershipEvent) -> None:
        """Take in news of the membership, at once and without waiting."""
        now = trio.current_time()
        match event:
            case MemberJoined(member):
                self._choice.forget(member.name)
                self._member_alive(member, now)
            case MemberUpdated(member) | MemberRefuted(member) | MemberSuspected(member, _):
                self._member_alive(member, now)
            case MemberDied(member) | MemberLeft(member):
                self._transport.remove(member.name)
                self._directory.member_gone(member.name, now)
                self._driver.fetches.member_gone(member.name)
            case NoteReceived(name, note):
                if not self._directory.receive_note(name, note, now):
                    return  # as nearly always, twice a second: an idle node need not wake for it
            case UdpBlocked(member):
                self._transport.only_streams_reach(member.name, now)
            case BootRaised(boot):
                self._directory.boot_raised(boot, now)
            case ClockDiffers(member, seconds):
                self._tagging.clock_differs(member.name, seconds)
            case NameConflicted():
                pass  # gossip shows it; the ring has one place for a name
        self._driver.wake()

    async def on_content(self, event: ContentEvent) -> None:
        """Take in news of the content store: advertise what is whole, withdraw what is gone."""
        now = trio.current_time()
        self._driver.fetches.on_content(event)
        match event:
            case PartialChanged() | PartialRemoved() | PartialLeft() | AvailabilityChanged():
                # Only what is whole is a record, and availability is the store's own affair: the driver
                # need not wake for it, up to fifty times a second for each ingest.
                return
            case BlobAdded(digest, size):
                self._blob_added(digest, size, now)
            case BlobRemoved(digest):
                self._unreached.pop(digest, None)
                self._directory.withdraw(pack_key(digest), now)
            case TagChanged():
                self._tag_changed(event, now)
            case TagRemoved(name):
                self._tagging.removed(name, now)
        self._driver.wake()
        await trio.lowlevel.checkpoint()

    # -- what can be seen ---------------------------------------------------------------------

    def peer(self, name: str) -> Peer | None:
        """Return a live member other than this node."""
        return self._transport.peer(name)

    def ring_shares(self) -> list[RingShare]:
        """Return each member's part of the ring, by name."""
        ring = self._directory.ring
        tokens = virtual_nodes(len(ring.zones))
        shares = ring.shares()
        return [RingShare(name, ring.zones[name], shares[name], tokens) for name in sorted(shares)]

    def epoch(self) -> int:
        """Return the hash of the ring's member set: equal on all nodes that see the same members."""
        return self._directory.ring.epoch

    def owners(self, key: Key) -> tuple[str, ...]:
        """Return who owns a key, the first owner in front."""
        return self._directory.owners(pack_key(key))

    async def survey(self, key: Key) -> KeyView:
        """Ask every owner of a key what it knows; a second at most."""
        return await survey(key, self._directory, self._asker, zone_of=self._zone_of)

    def would_ask(self, view: KeyView) -> tuple[str, ...]:
        """Return which holders a pull on this node would try now, in this order."""
        names = [holder.name for holder in view.holders if holder.is_complete]
        peers = (self._transport.peer(name) for name in names)
        ordered = self._choice.order([peer for peer in peers if peer is not None], trio.current_time())
        return tuple(peer.name for peer in ordered)

    async def purge(self, name: TagName) -> PurgeView:
        """Have the whole cluster forget what it knows of a tag; return how many were told within 2 s."""
        return await self._tagging.purge(name)

    def counts(self) -> DirectoryCounts:
        """Return how many records are kept here, and how many keys advertised."""
        tally = self._directory.tally()
        return DirectoryCounts(tally.records, tally.advertised)

    def moved(self, own: tuple[Address, ...]) -> None:
        """Reach others by the families of these addresses of ours from now on."""
        self._transport.moved(own)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the engine until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tagging.run)
            if self._reacher is not None:
                nursery.start_soon(self._reacher.run)
            await self._driver.run(task_status=task_status)

    # -- helpers ------------------------------------------------------------------------------

    async def _search(self, digest: Digest) -> Holders:
        view = await self.survey(digest)
        names = (holder.name for holder in view.holders if holder.is_complete)
        found = [peer for peer in map(self._transport.peer, names) if peer is not None]
        if not found:
            raise NoHolderError(digest)
        return Holders(digest, tuple(self._choice.order(found, trio.current_time())), view.size)

    def _peers_of(self, answer: KeyAnswer) -> list[Peer]:
        names = (self._directory.name_of(hashed) for hashed in answer.holders)
        peers = (self._transport.peer(name) for name in names if name is not None)
        return [peer for peer in peers if peer is not None]

    def _zone_of(self, name: str) -> str:
        return self._directory.members.get(name, "")

    def _member_alive(self, member: Member, now: float) -> None:
        record = member.record
        if record.name == self._me.name:
            return
        self._transport.put(Peer(record.name, record.zone, record.addresses))
        self._directory.member_alive(record.name, record.boot, record.zone, now)

    def _purged(self, item: PurgeItem) -> None:
        self._finder.forget(item.key)
        self._tagging.purged(item)

    def _blob_added(self, digest: Digest, size: int, now: float) -> None:
        is_reached = self._reacher is None or self._reacher.reach.is_reached(digest)
        if self._config.advertises_reached_only and not is_reached:
            self._unreached[digest] = size
            return
        self._directory.put(pack_key(digest), now, size=size)

    def _reached(self, digest: Digest) -> None:
        size = self._unreached.pop(digest, None)
        if size is not None:
            self._directory.put(pack_key(digest), trio.current_time(), size=size)
            self._driver.wake()

    def _tag_changed(self, event: TagChanged, now: float) -> None:
        if not self._may_advertise(event.name):
            self._directory.withdraw(pack_key(event.name), now)
            return
        if self._reacher is not None:
            self._reacher.look_at(event)
        self._tagging.changed(event, now)
