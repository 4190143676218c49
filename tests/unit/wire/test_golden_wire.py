from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spegel_gossip.wire import signing
from spegel_gossip.wire.bodies import BodySealer
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.envelope import Envelope
from spegel_gossip.wire.keyring import Keyring

# Two releases always talk during a roll-out: what an old one sealed and signed must
# open and verify for ever. A test that fails here is a wire format that was broken.
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "wire.json").read_text())
KEYRING = Keyring((bytes(range(32)),))


@pytest.mark.parametrize("golden", GOLDEN["datagrams"], ids=lambda golden: str(golden["what"]))
def test_a_datagram_of_the_first_release_opens(golden: dict[str, Any]) -> None:
    keyring = KEYRING if golden["what"].startswith("sealed") else None
    receiver = Envelope(Credentials("node-b", 1, "golden", keyring))

    opened = receiver.open_untrusted(bytes.fromhex(golden["hex"]))

    assert (opened.name, opened.boot) == ("node-a", 1_800_000_000_000)
    assert (opened.kind, opened.body.decode()) == (golden["kind"], golden["body"])


@pytest.mark.parametrize("golden", GOLDEN["bodies"], ids=lambda golden: str(golden["context"].split()[0]))
def test_a_body_of_the_first_release_opens(golden: dict[str, Any]) -> None:
    sealer = BodySealer(Credentials("node-b", 1, "golden", KEYRING))

    body = sealer.open_untrusted(bytes.fromhex(golden["hex"]), sender="node-a", context=golden["context"])

    assert body.decode() == golden["body"]


def test_a_signature_of_the_first_release_is_good() -> None:
    golden = GOLDEN["request"]
    headers = golden["headers"] | {signing.SIGNATURE: golden["signature"]}

    key = signing.signing_key_of_request(KEYRING, "golden", golden["method"], golden["target"], headers)

    assert key == KEYRING.primary


def test_a_time_signed_by_the_first_release_is_believed() -> None:
    golden = GOLDEN["time"]

    assert signing.is_signed_time(KEYRING, "golden", golden["nonce"], golden["time"], golden["signature"])
