"""Every setting of a node: its type, its one default, and what an operator is told about it.

`NodeConfig` is the single source. A field is a flag of `run`, an environment
variable, a key of the TOML file and a row of docs/configuration.md; `SETTINGS` is
read off the fields, and `cli/settings.py` reads the three sources by it. Whatever is
wrong is a `ConfigError` before anything starts.
"""

from __future__ import annotations

import dataclasses
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spegel_gossip.config import agreement, setting, values
from spegel_gossip.config.setting import Setting
from spegel_gossip.config.transfers import TransferSettings
from spegel_gossip.config.values import Discovery, LogFormat, LogLevel, SeedAddress, Store
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.oci.filters import ContentFilter
from spegel_gossip.oci.reference import DOCKER_HUB
from spegel_gossip.oci.tag_policy import TagPolicies
from spegel_gossip.swim.address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig(TransferSettings):
    """What one node is told, checked; `check_surroundings` then looks at the machine."""

    node_name: str = field(
        default_factory=socket.gethostname,
        metadata=setting.about(
            "node-name",
            values.parse_node_name,
            "NAME",
            "This node's name, unique in the cluster: the Kubernetes node's name.",
            default_text="the host name",
        ),
    )
    advertise_address: str | None = field(
        default=None,
        metadata=setting.about(
            "advertise-address",
            values.parse_advertise_address,
            "IP",
            "The address by which the other nodes reach this one.",
            default_text="by the routes to the seeds",
        ),
    )
    registry_listen: Address = field(
        default=Address("127.0.0.1", 29500),
        metadata=setting.about(
            "registry-listen",
            values.parse_listen_address,
            "ADDRESS:PORT",
            "Where containerd finds its mirror; keep it on loopback.",
        ),
    )
    peer_listen: Address = field(
        default=Address("::", 29501),
        metadata=setting.about(
            "peer-listen",
            values.parse_listen_address,
            "ADDRESS:PORT",
            "Where the other nodes reach this one, UDP and TCP alike; [::] takes IPv4 too.",
        ),
    )
    status_listen: Address = field(
        default=Address("127.0.0.1", 29502),
        metadata=setting.about(
            "status-listen",
            values.parse_listen_address,
            "ADDRESS:PORT",
            "Where metrics and readiness are served, read only.",
        ),
    )
    admin_socket: Path | None = field(
        default=None,
        metadata=setting.about(
            "admin-socket",
            values.parse_socket_path,
            "PATH",
            "The Unix socket by which the other commands talk to the running node.",
            default_text="admin.sock in the state directory",
        ),
    )
    state_dir: Path = field(
        default=Path("/var/lib/spegel-gossip"),
        metadata=setting.about(
            "state-dir",
            values.parse_path,
            "DIR",
            "What must survive a restart: the boot number, the remembered members, when tags were seen. "
            "Made if its parent exists.",
        ),
    )
    cluster_name: str = field(
        default="spegel-gossip",
        metadata=setting.about(
            "cluster-name",
            values.parse_label,
            "NAME",
            "The cluster this node belongs to; nodes of other clusters are not listened to.",
        ),
    )
    cluster_key_file: Path | None = field(
        default=None,
        metadata=setting.about(
            "cluster-key-file",
            values.parse_path,
            "FILE",
            "The cluster's keys, one a line, as `spegel-gossip keyring new` prints them; "
            "the first encrypts, all decrypt.",
            default_text="none: required unless `--plaintext`",
        ),
    )
    plaintext: bool = field(
        default=False,
        metadata=setting.about(
            "plaintext",
            None,
            "",
            "Run without a cluster key: whoever reaches the peer port is believed. With "
            "`--cluster-key-file` as well, both ways are understood: a stage between the two.",
        ),
    )
    seeds: tuple[SeedAddress, ...] = field(
        default=(),
        metadata=setting.about(
            "seed",
            values.parse_seeds,
            "HOST[:PORT]",
            "A member to join through; without a port, the port of `--peer-listen`.",
            is_many=True,
            default_text="none: a cluster of one",
        ),
    )
    seed_dns: str | None = field(
        default=None,
        metadata=setting.about(
            "seed-dns",
            values.parse_seed_dns,
            "NAME",
            "A DNS name all of whose addresses are members to join through; "
            "`_peers-udp._udp.NAME` for SRV records.",
            default_text="none",
        ),
    )
    discovery: Discovery | None = field(
        default=None,
        metadata=setting.about(
            "discovery",
            values.one_of(Discovery),
            "static|dns|kubernetes",
            "Where seeds come from: `--seed` alone, or `--seed-dns` or `--kubernetes-service` too.",
            default_text="what the settings given are for, else static",
        ),
    )
    kubernetes_service: str | None = field(
        default=None,
        metadata=setting.about(
            "kubernetes-service",
            values.parse_kubernetes_service,
            "[NAMESPACE/]NAME",
            "A Service all of whose EndpointSlices' addresses are members to join through; "
            "the API server is asked with the pod's ServiceAccount.",
            default_text="none",
        ),
    )
    zone: str = field(
        default="",
        metadata=setting.about(
            "zone",
            values.parse_zone,
            "ZONE",
            "The topology zone of this node; holders of the same zone are asked first.",
            default_text="none",
        ),
    )
    zone_from_node: bool = field(
        default=False,
        metadata=setting.about(
            "zone-from-node",
            None,
            "",
            "Without `--zone`, ask the API server once for the Kubernetes node's zone.",
        ),
    )
    store: Store = field(
        default=Store.CONTAINERD,
        metadata=setting.about(
            "store",
            values.one_of(Store),
            "containerd|layout",
            "Whose content this node shares: containerd's, or that of an OCI image layout, a directory.",
        ),
    )
    containerd_address: Path = field(
        default=Path("/run/containerd/containerd.sock"),
        metadata=setting.about(
            "containerd-address",
            values.parse_socket_path,
            "PATH",
            "containerd's socket; it may come and go.",
        ),
    )
    containerd_namespace: str = field(
        default="k8s.io",
        metadata=setting.about(
            "containerd-namespace",
            values.parse_namespace,
            "NAME",
            "The containerd namespace whose content is shared.",
        ),
    )
    containerd_root: Path = field(
        default=Path("/var/lib/containerd"),
        metadata=setting.about(
            "containerd-root",
            values.parse_path,
            "DIR",
            "containerd's root directory, from whose files blobs are served.",
        ),
    )
    layout_root: Path | None = field(
        default=None,
        metadata=setting.about(
            "layout-root",
            values.parse_path,
            "DIR",
            "The image layout that is shared with `--store layout`. Made if its parent exists.",
            default_text="layout in the state directory",
        ),
    )
    mirror_registries: tuple[RegistryUrl, ...] = field(
        default=(),
        metadata=setting.about(
            "mirror-registry",
            values.parse_registry_urls,
            "URL",
            "A registry to be a mirror of.",
            is_many=True,
            default_text="none: all registries",
        ),
    )
    default_registry: str = field(
        default=DOCKER_HUB,
        metadata=setting.about(
            "default-registry",
            values.parse_default_registry,
            "HOST",
            "The registry meant by a request that names none.",
        ),
    )
    registry_filters: tuple[re.Pattern[str], ...] = field(
        default=(),
        metadata=setting.about(
            "registry-filter",
            values.parse_registry_filters,
            "REGEX",
            "Images in whose `registry/repository[:tag]` it is found are neither served nor advertised.",
            is_many=True,
            default_text="none",
        ),
    )
    tag_policies: TagPolicies = field(
        default=TagPolicies.parse(()),
        metadata=setting.about(
            "tag-policy",
            values.parse_tag_policies,
            "REGEX=POLICY",
            "How far tags in whose full name the expression is found are trusted: "
            "`never`, `cluster` or `fresh:30s`; the first match wins.",
            is_many=True,
            default_text="none: `fresh:30s` for `latest`, `cluster` for all others",
        ),
    )
    repository_scope: bool = field(
        default=False,
        metadata=setting.about(
            "repository-scope",
            None,
            "",
            "Serve a digest under a repository only if an image of that repository on this node reaches it.",
        ),
    )
    hosts_dir: Path = field(
        default=Path("/etc/containerd/certs.d"),
        metadata=setting.about(
            "hosts-dir",
            values.parse_path,
            "DIR",
            "containerd's `config_path`, the directory of its `hosts.toml` files.",
        ),
    )
    mirror_address: Address | None = field(
        default=None,
        metadata=setting.about(
            "mirror-address",
            values.parse_listen_address,
            "ADDRESS:PORT",
            "What `hosts.toml` names as this mirror, where containerd reaches it otherwise than as it "
            "listens: behind a `hostPort`.",
            default_text="the address of `--registry-listen`",
        ),
    )
    write_hosts: bool = field(
        default=False,
        metadata=setting.about(
            "write-hosts",
            None,
            "",
            "Write `hosts.toml`, and look after it every minute, so that containerd uses this mirror.",
            has_negative=True,
        ),
    )
    log_level: LogLevel = field(
        default=LogLevel.INFO,
        metadata=setting.about(
            "log-level",
            values.one_of(LogLevel),
            "debug|info|warning|error",
            "The least important lines that are logged.",
        ),
    )
    log_format: LogFormat = field(
        default=LogFormat.JSON,
        metadata=setting.about(
            "log-format",
            values.one_of(LogFormat),
            "json|console",
            "One JSON object a line, or text for people.",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        TransferSettings.__post_init__(self)
        agreement.check_key_choice(self.cluster_key_file, is_plaintext=self.plaintext)
        agreement.check_discovery(self.seed_source, self.seed_dns, self.kubernetes_service)
        agreement.check_ports(
            {
                "--registry-listen": self.registry_listen,
                "--peer-listen": self.peer_listen,
                "--status-listen": self.status_listen,
            }
        )
        # Neither need have been given: the host's name and the state directory decide them.
        values.named("--node-name", values.parse_node_name, self.node_name)
        values.named("--admin-socket", values.parse_socket_path, str(self.admin_socket_path))

    @property
    def admin_socket_path(self) -> Path:
        """Where the admin socket is, given or not."""
        return admin_socket_path(self.admin_socket, self.state_dir)

    @property
    def layout_root_path(self) -> Path:
        """Where the image layout is, given or not."""
        return self.layout_root or self.state_dir / "layout"

    @property
    def seed_source(self) -> Discovery:
        """Where seeds come from, given or not."""
        if self.discovery is not None:
            return self.discovery
        if self.kubernetes_service is not None:
            return Discovery.KUBERNETES
        return Discovery.STATIC if self.seed_dns is None else Discovery.DNS

    @property
    def content_filter(self) -> ContentFilter:
        """What is served and advertised at all."""
        return ContentFilter(self.registry_filters, frozenset(url.host for url in self.mirror_registries))


SETTINGS: Final[dict[str, Setting]] = {
    item.name: item.metadata[setting.KEY] for item in dataclasses.fields(NodeConfig)
}
"""By name of the field, in the order of the help text."""


def default_of(name: str) -> object:
    """Return the default of a field of `NodeConfig`."""
    item = next(item for item in dataclasses.fields(NodeConfig) if item.name == name)
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def admin_socket_path(admin_socket: Path | None, state_dir: Path) -> Path:
    """Return where the admin socket is when `admin_socket` may not have been given."""
    return admin_socket or state_dir / "admin.sock"
