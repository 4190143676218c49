from __future__ import annotations

from spegel_gossip.directory.keys import PackedKey, pack_key, token_of
from spegel_gossip.directory.ring_change import LOOK_BURST, RingChange
from spegel_gossip.oci.digest import Digest
from spegel_gossip.ring.ring import Ring

KEYS = [pack_key(Digest.of(str(number).encode())) for number in range(3 * LOOK_BURST)]
MEMBERS = {f"node-{number}": "" for number in range(12)}
BEFORE = Ring.of(MEMBERS)
AFTER = Ring.of({**MEMBERS, "joiner": ""})


def gained(change: RingChange, keys: list[PackedKey]) -> dict[PackedKey, tuple[str, ...]]:
    return {key: handover.gained for key, handover in change.among(keys)}


def test_what_changes_hands_is_found_whether_looked_at_before_or_not() -> None:
    ahead = RingChange(BEFORE, AFTER, keys=KEYS)
    slices = 1
    while ahead.look_at_some():
        slices += 1
    expected = {key: ("joiner",) for key in KEYS if "joiner" in AFTER.preference_list(token_of(key))}
    assert slices == 3
    assert gained(ahead, KEYS) == expected
    assert gained(RingChange(BEFORE, AFTER), KEYS) == expected


def test_what_came_while_it_was_looked_through_is_found_too() -> None:
    change = RingChange(BEFORE, AFTER, keys=KEYS[:10])
    change.look_at_some()
    assert gained(change, KEYS) == gained(RingChange(BEFORE, AFTER), KEYS)


def test_a_renewed_owner_gains_all_it_owns() -> None:
    change = RingChange(BEFORE, BEFORE, ("node-3",), KEYS)
    while change.look_at_some():
        pass
    assert gained(change, KEYS) == {
        key: ("node-3",) for key in KEYS if "node-3" in BEFORE.preference_list(token_of(key))
    }


def test_the_loser_is_named_as_well() -> None:
    for key, handover in RingChange(BEFORE, AFTER).among(KEYS):
        assert set(handover.lost) == set(BEFORE.preference_list(token_of(key))) - set(
            AFTER.preference_list(token_of(key))
        )
