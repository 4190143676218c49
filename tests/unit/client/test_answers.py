import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.client.answers import error_of, parse_retry_after, registry_reason
from spegel_gossip.client.download import SOURCE_HEADER
from spegel_gossip.client.errors import (
    ClientError,
    DeniedError,
    NotThereError,
    RegistryProtocolError,
    TransientError,
)
from spegel_gossip.registry import answer


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, DeniedError),
        (403, DeniedError),
        (404, NotThereError),
        (408, TransientError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
        (301, RegistryProtocolError),
        (400, RegistryProtocolError),
        (501, RegistryProtocolError),
    ],
)
def test_a_status_says_what_to_do_next(status: int, error: type[ClientError]) -> None:
    found = error_of(status, what="manifest v1 of a/b", host="r.example", now=0.0)

    assert type(found) is error
    assert "r.example" in str(found)


def test_a_registrys_own_words_are_passed_on_without_what_steers_a_terminal() -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no \x1b[31m entry\nhere"}]}).encode()

    assert registry_reason(body) == "no [31m entry here"


@given(st.binary(max_size=300))
def test_whatever_stands_in_an_error_is_words_or_nothing(body: bytes) -> None:
    assert registry_reason(body).isprintable()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("9" * 5000, 999999999.0),
        ("soon", None),
        ("-3", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, now=10.0) == seconds


def test_the_header_that_names_the_node_is_the_one_that_the_mirror_sends() -> None:
    assert answer.SOURCE_HEADER == SOURCE_HEADER
