from __future__ import annotations

import pytest

from spegel_gossip.oci import reach as module
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reach import MAX_REPOSITORIES, Reach

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def test_a_digest_is_reached_under_the_repositories_that_lead_to_it() -> None:
    reach = Reach()
    reach.add("docker.io", "team/app", [ONE])
    reach.add("ghcr.io", "team/app", [ONE, TWO])
    assert reach.reaches("docker.io", "team/app", ONE)
    assert not reach.reaches("docker.io", "team/app", TWO)
    assert reach.is_reached(TWO)


def test_the_first_time_is_news() -> None:
    reach, told = Reach(), list[Digest]()
    reach.on_reached = told.append
    reach.add("docker.io", "a", [ONE, ONE])
    reach.add("docker.io", "b", [ONE, TWO])
    assert told == [ONE, TWO]


def test_what_was_not_reached_for_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIGESTS", 2)
    reach = Reach()
    reach.add("docker.io", "a", [ONE, TWO])
    reach.add("docker.io", "a", [ONE, Digest.of(b"three")])
    assert reach.is_reached(ONE)
    assert not reach.is_reached(TWO)


def test_a_digest_that_is_everywhere_takes_no_more_than_so_much() -> None:
    reach = Reach()
    for number in range(MAX_REPOSITORIES + 1):
        reach.add("docker.io", f"repo{number}", [ONE])
    assert not reach.reaches("docker.io", "repo0", ONE)
    assert reach.reaches("docker.io", f"repo{MAX_REPOSITORIES}", ONE)
