from spegel_gossip.swim.local_health import LocalHealth


def test_the_score_stays_within_its_bounds() -> None:
    # memberlist's TestAwareness, delta by delta.
    health = LocalHealth(max_multiplier=8)
    deltas = [0, -1, -10, 1, -1, 10, -1, -1, -1, -1, -1, -1, -1, -1]
    scores = [0, 0, 0, 1, 0, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    for delta, score in zip(deltas, scores, strict=True):
        health.change(delta)
        assert (health.score, health.multiplier) == (score, score + 1)


def test_a_multiplier_of_at_most_one_turns_it_off() -> None:
    health = LocalHealth(max_multiplier=1)
    health.change(5)
    assert health.multiplier == 1
