"""Which content store the node reads, and has pull."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

from spegel_gossip.config import NodeConfig
from spegel_gossip.config.values import Store
from spegel_gossip.content import ContentStore, ContentStoreUnavailableError
from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.pulling import ImagePuller
from spegel_gossip.stores.containerd.config import ContainerdConfig
from spegel_gossip.stores.containerd.store import ContainerdStore
from spegel_gossip.stores.layout.config import LayoutConfig
from spegel_gossip.stores.layout.pulling import LayoutPuller
from spegel_gossip.stores.layout.store import LayoutStore
from spegel_gossip.stores.layout.writer import LayoutWriter
from spegel_gossip.swim.address import Address


def make_puller(config: NodeConfig, store: ContentStore) -> ImagePuller:
    """Return what has that store pull an image."""
    if isinstance(store, ContainerdStore):
        return store.puller
    address = config.mirror_address or config.registry_listen
    if ipaddress.ip_address(address.host).is_unspecified:
        address = Address("::1" if ":" in address.host else "127.0.0.1", address.port)
    return LayoutPuller(config.layout_root_path, mirror=f"http://{address}")


async def make_store(config: NodeConfig, *, on_wrong_blob: Callable[[Digest], None]) -> ContentStore:
    """Build the store that the configuration names; an image layout that is not there is made.

    Args:
        config: the node's
        on_wrong_blob: told of a blob that arrived with wrong bytes and was thrown away

    Raises:
        ConfigError: no image layout can be made or read there.
    """
    match config.store:
        case Store.CONTAINERD:
            return ContainerdStore(
                ContainerdConfig(
                    address=config.containerd_address,
                    namespace=config.containerd_namespace,
                    root=config.containerd_root,
                ),
                on_wrong_blob=on_wrong_blob,
            )
        case Store.LAYOUT:
            root = config.layout_root_path
            try:
                await LayoutWriter(root, time.time).create()
            except ContentStoreUnavailableError as exc:
                raise ConfigError(f"--layout-root: {exc}") from exc
            return LayoutStore(LayoutConfig(root=root))
