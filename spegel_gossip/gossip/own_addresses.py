"""Which addresses of this node to advertise, when the operator did not say.

The kernel's routing table knows: connecting a datagram socket sends nothing but
picks the source address that packets to that destination would carry.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence

from spegel_gossip.errors import ConfigError
from spegel_gossip.swim.address import Address

_ANYWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Documentation addresses (RFC 5737, RFC 3849): they follow the default route."""

_ANY_PORT = 9

MAX_ROUTES = 64
"""Seeds to which the routes are asked: a DNS name may have thousands, and all are looked at every minute."""


def source_address(destination: str) -> str | None:
    """Return the address that packets to `destination` would carry, or None without a route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((destination, _ANY_PORT))
            host: str = probe.getsockname()[0]
    except OSError:
        return None
    return host


def own_addresses(
    *,
    bound_host: str,
    port: int,
    seeds: Sequence[Address],
    held: Sequence[Address] = (),
    source_towards: Callable[[str], str | None] = source_address,
) -> tuple[Address, ...]:
    """Return the addresses under which the other members can reach this node.

    A socket bound to one address has that one. Otherwise the routes to the seeds
    decide, then what was advertised before and is ours still, then the default routes of
    both families, then loopback (a node that has no network yet is a cluster of one).

    Args:
        bound_host: the host of the peer listener; a wildcard binds every address
        port: the peer port
        seeds: the seed addresses known so far, of which the first `MAX_ROUTES` count
        held: what was advertised until now: where several addresses lead to seeds, the one of
            these stays, and one of a family of which no seed was found stays as well; a name server
            that leaves out some seeds, or gives them in another order, changes nothing
        source_towards: asks the routing table

    Raises:
        ConfigError: only loopback is left, while the seeds are not on loopback.
    """
    if not ipaddress.ip_address(bound_host).is_unspecified:
        check_reachable(bound_host, seeds, why="--peer-listen: this node listens on loopback only")
        return (Address.make(bound_host, port),)
    anywhere = [_ANYWHERE[socket.AF_INET]] + ([_ANYWHERE[socket.AF_INET6]] if ":" in bound_host else [])
    # Nothing listens at a v6 address of a socket that is bound to 0.0.0.0, though that may lead to the seeds.
    served = [seed.host for seed in seeds if ":" in bound_host or ":" not in seed.host]
    towards_seeds = _usable(map(source_towards, served[:MAX_ROUTES]))
    # The kernel reaches an address of this machine from itself.
    still_ours = [one.host for one in held if _is_routable(one.host) and source_towards(one.host) == one.host]
    confirmed = [host for host in still_ours if host in towards_seeds]
    usable = [*confirmed, *towards_seeds, *still_ours] or _usable(map(source_towards, anywhere))
    routable = [host for host in usable if _is_routable(host)]
    if routable:
        # One of each family: members try them in order and remember which works.
        families = {":" in host: host for host in reversed(routable)}
        return tuple(Address.make(host, port) for host in sorted(families.values(), key=lambda h: ":" in h))
    host = usable[0] if usable else "127.0.0.1"
    check_reachable(host, seeds, why="--advertise-address: only a loopback address was found")
    return (Address.make(host, port),)


def check_reachable(host: str, seeds: Sequence[Address], *, why: str) -> None:
    """Refuse a loopback address under which nobody else would reach this node.

    A cluster on one machine has seeds on loopback, and its members are there too.

    Raises:
        ConfigError: the address is on loopback, and a seed is not; begins with `why`.
    """
    if ipaddress.ip_address(host).is_loopback and any(
        not ipaddress.ip_address(seed.host).is_loopback for seed in seeds
    ):
        raise ConfigError(
            f"{why} while the seeds are elsewhere; "
            "give the address under which the other nodes reach this one"
        )


def _usable(hosts: Iterable[str | None]) -> list[str]:
    """Return what has a meaning on other machines or is loopback, each once, in order."""
    known = dict.fromkeys(host for host in hosts if host is not None)
    return [host for host in known if not ipaddress.ip_address(host).is_link_local]


def _is_routable(host: str) -> bool:
    return not ipaddress.ip_address(host).is_loopback
