from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from spegel_gossip.gossip.long_lived import FREEZE_STEP, LongLived


@pytest.fixture
def frozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def is_set_aside(kept: object) -> bool:
    # How many are set aside says nothing: what other tests left behind is freed at any time.
    return not any(one is kept for one in gc.get_objects())


@pytest.mark.usefixtures("frozen")
def test_a_table_is_set_aside_as_it_grows_and_not_again_when_members_come_and_go() -> None:
    long_lived = LongLived()
    early = [[0]]
    long_lived.grown_to(FREEZE_STEP - 1)
    assert not is_set_aside(early)

    long_lived.grown_to(FREEZE_STEP)
    assert is_set_aside(early)
    late = [[0]]

    for members in (1, FREEZE_STEP, 2 * FREEZE_STEP - 1):
        long_lived.grown_to(members)
    assert not is_set_aside(late)
    long_lived.grown_to(2 * FREEZE_STEP)
    assert is_set_aside(late)
