from __future__ import annotations

from spegel_gossip.lookup.tags import ANSWER_INTERVAL, MAX_ANSWERS, MAX_CLOCK_LEAD, TagObservations
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName

TAG = TagName("docker.io", "library/nginx", "latest")
OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
NOW = 1_700_000_000.0


def test_an_image_nobody_asked_the_mirror_for_is_no_observation() -> None:
    assert TagObservations().observe(TAG, NEW, NOW) == 0.0


def test_after_a_404_the_image_is_what_upstream_said_then() -> None:
    tags = TagObservations()
    tags.answered(TAG, None, NOW)
    assert tags.observe(TAG, NEW, NOW + 60) == NOW


def test_a_pull_that_was_answered_is_as_old_as_the_answer() -> None:
    tags = TagObservations()
    tags.answered(TAG, NOW - 5_000, NOW)
    assert tags.observe(TAG, NEW, NOW + 60) == NOW - 5_000


def test_one_answer_makes_one_observation() -> None:
    tags = TagObservations()
    tags.answered(TAG, None, NOW)
    tags.observe(TAG, OLD, NOW)
    assert tags.observe(TAG, NEW, NOW + 60) == 0.0


def test_the_same_digest_told_again_keeps_its_observation() -> None:
    tags = TagObservations()
    tags.answered(TAG, None, NOW)
    tags.observe(TAG, NEW, NOW)
    assert tags.observe(TAG, NEW, NOW + 9_999) == NOW
    tags.answered(TAG, NOW - 50, NOW + 10_000)
    assert tags.observe(TAG, NEW, NOW + 10_000) == NOW


def test_an_answer_long_before_the_image_has_nothing_to_do_with_it() -> None:
    tags = TagObservations()
    tags.answered(TAG, None, NOW)
    assert tags.observe(TAG, NEW, NOW + ANSWER_INTERVAL + 1) == 0.0


def test_an_observation_from_the_future_is_refused() -> None:
    tags = TagObservations()
    tags.answered(TAG, NOW + MAX_CLOCK_LEAD + 1, NOW)
    assert tags.observe(TAG, NEW, NOW) == 0.0


def test_a_removed_tag_is_forgotten() -> None:
    tags = TagObservations()
    tags.answered(TAG, None, NOW)
    tags.observe(TAG, NEW, NOW)
    tags.forget(TAG)
    assert tags.observe(TAG, NEW, NOW) == 0.0


def test_until_its_event_an_image_counts_by_the_answer_that_led_to_it() -> None:
    tags = TagObservations()
    assert tags.observed_at(TAG, NEW, NOW) == 0.0
    tags.answered(TAG, NOW - 50, NOW)
    assert tags.observed_at(TAG, NEW, NOW) == NOW - 50
    tags.observe(TAG, NEW, NOW)
    assert tags.observed_at(TAG, NEW, NOW) == NOW - 50
    assert tags.observed_at(TAG, OLD, NOW) == 0.0


def test_after_a_purge_only_what_was_asked_of_upstream_later_counts() -> None:
    tags = TagObservations()
    tags.answered(TAG, None, NOW)
    tags.observe(TAG, OLD, NOW)
    tags.answered(TAG, None, NOW + 1)
    tags.purge(TAG, NOW + 2)
    assert tags.observe(TAG, OLD, NOW + 3) == 0.0
    tags.answered(TAG, None, NOW + 4)
    tags.purge(TAG, NOW + 2)
    assert tags.observe(TAG, OLD, NOW + 5) == NOW + 4


def test_the_memory_is_bounded() -> None:
    tags = TagObservations()
    tags.answered(TAG, None, NOW)
    for number in range(MAX_ANSWERS):
        tags.answered(TagName("docker.io", "library/nginx", str(number)), None, NOW)
    assert tags.observe(TAG, NEW, NOW) == 0.0
