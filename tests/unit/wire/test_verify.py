from __future__ import annotations

import pytest

from spegel_gossip.routing import Peer
from spegel_gossip.wire import nonces as nonces_module
from spegel_gossip.wire import signing
from spegel_gossip.wire.bodies import BodySealer
from spegel_gossip.wire.credentials import Credentials
from spegel_gossip.wire.keyring import Keyring
from spegel_gossip.wire.nonces import MAX_NONCES, MAX_NONCES_OF_ONE, NonceMemory, Verdict
from spegel_gossip.wire.question import Question, Signer
from spegel_gossip.wire.verify import SKEW_WINDOW, RequestRefusedError, RequestVerifier

OLD, NEW = Keyring((bytes(range(32)),)), Keyring((bytes(range(32, 64)),))
NOW = 1_800_000_000.0
TARGET = "/blobs/sha256:00"


def signed(
    *,
    keyring: Keyring | None = OLD,
    to: str = "b",
    target: str = TARGET,
    cluster: str = "test",
    now: float = NOW,
    sender: str = "a",
    headers: dict[str, str] | None = None,
) -> dict[str, str]:
    """The headers of a request as they arrive."""
    credentials = Credentials(sender, 1, cluster, keyring)
    signer = Signer(credentials, BodySealer(credentials), lambda: now)
    question = Question(Peer(to, "", ()), "GET", target, headers or {}, b"", is_sealed=False)
    _, _, data = signer.sign(question)
    lines = data.decode().split("\r\n")[1:-2]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def verifier(*, keyring: Keyring | None = OLD, now: float = NOW) -> RequestVerifier:
    return RequestVerifier(Credentials("b", 1, "test", keyring), lambda: now)


def refusal(headers: dict[str, str], *, of: RequestVerifier, target: str = TARGET) -> tuple[int, str]:
    with pytest.raises(RequestRefusedError) as caught:
        of.check("GET", target, headers)
    return caught.value.status, caught.value.reason


@pytest.mark.parametrize("keyring", [OLD, None])
def test_a_request_of_a_member_passes_and_names_its_sender(keyring: Keyring | None) -> None:
    assert verifier(keyring=keyring).check("GET", TARGET, signed(keyring=keyring)) == "a"


def test_a_name_of_any_letters_survives_the_header() -> None:
    assert verifier().check("GET", TARGET, signed(sender="knöten/1 %")) == "knöten/1 %"


def test_a_request_works_once() -> None:
    headers, server = signed(), verifier()
    server.check("GET", TARGET, headers)

    assert refusal(headers, of=server) == (401, "replay")


def test_a_request_under_the_second_key_passes() -> None:
    both = Keyring((*NEW.keys, *OLD.keys))

    assert verifier(keyring=both).check("GET", TARGET, signed()) == "a"


def test_an_unsigned_request_is_refused() -> None:
    assert refusal({}, of=verifier()) == (401, "unsigned")
    assert refusal(signed(keyring=None), of=verifier()) == (401, "unsigned")


def test_a_request_under_another_key_is_refused() -> None:
    assert refusal(signed(keyring=NEW), of=verifier()) == (401, "signature")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("range", "bytes=5-"),
        (signing.CLUSTER, "0" * 16),
        (signing.SENDER, "c"),
        (signing.RECIPIENT, "c"),
        (signing.TIME, str(round(NOW * 1000) + 1)),
        (signing.NONCE, "0" * 32),
        (signing.BODY_HASH, "0" * 64),
        (signing.SEALED, "1"),
        ("spegel-gossip-anything", "x"),
    ],
)
def test_every_header_that_counts_is_signed(name: str, value: str) -> None:
    headers = signed(headers={"Range": "bytes=0-"}) | {name: value}

    assert refusal(headers, of=verifier()) == (401, "signature")


def test_method_and_target_are_signed() -> None:
    assert refusal(signed(), of=verifier(), target="/blobs/sha256:01") == (401, "signature")
    with pytest.raises(RequestRefusedError):
        verifier().check("DELETE", TARGET, signed())


def test_a_range_that_was_taken_away_is_noticed() -> None:
    headers = signed(headers={"Range": "bytes=0-"})
    del headers["range"]

    assert refusal(headers, of=verifier()) == (401, "signature")


def test_a_request_for_another_member_is_refused() -> None:
    assert refusal(signed(to="c"), of=verifier()) == (403, "recipient")


