from __future__ import annotations

import pytest

from spegel_gossip.errors import DecodeError
from spegel_gossip.wire.bodies import BodySealer, answer_context, request_context
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import Keyring

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def sealer(name: str, *keys: bytes, cluster: str = "test") -> BodySealer:
    return BodySealer(Credentials(name, 1, cluster, Keyring(keys) if keys else None))


def test_a_body_opens_for_who_has_one_of_the_keys() -> None:
    sealed = sealer("a", OLD).seal(b"body", context="c")

    assert sealer("b", NEW, OLD).open_untrusted(sealed, sender="a", context="c") == b"body"


@pytest.mark.parametrize(
    ("opener", "sender", "context"),
    [
        (sealer("b", NEW), "a", answer_context("1", 200)),
        (sealer("b", OLD, cluster="other"), "a", answer_context("1", 200)),
        (sealer("b", OLD), "c", answer_context("1", 200)),
        (sealer("b", OLD), "a", answer_context("2", 200)),
        (sealer("b", OLD), "a", answer_context("1", 404)),
        (sealer("b", OLD), "a", request_context("1")),
        (sealer("b"), "a", answer_context("1", 200)),
    ],
    ids=["key", "cluster", "sender", "nonce", "status", "direction", "no key"],
)
def test_a_body_is_bound_to_what_it_belongs_to(opener: BodySealer, sender: str, context: str) -> None:
    sealed = sealer("a", OLD).seal(b"body", context=answer_context("1", 200))

    with pytest.raises(DecodeError):
        opener.open_untrusted(sealed, sender=sender, context=context)


def test_nothing_is_sealed_without_a_key() -> None:
    with pytest.raises(RuntimeError):
        sealer("a").seal(b"body", context="c")
