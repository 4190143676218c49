from spegel_gossip.swarm.uplink import FADING, Uplink

MB = 1_000_000


def run(uplink: Uplink, start: float, seconds: int, *, rate: int, waiting: float) -> float:
    """Send at a rate for some seconds, waiting for the socket during a share of each; return the end."""
    for second in range(seconds):
        now = start + second
        uplink.wait_began(now)
        uplink.wait_ended(now + waiting)
        uplink.sent(rate, now + 0.99)
    return start + seconds


def test_what_was_never_full_was_never_measured() -> None:
    uplink = Uplink()
    uplink.upload_began()
    now = run(uplink, 1.0, 3, rate=20 * MB, waiting=0.2)
    assert uplink.rate(now) == 0
    assert uplink.has_spare(now)


def test_a_full_link_says_what_it_can() -> None:
    uplink = Uplink()
    uplink.upload_began()
    now = run(uplink, 1.0, 3, rate=50 * MB, waiting=0.97)
    assert 45 * MB <= uplink.rate(now) <= 51 * MB
    assert not uplink.has_spare(now)


def test_one_more_child_must_find_room_in_what_was_measured() -> None:
    uplink = Uplink()
    uplink.upload_began()
    now = run(uplink, 1.0, 3, rate=50 * MB, waiting=0.97)
    now = run(uplink, now, 2, rate=40 * MB, waiting=0.3)
    assert not uplink.has_spare(now)
    now = run(uplink, now, 2, rate=20 * MB, waiting=0.3)
    assert uplink.has_spare(now)
    uplink.upload_began()
    assert uplink.has_spare(now)


def test_a_link_whose_share_shrank_is_measured_anew() -> None:
    uplink = Uplink()
    uplink.upload_began()
    now = run(uplink, 1.0, 3, rate=50 * MB, waiting=0.97)
    before = uplink.rate(now)
    now = run(uplink, now, 1, rate=10 * MB, waiting=0.97)
    assert uplink.rate(now) == int(before * FADING) or abs(uplink.rate(now) - before * FADING) < 2


def test_who_sends_nothing_has_no_children_to_add_to() -> None:
    uplink = Uplink()
    assert not uplink.has_spare(10.0)
    uplink.upload_began()
    uplink.upload_ended()
    assert not uplink.has_spare(12.0)