@pytest.mark.parametrize("keyring", [OLD, None])
def test_only_gossip_may_be_for_whoever_listens(keyring: Keyring | None) -> None:
    server = verifier(keyring=keyring)
    gossip = "/gossip/push-pull"

    assert server.check("GET", gossip, signed(to="", target=gossip, keyring=keyring)) == "a"
    assert refusal(signed(to="", keyring=keyring), of=server) == (403, "recipient")


def test_another_cluster_without_a_key_is_refused() -> None:
    headers = signed(keyring=None, cluster="other")

    assert refusal(headers, of=verifier(keyring=None)) == (403, "cluster")


@pytest.mark.parametrize("offset", [-2 * 86_400.0, -SKEW_WINDOW - 1, SKEW_WINDOW + 1, 2 * 86_400.0])
def test_a_skewed_clock_is_told_the_time_under_signature(offset: float) -> None:
    headers = signed(now=NOW + offset)

    with pytest.raises(RequestRefusedError) as caught:
        verifier().check("GET", TARGET, headers)

    assert (caught.value.status, caught.value.reason) == (401, "skew")
    told = caught.value.headers
    assert told[signing.TIME] == str(round(NOW * 1000))
    nonce = headers[signing.NONCE]
    assert signing.is_signed_time(OLD, "test", nonce, told[signing.TIME], told[signing.SIGNATURE])
    assert not signing.is_signed_time(OLD, "test", "0" * 32, told[signing.TIME], told[signing.SIGNATURE])


@pytest.mark.parametrize("offset", [-SKEW_WINDOW + 1, SKEW_WINDOW - 1])
def test_a_clock_within_the_window_passes(offset: float) -> None:
    assert verifier().check("GET", TARGET, signed(now=NOW + offset)) == "a"


def test_a_stranger_is_not_told_the_time() -> None:
    with pytest.raises(RequestRefusedError) as caught:
        verifier().check("GET", TARGET, signed(keyring=NEW, now=0))

    assert caught.value.headers == {}


def test_a_nonce_is_forgotten_when_its_time_is_over() -> None:
    nonces = NonceMemory()

    assert nonces.accept("n", sender="a", expires_at=10.0, now=0.0) is Verdict.NEW
    assert nonces.accept("n", sender="a", expires_at=10.0, now=10.0) is Verdict.SEEN
    assert nonces.accept("m", sender="a", expires_at=41.0, now=11.0) is Verdict.NEW
    assert len(nonces) == 1


def full_of_nonces(*, expires_at: float) -> NonceMemory:
    nonces = NonceMemory()
    for number in range(MAX_NONCES):
        accepted = nonces.accept(
            f"{number}", sender=f"s{number % 7}", expires_at=expires_at, now=expires_at - 30
        )
        assert accepted is Verdict.NEW
    return nonces


def test_a_replay_is_refused_however_many_requests_came_in_between() -> None:
    nonces = full_of_nonces(expires_at=30.0)

    assert nonces.accept("one more", sender="b", expires_at=31.0, now=1.0) is Verdict.NO_ROOM
    assert nonces.accept("0", sender="s0", expires_at=30.0, now=1.0) is Verdict.SEEN
    assert len(nonces) == MAX_NONCES
    assert nonces.accept("later", sender="b", expires_at=61.0, now=31.0) is Verdict.NEW


def test_a_member_that_asks_without_end_shuts_only_itself_out() -> None:
    nonces = NonceMemory()
    verdicts = [
        nonces.accept(str(number), sender="busy", expires_at=30.0, now=0.0) for number in range(MAX_NONCES)
    ]

    assert verdicts.count(Verdict.NEW) == MAX_NONCES_OF_ONE
    assert nonces.accept("n", sender="other", expires_at=30.0, now=0.0) is Verdict.NEW
    assert nonces.accept("m", sender="busy", expires_at=61.0, now=31.0) is Verdict.NEW


def test_a_clock_that_was_set_back_does_not_leave_the_table_full_for_ever() -> None:
    nonces = full_of_nonces(expires_at=2 * 86_400.0)

    assert nonces.accept("n", sender="a", expires_at=40.0, now=10.0) is Verdict.NEW


def test_a_request_that_cannot_be_remembered_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces_module, "MAX_NONCES", 2)
    server = verifier()
    for _ in range(2):
        server.check("GET", TARGET, signed())

    assert refusal(signed(), of=server) == (503, "nonces_full")
