from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from spegel_gossip.gossip.long_lived import FREEZE_STEP, LongLived


@pytest.fixture
def frozen() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen")
def test_a_table_is_set_aside_as_it_grows_and_not_again_when_members_come_and_go() -> None:
    long_lived = LongLived()
    before = gc.get_freeze_count()
    long_lived.grown_to(FREEZE_STEP - 1)
    assert gc.get_freeze_count() == before

    long_lived.grown_to(FREEZE_STEP)
    first = gc.get_freeze_count()
    assert first > before
    kept = [[number] for number in range(1000)]

    for members in (1, FREEZE_STEP, 2 * FREEZE_STEP - 1):
        long_lived.grown_to(members)
    assert gc.get_freeze_count() <= first
    long_lived.grown_to(2 * FREEZE_STEP)
    assert gc.get_freeze_count() >= first + len(kept)
