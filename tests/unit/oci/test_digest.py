from __future__ import annotations

import hashlib

import pytest

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize("text", [SHA256, SHA512])
def test_a_digest_is_written_as_it_was_read(text: str) -> None:
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        SHA256[:-1],
        SHA256 + "0",
        SHA256.upper(),
        SHA256.replace("a", "A"),
        SHA256.replace("f", "g"),
        " " + SHA256,
        SHA256 + " ",
        SHA256 + "\n",
        SHA256 + "\0",
        SHA256.replace(":", "-"),
        "sha512:" + "0" * 64,
        "sha256:" + "0" * 128,
        "sha384:" + "0" * 96,
        "sha1:" + "0" * 40,
        "md5:" + "0" * 32,
        "sha256:../../etc/passwd",
        "sha256:" + "../" * 21 + "x",
        "sha256:" + "\u0660" * 64,
        f"{SHA256},{SHA256}",
        f"@{SHA256}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidDigestError):
        Digest.parse(text)


def test_the_error_keeps_no_more_than_a_log_line_of_the_text() -> None:
    with pytest.raises(InvalidDigestError) as caught:
        Digest.parse("x" * 100_000)

    assert len(caught.value.text) == 200
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, SpegelGossipError)
    assert isinstance(caught.value, ValueError)


def test_the_digest_of_bytes_is_their_sha256() -> None:
    assert str(Digest.of(b"")) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_bytes_match_their_digest_and_no_other(algorithm: str) -> None:
    digest = Digest.parse(f"{algorithm}:{hashlib.new(algorithm, b'hello').hexdigest()}")

    assert digest.matches(b"hello")
    assert not digest.matches(b"hello ")
    assert not digest.matches(b"")


def test_a_hasher_takes_bytes_piece_by_piece() -> None:
    hasher = Digest.parse(SHA512).hasher()
    hasher.update(b"hel")
    hasher.update(b"lo")

    assert hasher.hexdigest() == hashlib.sha512(b"hello").hexdigest()


def test_digests_are_values_that_sort() -> None:
    first, second = Digest.parse("sha256:" + "0" * 64), Digest.parse("sha256:" + "1" * 64)

    assert sorted([second, first]) == [first, second]
    assert {first, Digest.parse(str(first))} == {first}
