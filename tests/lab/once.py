"""What is asserted of a herd for which the registry sends an image once."""

from collections.abc import Callable

from spegel_gossip.directory.granting import MAX_LEASES

_ANOTHER = 1000
"""From the seed of the first image to that of the second."""


def assert_sent_once(play: Callable[[int], float], seed: int, *, most: float = 1.0) -> None:
    """Hold a herd to an image's bytes being sent once; if it is not so, the next herd of the same kind.

    An owner that is not run for 0.6 s counts as silent, and by rule the next one lets a second node fetch.
    That is rare, but where a herd begins, two dozen processes wake on few processors. What breaks the sharing
    itself is not rare, and shows twice.

    Args:
        play: has many nodes pull an image made from a seed, and returns what was sent, in sizes of the image
        seed: of the first image
        most: that may be sent
    """
    sent = play(seed)
    if sent > most:
        assert sent <= MAX_LEASES, "more nodes fetched than the rule ever lets"
        sent = play(seed + _ANOTHER)
    assert sent <= most
