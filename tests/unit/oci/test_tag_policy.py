from __future__ import annotations

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.reference import TagName
from spegel_gossip.oci.tag_policy import CLUSTER, NEVER, TagPolicies, TagPolicy

NGINX_LATEST = TagName("docker.io", "library/nginx", "latest")
NGINX_1_27 = TagName("docker.io", "library/nginx", "1.27")


def test_without_rules_the_cluster_answers() -> None:
    assert TagPolicies().policy_of(NGINX_LATEST) == CLUSTER


def test_latest_is_fresh_by_default_and_the_operator_s_rules_go_first() -> None:
    default = TagPolicies.parse([])
    assert default.policy_of(NGINX_LATEST) == TagPolicy(30.0)
    assert default.policy_of(NGINX_1_27) == CLUSTER
    assert TagPolicies.parse([":latest$=cluster"]).policy_of(NGINX_LATEST) == CLUSTER


def test_the_first_rule_that_is_found_decides() -> None:
    policies = TagPolicies.parse([":latest$=never", "nginx=fresh:5m", ":1.27$=never"])

    assert policies.policy_of(NGINX_LATEST) == NEVER
    assert policies.policy_of(NGINX_1_27) == TagPolicy(300.0)
    assert policies.policy_of(TagName("ghcr.io", "a/b", "c")) == CLUSTER


def test_an_expression_may_hold_an_equals_sign() -> None:
    assert TagPolicies.parse(["(?=.*nginx)=never"]).policy_of(NGINX_1_27) == NEVER


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("5m", 300.0), ("12h", 43_200.0), ("7d", 604_800.0), ("1s", 1.0)]
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert TagPolicies.parse([f".=fresh:{text}"]).policy_of(NGINX_1_27).max_age == seconds


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "never",
        "=never",
        "nginx=",
        "nginx=always",
        "nginx=NEVER",
        "nginx=fresh",
        "nginx=fresh:",
        "nginx=fresh:5",
        "nginx=fresh:0s",
        "nginx=fresh:-5m",
        "nginx=fresh:1.5h",
        "nginx=fresh:9999999s",
        "nginx=never:5m",
        "(=never",
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_with_a_remedy(rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TagPolicies.parse([rule])

    assert any(word in str(caught.value) for word in ("write for example", "correct it", "use never"))


def test_cluster_accepts_any_age_and_never_none() -> None:
    assert CLUSTER.accepts(0.0, 1e9)
    assert not NEVER.accepts(1e9, 1e9)
    assert NEVER.is_never
    assert not CLUSTER.is_never


def test_fresh_accepts_up_to_its_age() -> None:
    policy = TagPolicy(300.0)

    assert policy.accepts(1000.0, 1300.0)
    assert not policy.accepts(1000.0, 1300.5)
    assert policy.accepts(1010.0, 1000.0), "another node's clock may be ahead"
    assert not policy.accepts(0.0, 1e9), "an observation of unknown age is not fresh"
