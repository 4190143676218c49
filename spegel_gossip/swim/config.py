"""Every number of the membership protocol, with where its default comes from."""

from __future__ import annotations

from dataclasses import dataclass

from spegel_gossip.errors import ConfigError

MIN_DATAGRAM_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SwimConfig:
    """How SWIM and Lifeguard run; the defaults are memberlist's for a LAN unless said otherwise."""

    probe_interval: float = 1.0
    """Seconds between probe rounds (SWIM's protocol period), before local health stretches them."""

    probe_timeout: float = 0.5
    """Seconds to wait for an ack before others are asked to try; never stretched (departure 6)."""

    indirect_probes: int = 3
    """Members asked to ping one that did not answer (SWIM's k)."""

    suspicion_alpha: float = 4.0
    """Shortest suspicion in units of log10(n) probe intervals."""

    suspicion_beta: float = 6.0
    """Longest suspicion in units of the shortest; 1 makes its length fixed, as in plain SWIM."""

    confirmations_wanted: int = 3
    """Independent accusers that bring a suspicion to its shortest (Lifeguard's K, departure 7)."""

    max_local_health: int = 8
    """Largest factor by which local health stretches a probe round; 1 turns it off."""

    has_buddy_system: bool = True
    """Whether a member that is held suspect or dead is told so first in any datagram to it."""

    distrusts_late_wakes: bool = True
    """Whether a member that was not run for a probe interval forgives others their silence (departure 6)."""

    gossip_interval: float = 0.2
    """Seconds between gossip rounds while there is something to disseminate."""

    gossip_fanout: int = 3
    """Members that get each gossip round."""

    gossip_to_the_dead_timeout: float = 30.0
    """Seconds for which a member that died still gets gossip, so that it can refute."""

    transmit_multiplier: int = 4
    """A claim is sent at most this often times ceil(log10(n + 1)) by each member."""

    push_pull_interval: float = 30.0
    """Seconds between full exchanges with a random member; scaled above 32 members."""

    max_push_pulls: int = 4
    """Push-pulls that this member has under way at once."""

    ex_member_probe_interval: float = 30.0
    """Seconds between pings to one of those who died (departure 4)."""

    tombstone_silent_age: float = 12 * 3600.0
    """Seconds after which an ex-member is no longer told to others (departure 4)."""

    tombstone_drop_age: float = 24 * 3600.0
    """Seconds after which an ex-member is forgotten (departure 4)."""

    max_datagram_bytes: int = 1090
    """Longest datagram body; what 1,200 bytes leave after the wire's envelope."""

    max_members: int = 16_384
    """Entries of the membership table, ex-members included."""

    max_seeds: int = 64
    """Seed addresses kept from one call of join."""

    max_relays: int = 256
    """Pings made for others that are under way at once."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: one sentence with the setting and what it must be.
        """
        for name in (
            "probe_interval", "probe_timeout", "gossip_interval", "push_pull_interval",
            "ex_member_probe_interval", "suspicion_alpha",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        for name in (
            "gossip_fanout", "transmit_multiplier", "max_push_pulls", "max_local_health",
            "suspicion_beta", "max_members", "max_seeds", "max_relays",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.probe_timeout >= self.probe_interval:
            raise ConfigError(
                f"probe_timeout must be below probe_interval, {self.probe_interval}; got {self.probe_timeout}"
            )
        if self.max_datagram_bytes < MIN_DATAGRAM_BYTES:
            raise ConfigError(
                f"max_datagram_bytes must be >= {MIN_DATAGRAM_BYTES}, got {self.max_datagram_bytes}"
            )
        if self.tombstone_drop_age < self.tombstone_silent_age:
            raise ConfigError("tombstone_drop_age must not be below tombstone_silent_age")
