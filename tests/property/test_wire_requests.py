from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.wire import signing
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.verify import RequestRefusedError, RequestVerifier

KEYRING = Keyring((bytes(range(32)),))
NOW = 1_800_000_000.0
TARGET = "/gossip/push-pull?x=1"

NAMES = st.sampled_from(
    [
        "range",
        "host",
        signing.CLUSTER,
        signing.SENDER,
        signing.RECIPIENT,
        signing.TIME,
        signing.NONCE,
        signing.BODY_HASH,
        signing.SEALED,
        signing.SIGNATURE,
        "spegel-gossip-other",
    ]
)
VALUES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
    st.integers(-(10**20), 10**20).map(str),
    st.binary(max_size=40).map(bytes.hex),
)
HEADERS = st.dictionaries(NAMES, VALUES)


def verifier(keyring: Keyring | None) -> RequestVerifier:
    return RequestVerifier(Credentials("b", 1, "test", keyring), lambda: NOW)


def good() -> dict[str, str]:
    headers = {
        "host": "b",
        "range": "bytes=0-",
        signing.CLUSTER: f"{Credentials('b', 1, 'test', None).cluster_hash:016x}",
        signing.SENDER: "a",
        signing.RECIPIENT: "b",
        signing.TIME: str(round(NOW * 1000)),
        signing.NONCE: "0" * 32,
    }
    return headers | {
        signing.SIGNATURE: signing.sign_request(KEYRING.primary, "test", "POST", TARGET, headers)
    }


@given(headers=HEADERS, keyring=st.sampled_from([KEYRING, None]))
def test_headers_of_any_kind_are_refused_or_served_and_never_a_crash(
    headers: Mapping[str, str], keyring: Keyring | None
) -> None:
    with contextlib.suppress(RequestRefusedError):
        verifier(keyring).check("POST", TARGET, headers)
        assert keyring is None


@given(changes=HEADERS)
def test_no_change_to_what_is_signed_passes(changes: dict[str, str]) -> None:
    headers = good()
    changed = headers | changes
    counts = {name: value for name, value in changed.items() if name != "host"}
    if counts == {name: value for name, value in headers.items() if name != "host"}:
        assert verifier(KEYRING).check("POST", TARGET, changed) == "a"
        return

    with pytest.raises(RequestRefusedError):
        verifier(KEYRING).check("POST", TARGET, changed)


@given(target=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_a_signature_is_for_one_target(target: str) -> None:
    if target == TARGET:
        return

    with pytest.raises(RequestRefusedError):
        verifier(KEYRING).check("POST", target, good())
