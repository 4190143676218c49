"""Who lives, as membership last said: the members' zones, boots, and the hashes of their names."""

from __future__ import annotations

from collections.abc import Mapping

from spegel_gossip.swim.names import name_hash


class Roster:
    """The live members of one node's view, itself among them."""

    def __init__(self, name: str, boot: int, zone: str) -> None:
        self.name = name
        self._zones: dict[str, str] = {name: zone}
        self._boots: dict[str, int] = {name: boot}
        self._names: dict[int, str] = {name_hash(name): name}
        self._renewed: dict[str, None] = {}

    @property
    def zones(self) -> Mapping[str, str]:
        """The live members, name to zone; a live view."""
        return self._zones

    @property
    def own_boot(self) -> int:
        """The boot of this node."""
        return self._boots[self.name]

    def boot_of(self, name: str) -> int | None:
        """Return the boot of a live member."""
        return self._boots.get(name)

    def name_of(self, hashed: int) -> str | None:
        """Return the live member whose name has this hash."""
        return self._names.get(hashed)

    def raise_boot(self, boot: int) -> None:
        """Live on under a higher boot."""
        self._boots[self.name] = boot

    def put(self, name: str, boot: int, zone: str) -> tuple[bool, bool]:
        """Know a member alive; return whether this life of it is news, and whether the ring must change."""
        is_known = name in self._zones
        is_new_life = self._boots.get(name) != boot
        if is_known and is_new_life:
            self._renewed[name] = None
        changes_ring = not is_known or name in self._renewed or self._zones[name] != zone
        self._zones[name], self._boots[name] = zone, boot
        self._names[name_hash(name)] = name
        return is_new_life, changes_ring

    def remove(self, name: str) -> bool:
        """Know a member no more; return whether it was known."""
        if name == self.name or name not in self._zones:
            return False
        del self._zones[name], self._boots[name]
        self._names.pop(name_hash(name), None)
        # Should it be back before the ring changes, it is still to be told everything.
        self._renewed[name] = None
        return True

    def has_renewed(self) -> bool:
        """Return whether some member is to be told everything at the next change of the ring."""
        return any(name in self._zones for name in self._renewed)

    def take_renewed(self) -> dict[str, None]:
        """Drain the members who have to be told everything: they live a new boot, or were gone."""
        renewed, self._renewed = self._renewed, {}
        return renewed
