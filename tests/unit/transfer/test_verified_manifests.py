import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.transfer.manifests import VerifiedManifests

A, B, C = (letter * 40 for letter in (b"a", b"b", b"c"))


def keep(cache: VerifiedManifests, *manifests: bytes) -> None:
    for data in manifests:
        cache.put(Digest.of(data), data)


def test_the_least_recently_used_goes_first() -> None:
    cache = VerifiedManifests(max_bytes=100)
    keep(cache, A, B)
    assert cache.get(Digest.of(A)) == A

    keep(cache, C)

    assert [cache.get(Digest.of(data)) for data in (A, B, C)] == [A, None, C]


def test_what_is_larger_than_all_of_the_cache_is_not_kept() -> None:
    cache = VerifiedManifests(max_bytes=100)
    keep(cache, A, b"x" * 101)

    assert cache.get(Digest.of(A)) == A
    assert cache.get(Digest.of(b"x" * 101)) is None


def test_putting_one_twice_does_not_count_it_twice() -> None:
    cache = VerifiedManifests(max_bytes=100)
    keep(cache, A, A, A, B)

    assert [cache.get(Digest.of(data)) for data in (A, B)] == [A, B]


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_byte_timeout": 0},
        {"stall_timeout": -1},
        {"max_sources": 0},
        {"max_uploads": 0},
        {"manifest_cache_bytes": -1},
        {"min_upload_rate": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TransferConfig(**wrong)
