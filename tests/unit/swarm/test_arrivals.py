from spegel_gossip.oci.digest import Digest
from spegel_gossip.swarm.arrivals import MAX_ARRIVALS, Arrivals, Origin

LAYER, CONFIG, OTHER = (Digest.of(name) for name in (b"layer", b"config", b"other"))


def origins(*, upstream: int = 0, complete: int = 0, partial: int = 0) -> dict[Origin, int]:
    return {Origin.UPSTREAM: upstream, Origin.COMPLETE: complete, Origin.PARTIAL: partial}


def test_what_no_node_sent_came_from_the_registry() -> None:
    arrivals = Arrivals()
    arrivals.asked(LAYER, 1.0)
    arrivals.opened(LAYER)
    arrivals.received(LAYER, 30, Origin.PARTIAL)
    arrivals.received(LAYER, 20, Origin.COMPLETE)
    arrivals.closed(LAYER)

    arrivals.added(LAYER, 100, 4.0)

    assert arrivals.totals == origins(upstream=50, complete=20, partial=30)
    arrived = arrivals.take([LAYER])
    assert arrived is not None
    assert (arrived.digests, arrived.bytes, arrived.from_peers) == ((LAYER,), 100, 50)
    assert (arrived.begun_at, arrived.ended_at) == (1.0, 4.0)


def test_bytes_that_are_counted_after_the_blob_is_here_are_not_the_registrys() -> None:
    arrivals = Arrivals()
    arrivals.asked(LAYER, 1.0)
    arrivals.opened(LAYER)

    # containerd commits the moment it has the last byte; the stream's end is noticed later.
    arrivals.added(LAYER, 100, 2.0)
    assert arrivals.take([LAYER]) is None
    assert arrivals.is_coming([LAYER])
    arrivals.received(LAYER, 100, Origin.COMPLETE)
    arrivals.closed(LAYER)

    assert arrivals.totals == origins(complete=100)


def test_what_was_never_asked_for_does_not_count() -> None:
    arrivals = Arrivals()

    arrivals.added(LAYER, 100, 1.0)

    assert not arrivals.totals
    assert arrivals.take([LAYER]) is None
    assert not arrivals.has_news


def test_what_was_sent_twice_saves_the_registry_no_more_than_the_blob() -> None:
    arrivals = Arrivals()
    arrivals.asked(LAYER, 1.0)
    arrivals.received(LAYER, 90, Origin.PARTIAL)
    arrivals.received(LAYER, 90, Origin.COMPLETE)
    arrivals.added(LAYER, 100, 2.0)

    assert arrivals.totals == origins(complete=90, partial=10)


def test_what_is_answered_from_memory_is_not_the_registrys() -> None:
    arrivals = Arrivals()
    arrivals.asked(LAYER, 1.0)
    arrivals.given(LAYER, 100)
    arrivals.given(LAYER, 100)
    arrivals.added(LAYER, 100, 2.0)

    assert arrivals.totals == origins(complete=100)


def test_an_image_is_told_once_and_only_when_all_of_it_has_come() -> None:
    arrivals = Arrivals()
    for digest in (LAYER, CONFIG):
        arrivals.asked(digest, 1.0)
    arrivals.added(LAYER, 100, 2.0)
    assert arrivals.take([LAYER, CONFIG, OTHER]) is None

    arrivals.added(CONFIG, 7, 3.0)

    arrived = arrivals.take([LAYER, CONFIG, OTHER])
    assert arrived is not None
    assert arrived.by_origin == origins(upstream=107)
    assert arrivals.take([LAYER, CONFIG, OTHER]) is None
    assert not arrivals.has_news


def test_a_blob_that_was_collected_and_is_pulled_again_counts_again() -> None:
    arrivals = Arrivals()
    for begun_at in (1.0, 5.0):
        arrivals.asked(LAYER, begun_at)
        arrivals.added(LAYER, 100, begun_at + 1)
        assert arrivals.take([LAYER]) is not None
        arrivals.removed(LAYER)

    assert arrivals.totals == origins(upstream=200)


def test_what_has_come_so_far_is_known_while_it_comes() -> None:
    arrivals = Arrivals()
    arrivals.asked(LAYER, 1.0)
    arrivals.asked(CONFIG, 1.0)
    arrivals.received(LAYER, 40, Origin.PARTIAL)
    arrivals.added(CONFIG, 7, 2.0)

    assert arrivals.so_far([LAYER, CONFIG, OTHER]) == origins(upstream=7, partial=40)


def test_the_table_is_bounded_and_what_fell_out_is_no_news() -> None:
    arrivals = Arrivals()
    digests = [Digest.of(b"%d" % number) for number in range(MAX_ARRIVALS + 10)]
    for digest in digests:
        arrivals.asked(digest, 1.0)
        arrivals.added(digest, 1, 2.0)

    arrived = arrivals.take(digests)

    assert arrived is not None
    assert len(arrived.digests) == MAX_ARRIVALS
    assert not arrivals.has_news
