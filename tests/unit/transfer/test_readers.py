from contextlib import ExitStack

from spegel_gossip.transfer.readers import MAX_OTHERS_NAMED, Readers, parse_others_untrusted

DIGEST = "sha256:" + "ab" * 32


def test_there_is_room_for_so_many_growing_copies_and_any_number_of_whole_ones() -> None:
    readers, is_full = Readers(2), []
    with ExitStack() as stack:
        for number in range(5):
            stack.enter_context(readers.reading(DIGEST, f"whole{number}", is_partial=False))
        for name in "ab":
            is_full.append(readers.is_full("sha256:a"))
            stack.enter_context(readers.reading(f"sha256:{name}", name, is_partial=True))
        is_full += [readers.is_full("sha256:a"), readers.is_full("sha256:nobody reads it")]
    is_full.append(readers.is_full("sha256:a"))
    assert is_full == [False, False, True, False, False]
    assert readers.others(DIGEST, but="") == ""


def test_the_others_that_read_a_blob_are_named_and_not_the_asker() -> None:
    readers = Readers(8)
    with ExitStack() as stack:
        for name in ("a b", "c", "me"):
            stack.enter_context(readers.reading(DIGEST, name, is_partial=True))
        assert parse_others_untrusted(readers.others(DIGEST, but="me")) == ("a b", "c")
        assert readers.others("sha256:other", but="me") == ""


def test_no_more_are_named_than_need_be_tried() -> None:
    readers = Readers(100)
    with ExitStack() as stack:
        for number in range(20):
            stack.enter_context(readers.reading(DIGEST, f"n{number}", is_partial=True))
        assert parse_others_untrusted(readers.others(DIGEST, but="n19")) == ("n15", "n16", "n17", "n18")
    assert len(parse_others_untrusted("x " * 50)) == MAX_OTHERS_NAMED
    assert parse_others_untrusted(None) == ()


def test_two_ranges_of_one_reader_are_one_name_until_both_ended() -> None:
    readers = Readers(8)
    with readers.reading(DIGEST, "a", is_partial=True):
        with readers.reading(DIGEST, "a", is_partial=True):
            pass
        assert readers.others(DIGEST, but="b") == "a"
