from spegel_gossip.swarm.patience import DRIP_RATE, Doubt, Drip

MB = 1_000_000
PATIENCE = 2.75


def dripping(rate: float) -> Drip:
    """Return what saw sources of this rate for two seconds."""
    drip = Drip()
    for _ in range(4):
        assert not drip.came(int(rate / 2), waited=0.5, patience=PATIENCE)
    return drip


def seconds_until_asked(drip: Drip, rate: float, *, limit: float = 60.0) -> float | None:
    """Return after how long the owner is to be asked again."""
    drip.begin()
    waited = 0.0
    while waited < limit:
        waited += 0.5
        if drip.came(int(rate / 2), waited=0.5, patience=PATIENCE):
            return waited
    return None


def test_an_eightieth_of_what_came_before_is_borne_little_longer_than_silence() -> None:
    assert seconds_until_asked(dripping(25 * MB), 25 * MB / 80) in {6.0, 7.5}
    assert seconds_until_asked(dripping(25 * MB), 0.125 * MB) in {4.0, 4.5}


def test_a_line_that_many_share_now_is_no_drip() -> None:
    assert seconds_until_asked(dripping(25 * MB), DRIP_RATE) is None


def test_where_bytes_never_came_fast_the_owner_is_asked_seldom() -> None:
    # The registry may be what is slow, or the one line that it comes by.
    for drip in (dripping(0.25 * MB), Drip()):
        assert [seconds_until_asked(drip, 0.03 * MB) for _ in range(4)] == [11.0, 21.5, 43.0, 43.0]


def test_a_source_is_blamed_only_by_who_got_bytes_fast_before() -> None:
    assert Drip().came(0, waited=10.0, patience=PATIENCE) is Doubt.LAG
    assert dripping(25 * MB).came(0, waited=10.0, patience=PATIENCE) is Doubt.BEHIND


def test_a_rate_is_known_of_a_source_that_was_hardly_waited_for() -> None:
    # A busy machine takes 34 MB as fast as they come: the half second of waiting in it is no sample.
    drip = Drip()
    assert not drip.came(34 * MB, waited=0.5, patience=PATIENCE)
    drip.left(34 * MB, seconds=4.5)

    assert seconds_until_asked(drip, 0.125 * MB) == 4.0


def test_a_step_that_was_there_already_is_no_rate() -> None:
    drip = Drip()
    drip.left(1 << 20, seconds=0.01)

    assert seconds_until_asked(drip, 0.14 * MB) == 14.0


def test_what_comes_in_steps_is_no_drip_for_what_lies_between_them() -> None:
    drip = Drip()
    for _ in range(20):
        # A step of 1 MiB every 2.5 s: of longer gaps the silence is judged, and not the rate.
        assert not drip.came(1 << 20, waited=0.5, patience=PATIENCE)
        assert not drip.came(0, waited=2.0, patience=PATIENCE)


def test_a_source_that_is_named_again_has_twice_the_patience() -> None:
    drip = dripping(25 * MB)
    first, second, third = (seconds_until_asked(drip, 0.05 * MB) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert first < second < third


def test_bytes_that_come_as_before_end_what_had_dripped() -> None:
    drip = dripping(25 * MB)
    for _ in range(10):
        assert not drip.came(0, waited=2.0, patience=PATIENCE)
        assert not drip.came(25 * MB, waited=1.0, patience=PATIENCE)
