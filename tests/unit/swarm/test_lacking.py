from spegel_gossip.oci.digest import Digest
from spegel_gossip.swarm.lacking import MAX_PARTS, MAX_TOGETHER, Lacking

LAYERS = [Digest.of(str(number).encode()) for number in range(4)]


def test_every_part_stands_for_all_that_is_lacked_with_it() -> None:
    lacking = Lacking()
    lacking.note({LAYERS[0]: 10, LAYERS[1]: 20})
    assert [lacking.together(layer) for layer in LAYERS[:3]] == [30, 30, 0]


def test_what_was_said_last_of_a_part_counts() -> None:
    lacking = Lacking()
    lacking.note({LAYERS[0]: 10, LAYERS[1]: 20})
    lacking.note({LAYERS[1]: 20, LAYERS[2]: 5})
    assert [lacking.together(layer) for layer in LAYERS[:3]] == [30, 25, 25]


def test_only_so_many_parts_are_remembered() -> None:
    lacking = Lacking()
    lacking.note({LAYERS[0]: 10})
    lacking.note({Digest.of(b"%d" % number): 1 for number in range(10, 10 + MAX_PARTS)})
    assert lacking.together(LAYERS[0]) == 0


def test_sizes_that_no_image_has_stay_sendable() -> None:
    lacking = Lacking()
    lacking.note(dict.fromkeys(LAYERS, 1 << 63))
    assert lacking.together(LAYERS[0]) == MAX_TOGETHER
