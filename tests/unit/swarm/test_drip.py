from spegel_gossip.swarm.patience import DRIP_RATE, Drip

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


def test_a_registry_that_was_never_fast_does_not_drip() -> None:
    assert seconds_until_asked(dripping(0.25 * MB), 0.25 * MB / 8) is None
    assert seconds_until_asked(Drip(), 10.0) is None


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
