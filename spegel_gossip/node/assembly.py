"""Builds the parts of a node in the order in which they need each other."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import trio
from quart_trio import QuartTrio

from spegel_gossip.config import NodeConfig
from spegel_gossip.config.values import Store
from spegel_gossip.content import ContentNotFoundError, ContentStore, ContentStoreUnavailableError
from spegel_gossip.discovery.dns import DnsSeeds
from spegel_gossip.discovery.seeds import Seeds
from spegel_gossip.discovery.source import SeedName, SeedSource
from spegel_gossip.discovery.srv import SrvSeeds
from spegel_gossip.discovery.static import StaticSeed
from spegel_gossip.gossip.driver import Gossip
from spegel_gossip.gossip.memory import MemberMemory
from spegel_gossip.lookup.config import LookupConfig
from spegel_gossip.lookup.lookup import Lookup
from spegel_gossip.lookup.reaching import Reacher
from spegel_gossip.node.advertising import Advertising
from spegel_gossip.node.listeners import listen
from spegel_gossip.node.readiness import Readiness
from spegel_gossip.node.reading import read_manifest
from spegel_gossip.node.stores import make_puller, make_store
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reach import Reach
from spegel_gossip.pulling import ImagePuller
from spegel_gossip.registry.app import create_app
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.splice.config import PumpConfig
from spegel_gossip.splice.pump import Pump
from spegel_gossip.swarm.uplink import Uplink
from spegel_gossip.swim.address import Address
from spegel_gossip.swim.config import SwimConfig
from spegel_gossip.swim.member import MemberRecord
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.fetcher import PeerBlobFetcher
from spegel_gossip.transfer.reports import Reports
from spegel_gossip.transfer.server import TransferServer
from spegel_gossip.transfer.spreading import Spreading
from spegel_gossip.version import __version__
from spegel_gossip.wire.client import PeerClient
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.datagrams import Datagrams
from spegel_gossip.wire.keyring import load_keyring
from spegel_gossip.wire.server import PeerServer
from spegel_gossip.wire.sockets import PeerSockets, open_peer_sockets
from spegel_gossip.wire.tls import PeerTls


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Every socket of the node but the admin's, bound."""

    peers: PeerSockets
    registry: trio.SocketListener
    status: trio.SocketListener


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one node; nothing runs yet."""

    config: NodeConfig
    listeners: Listeners
    store: ContentStore
    credentials: Credentials
    datagrams: Datagrams
    peer_server: PeerServer
    peer_client: PeerClient
    peer_tls: PeerTls | None
    gossip: Gossip
    lookup: Lookup
    pump: Pump
    registry_app: QuartTrio
    readiness: Readiness
    fetcher: PeerBlobFetcher
    reports: Reports
    puller: ImagePuller
    spreading: Spreading | None
    reach: Reach


async def build(config: NodeConfig, stack: ExitStack) -> Parts:
    """Bind the sockets and build every part; what must be closed goes onto `stack`.

    Raises:
        ConfigError: an address cannot be had, or no address can be advertised,
            or the image layout cannot be used.
    """
    listeners = _open_listeners(config, stack)
    memory = MemberMemory(config.state_dir)
    rng = random.Random()
    advertising = Advertising(
        config,
        listeners.peers.port,
        Seeds(_seed_sources(config, listeners.peers.port, rng)),
        on_change=lambda addresses: _moved(addresses, gossip, lookup),
    )
    record = MemberRecord(
        name=config.node_name,
        boot=memory.next_boot(time.time()),
        addresses=await advertising.start(),
        zone=config.zone,
        version=__version__,
    )
    credentials = Credentials(
        name=record.name,
        boot=record.boot,
        cluster=config.cluster_name,
        keyring=None if config.cluster_key_file is None else load_keyring(config.cluster_key_file),
        accepts_plaintext=config.plaintext,
    )
    tls = None if config.peer_tls is None else PeerTls(config.peer_tls)
    datagrams = Datagrams(listeners.peers.udp, credentials)
    peer_server = PeerServer(listeners.peers.tcp, credentials, clock=time.time, tls=tls)
    peer_client = PeerClient(credentials, clock=time.time, tls=tls)
    stack.callback(peer_client.close)
    pump = Pump(PumpConfig(drop_cache_above=config.drop_cache_above))
    stack.callback(pump.close)
    reach = Reach()
    needs_reach = config.content_filter.is_set or config.repository_scope
    store = await make_store(config, on_wrong_blob=lambda digest: fetcher.reject(digest))
    uplink = Uplink()
    lookup = Lookup(
        record,
        datagrams=datagrams,
        client=peer_client,
        server=peer_server,
        has=partial(_has, store),
        set_note=lambda member, note: gossip.set_note(member, note),
        is_udp_blocked=lambda member: gossip.is_udp_blocked(member),
        may_advertise=config.content_filter.allows_tag,
        rng=rng,
        reacher=Reacher(reach, partial(read_manifest, store)) if needs_reach else None,
        uplink=uplink,
        config=LookupConfig(state_dir=config.state_dir, advertises_reached_only=config.content_filter.is_set),
    )
    gossip: Gossip = Gossip(
        record,
        SwimConfig(),
        rng,
        credentials=credentials,
        datagrams=datagrams,
        server=peer_server,
        client=peer_client,
        memory=memory,
        find_seeds=advertising.find_seeds,
        on_event=lookup.on_membership,
        clock=time.time,
    )
    transfer = TransferConfig(
        max_uploads=config.max_uploads,
        max_partial_uploads=config.max_partial_uploads,
        upload_rate=config.upload_limit,
    )
    transfer_server = TransferServer(
        store,
        peer_server,
        transfer,
        pump=pump,
        place_of=lookup.fetches.place_of if config.swarm else None,
        is_given_up=lookup.fetches.is_given_up,
        uplink=uplink,
    )
    reports = Reports(partial(read_manifest, store), store.blobs().__contains__)
    # containerd's pulls stand in line for slots; `pull` takes an answer without a byte for a failed mirror.
    can_yield = config.store is Store.CONTAINERD
    spreading = None
    if config.swarm:
        spreading = Spreading(lookup.fetches, store, can_yield=can_yield, is_read=transfer_server.is_read)
    fetcher = PeerBlobFetcher(
        lookup, peer_client, transfer, zone=config.zone, spreading=spreading, reports=reports
    )
    readiness = Readiness(
        store=store,
        has_seeds=bool(config.seeds or config.seed_dns or config.kubernetes_service or memory.addresses),
        has_company=lambda: gossip.has_reached_seed,
        concerns=_concerns(config, record),
    )
    registry_app = create_app(
        store=store,
        router=lookup,
        fetcher=fetcher,
        health=readiness.check,
        filters=config.content_filter,
        config=RegistryConfig(
            default_registry=config.default_registry,
            tag_policies=config.tag_policies,
            repository_scope=config.repository_scope,
        ),
        reach=reach if needs_reach else None,
    )
    return Parts(
        config=config,
        listeners=listeners,
        store=store,
        credentials=credentials,
        datagrams=datagrams,
        peer_server=peer_server,
        peer_client=peer_client,
        peer_tls=tls,
        gossip=gossip,
        lookup=lookup,
        pump=pump,
        registry_app=registry_app,
        readiness=readiness,
        fetcher=fetcher,
        reports=reports,
        puller=make_puller(config, store),
        spreading=spreading,
        reach=reach,
    )


def _open_listeners(config: NodeConfig, stack: ExitStack) -> Listeners:
    peers = open_peer_sockets(config.peer_listen.host, config.peer_listen.port)
    stack.callback(peers.close)
    registry = listen("--registry-listen", config.registry_listen)
    stack.callback(registry.socket.close)
    status = listen("--status-listen", config.status_listen)
    stack.callback(status.socket.close)
    return Listeners(peers=peers, registry=registry, status=status)


def _seed_sources(config: NodeConfig, peer_port: int, rng: random.Random) -> list[SeedSource]:
    sources: list[SeedSource] = [
        StaticSeed(SeedName(seed.host, seed.port or peer_port)) for seed in config.seeds
    ]
    if config.seed_dns is not None and config.seed_dns.startswith("_"):
        sources.append(SrvSeeds(config.seed_dns, rng=rng))
    elif config.seed_dns is not None:
        sources.append(DnsSeeds(config.seed_dns, port=peer_port))
    if config.kubernetes_service is not None:
        # The client takes more memory than everything else here: only for those who chose it.
        from spegel_gossip.discovery.kubernetes import KubernetesSeeds

        sources.append(KubernetesSeeds(config.kubernetes_service, port=peer_port, rng=rng))
    return sources


def _moved(addresses: tuple[Address, ...], gossip: Gossip, lookup: Lookup) -> None:
    gossip.change_record(replace(gossip.own.record, addresses=addresses))
    lookup.moved(addresses)


async def _has(store: ContentStore, digest: Digest) -> bool:
    """Return whether a blob is really here; a store that cannot be asked keeps what it told before."""
    try:
        await store.size(digest)
    except ContentNotFoundError:
        return False
    except ContentStoreUnavailableError:
        return True
    return True


def _concerns(config: NodeConfig, record: MemberRecord) -> list[str]:
    if not config.plaintext:
        return []
    addresses = ", ".join(str(address) for address in record.addresses)
    remedy = "give --cluster-key-file to all nodes"
    if config.cluster_key_file is not None:
        remedy = "once all nodes have the key, take --plaintext away from them"
    return [f"plaintext: whoever reaches {addresses} is believed; {remedy}"]
