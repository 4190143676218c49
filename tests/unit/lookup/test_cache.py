from __future__ import annotations

from spegel_gossip.directory.keys import pack_key
from spegel_gossip.directory.messages import KeyAnswer
from spegel_gossip.lookup.cache import CACHE_INTERVAL, MAX_CACHED, AnswerCache
from spegel_gossip.oci.digest import Digest

KEYS = [pack_key(Digest.of(str(number).encode())) for number in range(MAX_CACHED + 1)]
ANSWER = KeyAnswer(is_young=False, has_same_view=True, holders=(1,))


def test_an_answer_is_good_for_a_second() -> None:
    cache = AnswerCache()
    cache.put(KEYS[0], ANSWER, 5.0)
    assert cache.get(KEYS[0], 5.0 + CACHE_INTERVAL - 0.01) == ANSWER
    assert cache.get(KEYS[0], 5.0 + CACHE_INTERVAL) is None
    assert cache.get(KEYS[1], 5.0) is None


def test_a_wrong_answer_is_dropped() -> None:
    cache = AnswerCache()
    cache.put(KEYS[0], ANSWER, 5.0)
    cache.drop(KEYS[0])
    assert cache.get(KEYS[0], 5.0) is None


def test_only_so_many_are_kept() -> None:
    cache = AnswerCache()
    for key in KEYS:
        cache.put(key, ANSWER, 5.0)
    assert cache.get(KEYS[0], 5.0) is None
    assert cache.get(KEYS[-1], 5.0) == ANSWER
