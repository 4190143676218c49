import pytest
from hypothesis import given
from hypothesis import strategies as st

from spegel_gossip.client.challenge import Challenge, parse_challenges_untrusted

BEARER = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"'
)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            [BEARER],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull",
                    },
                )
            ],
        ),
        (['Basic realm="x"'], [Challenge("basic", {"realm": "x"})]),
        (['BASIC Realm = "x" , charset=UTF-8'], [Challenge("basic", {"realm": "x", "charset": "UTF-8"})]),
        (["Negotiate"], [Challenge("negotiate", {})]),
        (
            ['Negotiate, Basic realm="x", Bearer realm="y"'],
            [
                Challenge("negotiate", {}),
                Challenge("basic", {"realm": "x"}),
                Challenge("bearer", {"realm": "y"}),
            ],
        ),
        (
            ['Basic realm="x"', 'Bearer realm="y"'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
        ),
        (['Bearer realm="a, b=\\"c\\""'], [Challenge("bearer", {"realm": 'a, b="c"'})]),
        (['Bearer realm="first",realm="second"'], [Challenge("bearer", {"realm": "first"})]),
        (['Bearer realm="unended'], [Challenge("bearer", {"realm": ""})]),
        ([""], []),
        ([], []),
    ],
)
def test_challenges_are_read_as_the_rfc_writes_them(headers: list[str], expected: list[Challenge]) -> None:
    assert list(parse_challenges_untrusted(headers)) == expected


@given(st.lists(st.text(max_size=200), max_size=3))
def test_whatever_a_server_sends_is_some_challenges(headers: list[str]) -> None:
    assert all(challenge.scheme for challenge in parse_challenges_untrusted(headers))


@given(st.text(alphabet='Bearer realm="\\,= ', max_size=300))
def test_what_looks_like_a_challenge_is_parsed_in_one_pass(header: str) -> None:
    assert len(parse_challenges_untrusted([header])) <= len(header)
