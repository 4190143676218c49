"""One life of the node: start everything, wait for a signal, leave the cluster, drain, end."""

from __future__ import annotations

import gc
import signal
from contextlib import ExitStack
from functools import partial

import structlog
import trio

from spegel_gossip.admin.server import AdminServer
from spegel_gossip.config import NodeConfig
from spegel_gossip.content import ContentEvent
from spegel_gossip.hosts.files import HostsConfig
from spegel_gossip.hosts.keeper import run_hosts
from spegel_gossip.node.assembly import Parts, build
from spegel_gossip.node.explaining import Explainer
from spegel_gossip.node.keyring import KeyringControl
from spegel_gossip.node.prefetching import Prefetching
from spegel_gossip.node.snapshots import Snapshots
from spegel_gossip.node.zone import with_zone
from spegel_gossip.splice.lateness import run_lateness_probe
from spegel_gossip.splice.serving import ServerConfig, serve
from spegel_gossip.status.app import create_status_app
from spegel_gossip.version import __version__
from spegel_gossip.wire.reload import run_keyring_reload

log = structlog.get_logger(__name__)

DRAIN_TIMEOUT = 25.0
"""Seconds that transfers under way get after SIGTERM, below Kubernetes' 30 s of grace."""


async def run_node(config: NodeConfig) -> None:
    """Run a node until SIGTERM or SIGINT; a second one ends it without draining.

    Raises:
        ConfigError: an address, socket or file cannot be had; nothing was started.
    """
    with ExitStack() as stack, trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        parts = await build(await with_zone(config), stack)
        stopping = trio.Event()
        async with trio.open_nursery() as nursery:
            await _start(parts, stopping, nursery)
            # Modules are no garbage. Looking at them again in every full collection holds the loop for 30 ms.
            gc.collect()
            gc.freeze()
            log.info(
                "node started",
                node=config.node_name,
                version=__version__,
                cluster=config.cluster_name,
                registry=str(config.registry_listen),
                peers=[str(address) for address in parts.gossip.own.record.addresses],
                status=str(config.status_listen),
            )
            async for number in signals:
                if stopping.is_set():
                    break
                log.info("stopping", signal=signal.Signals(number).name)
                stopping.set()
                nursery.start_soon(_wind_up, parts, nursery.cancel_scope)
            nursery.cancel_scope.cancel()
        log.info("node stopped", node=config.node_name)


async def _start(parts: Parts, stopping: trio.Event, nursery: trio.Nursery) -> None:
    config = parts.config
    explainer = Explainer(parts)
    snapshots = Snapshots(parts, started_at=trio.current_time()).by_name() | explainer.snapshots()
    keyring = KeyringControl(config.cluster_key_file, parts.credentials)
    prefetching = Prefetching(parts)
    admin = AdminServer(
        config.admin_socket_path,
        {f"/{name}": snapshot for name, snapshot in snapshots.items()}
        | {"/keyring": keyring.show}
        | prefetching.snapshots(),
        keyring.commands()
        | {f"/{name}": command for name, command in explainer.commands().items()}
        | prefetching.commands(),
    )
    # First what can fail on the operator's account, then what others are told of.
    await nursery.start(admin.run)
    nursery.start_soon(run_lateness_probe)
    nursery.start_soon(parts.store.run, partial(_on_content, parts, prefetching))
    nursery.start_soon(parts.reports.run)
    nursery.start_soon(prefetching.run)
    if parts.peer_tls is not None:
        await nursery.start(parts.peer_tls.run)
    await nursery.start(parts.datagrams.run)
    await nursery.start(parts.peer_server.run)
    await nursery.start(parts.lookup.run)
    await nursery.start(parts.gossip.run)
    if config.cluster_key_file is not None:
        nursery.start_soon(run_keyring_reload, config.cluster_key_file, parts.credentials)
    status_app = create_status_app(health=parts.readiness.check, snapshots=snapshots)
    for app, listener in (
        (parts.registry_app, parts.listeners.registry),
        (status_app, parts.listeners.status),
    ):
        await nursery.start(
            partial(
                serve,
                app,
                [listener],
                ServerConfig(drain_timeout=DRAIN_TIMEOUT),
                pump=parts.pump,
                shutdown_trigger=stopping.wait,
            )
        )
    # The registry answers by now; and who finds the node ready finds containerd asking it.
    if config.write_hosts:
        await nursery.start(
            run_hosts,
            HostsConfig(
                hosts_dir=config.hosts_dir,
                mirror=config.mirror_address or config.registry_listen,
                registries=config.mirror_registries,
            ),
        )
    parts.readiness.listening(trio.current_time())


async def _on_content(parts: Parts, prefetching: Prefetching, event: ContentEvent) -> None:
    await parts.lookup.on_content(event)
    await parts.reports.on_content(event)
    await prefetching.jobs.on_content(event)


async def _wind_up(parts: Parts, everything: trio.CancelScope) -> None:
    """Tell the others that we go, let transfers end, and end the rest."""
    parts.readiness.stopping()
    await parts.gossip.leave()
    with trio.move_on_after(DRAIN_TIMEOUT):
        await parts.peer_server.drain()
        await parts.pump.wait_idle()
    everything.cancel()
