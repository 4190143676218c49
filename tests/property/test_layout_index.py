import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from property.test_oci_names import digests
from property.test_oci_names import tag_names as all_tag_names
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.reference import TagName
from spegel_gossip.stores.layout.image_index import (
    CONTAINERD_NAME,
    REF_NAME,
    UPDATED_AT,
    ImageIndex,
    InvalidIndexError,
)
from spegel_gossip.stores.records import tag_of

# Docker Hub's names of one component are never written so.
tag_names = all_tag_names.filter(lambda name: tag_of(str(name)) == name)
targets = st.builds(
    Descriptor, digests, st.integers(0, 2**63 - 1), st.sampled_from(["application/a", "application/b"])
)
times = st.floats(0, 2**33).map(lambda seconds: round(seconds, 6))
texts = st.text(st.characters(codec=None), max_size=8)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
# Near to an entry, so that every field is wrong now and then and the rest right.
entries = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.just("application/a") | values,
        "digest": digests.map(str) | values,
        "size": st.integers(-1, 9) | values,
        "annotations": st.dictionaries(
            st.sampled_from([REF_NAME, CONTAINERD_NAME, UPDATED_AT, "other"]),
            tag_names.map(str) | st.sampled_from(["v1", "1.5", "nan", "-1", "inf"]) | values,
        )
        | values,
    },
)
documents = st.fixed_dictionaries(
    {"manifests": st.lists(entries | values, max_size=4)}, optional={"x": values}
)


def tagged(index: ImageIndex) -> dict[TagName, Descriptor]:
    return {entry.tag: entry.target for entry in index.entries if entry.tag is not None}


@given(st.one_of(st.binary(max_size=64), values.map(lambda value: json.dumps(value).encode())))
def test_bytes_that_are_no_index_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with suppress(InvalidIndexError):
        ImageIndex.parse(data)


def test_a_document_nested_without_end_is_refused() -> None:
    with pytest.raises(InvalidIndexError):
        ImageIndex.parse(b"[" * 100_000)


@given(documents)
def test_odd_entries_are_not_shown_and_not_lost(document: dict[str, Any]) -> None:
    index = ImageIndex.parse(json.dumps(document).encode())

    for entry in index.entries:
        assert entry.target.size >= 0
        assert entry.updated_at is None or 0 <= entry.updated_at < float("inf")
    assert same(json.loads(index.encode()), document)


@given(documents, tag_names, targets, times)
def test_a_tag_that_was_set_names_its_target_and_the_others_what_they_did(
    document: dict[str, Any], name: TagName, target: Descriptor, now: float
) -> None:
    before = ImageIndex.parse(json.dumps(document).encode())

    after = ImageIndex.parse(before.with_tag(name, target, now).encode())

    assert tagged(after) == tagged(before) | {name: target}
    (entry,) = [entry for entry in after.entries if entry.tag == name]
    assert entry.updated_at == pytest.approx(now, abs=1e-6)
    assert same(json.loads(after.without_tag(name).encode()), json.loads(before.without_tag(name).encode()))


@given(st.lists(st.tuples(tag_names, targets), max_size=6))
def test_tags_are_set_and_taken_away_as_in_a_dictionary(pairs: list[tuple[TagName, Descriptor]]) -> None:
    index = ImageIndex.empty()
    for name, target in pairs:
        index = index.with_tag(name, target, 0)
    assert tagged(index) == dict(pairs)

    for name, _ in pairs[::2]:
        index = index.without_tag(name)
    assert tagged(index) == {n: t for n, t in dict(pairs).items() if n not in dict(pairs[::2])}


@given(tag_names, digests)
def test_the_full_name_counts_wherever_it_stands(name: TagName, digest: Digest) -> None:
    def index(**annotations: str) -> ImageIndex:
        keys = {"ref": REF_NAME, "containerd": CONTAINERD_NAME}
        entry = {
            "mediaType": "application/a",
            "digest": str(digest),
            "size": 1,
            "annotations": {keys[key]: value for key, value in annotations.items()},
        }
        return ImageIndex({"manifests": [entry]})

    assert name in tagged(index(ref=str(name)))
    # As `ctr image export` writes it.
    assert name in tagged(index(ref=name.tag, containerd=str(name)))
    assert not tagged(index(ref=name.tag))


def same(one: object, other: object) -> bool:
    # NaN is not itself; as text it is.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
