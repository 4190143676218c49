"""What settings must agree on with each other; each by itself was checked when it was parsed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from spegel_gossip.config.values import Discovery
from spegel_gossip.errors import ConfigError
from spegel_gossip.swim.address import Address

_EVERYWHERE = frozenset({"::", "0.0.0.0"})  # noqa: S104 - compared, not bound


def check_key_choice(key_file: Path | None, *, is_plaintext: bool) -> None:
    """Refuse to run unsealed unless that was asked for.

    Raises:
        ConfigError: there is neither a key nor `--plaintext`.
    """
    if key_file is None and not is_plaintext:
        raise ConfigError(
            "--cluster-key-file is missing: make a key with `spegel-gossip keyring new` and give the same "
            "file to every node, or give --plaintext to trust whoever reaches the peer port"
        )


def check_discovery(source: Discovery, seed_dns: str | None, service: str | None) -> None:
    """Refuse a source of seeds without what it asks for, and settings that no source uses.

    Raises:
        ConfigError: one is missing, or too many.
    """
    if source is Discovery.DNS and seed_dns is None:
        raise ConfigError("--discovery dns needs --seed-dns: give the DNS name whose addresses are members")
    if source is Discovery.KUBERNETES and service is None:
        raise ConfigError(
            "--discovery kubernetes needs --kubernetes-service: give the Service whose endpoints are members"
        )
    # With kubernetes, DNS may be asked as well: two ways in are better than one.
    if source is Discovery.STATIC and seed_dns is not None:
        raise ConfigError("--seed-dns contradicts --discovery static: leave one of them out")
    if source is not Discovery.KUBERNETES and service is not None:
        raise ConfigError(f"--kubernetes-service contradicts --discovery {source}: leave one of them out")


def check_ports(listeners: Mapping[str, Address]) -> None:
    """Refuse listeners that would take each other's port.

    Raises:
        ConfigError: two of them would.
    """
    for (other_flag, other), (flag, address) in itertools.combinations(listeners.items(), 2):
        is_everywhere = bool(_EVERYWHERE & {address.host, other.host})
        if address.port == other.port and (is_everywhere or address.host == other.host):
            raise ConfigError(f"{flag} {address} takes the port of {other_flag} {other}: give another port")
