from spegel_gossip.oci.digest import Digest
from spegel_gossip.transfer.blame import BAN_TIMEOUT, MAX_REMEMBERED, Blame

ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_all_who_sent_bytes_of_a_wrong_blob_are_banned_for_that_blob_alone() -> None:
    blame = Blame(Clock())
    for holder in ("a", "b"):
        blame.gave(ONE, holder)
    blame.gave(OTHER, "c")

    assert blame.condemn(ONE) == ("a", "b")

    assert [blame.is_banned(ONE, name) for name in "abc"] == [True, True, False]
    assert not any(blame.is_banned(OTHER, name) for name in "abc")


def test_a_ban_ends() -> None:
    clock = Clock()
    blame = Blame(clock)
    blame.gave(ONE, "a")
    blame.condemn(ONE)

    clock.now += BAN_TIMEOUT - 1
    assert blame.is_banned(ONE, "a")
    clock.now += 1
    assert not blame.is_banned(ONE, "a")


def test_a_blob_that_came_from_upstream_is_nobodys_fault() -> None:
    blame = Blame(Clock())

    assert blame.condemn(ONE) == ()


def test_a_source_is_blamed_once() -> None:
    blame = Blame(Clock())
    blame.gave(ONE, "a")
    blame.condemn(ONE)
    blame.gave(ONE, "b")

    assert blame.condemn(ONE) == ("b",)
    assert blame.is_banned(ONE, "a")


def test_what_is_remembered_is_bounded() -> None:
    blame = Blame(Clock())
    digests = [Digest.of(str(number).encode()) for number in range(MAX_REMEMBERED + 1)]
    for digest in digests:
        blame.gave(digest, "a")

    assert blame.condemn(digests[0]) == ()
    assert blame.condemn(digests[1]) == ("a",)
