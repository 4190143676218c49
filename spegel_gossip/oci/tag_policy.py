"""How far a tag is trusted to still mean what the cluster saw it mean.

A digest never goes stale and a tag may. The operator says by regular expression
which tags the cluster may answer for; the first expression found in
`registry/repository:tag` decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.reference import TagName

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")


@dataclass(frozen=True, slots=True)
class TagPolicy:
    """Which observations of a tag may be passed on."""

    max_age: float | None
    """Seconds since upstream last said so: 0 for none at all, None for any age."""

    def accepts(self, observed_at: float, now: float) -> bool:
        """Return whether an observation is still good; both instants are unix seconds.

        One of unknown age (0) is older than any limit.
        """
        return self.max_age is None or (self.max_age > 0 and now - observed_at <= self.max_age)

    @property
    def kind(self) -> str:
        """`never`, `cluster` or `fresh`."""
        return "cluster" if self.max_age is None else "fresh" if self.max_age else "never"

    def __str__(self) -> str:
        return f"fresh:{self.max_age:.0f}s" if self.max_age else self.kind

    @property
    def is_never(self) -> bool:
        """Whether upstream alone answers for these tags."""
        return self.max_age == 0


NEVER = TagPolicy(0.0)
"""Only upstream answers for the tag."""

CLUSTER = TagPolicy(None)
"""The newest observation in the cluster answers."""


DEFAULT_RULE = ":latest$=fresh:30s"
"""The last rule of every operator's. `latest` is what people push again and expect to be pulled anew, so
it is resolved upstream again after half a minute: one request for a manifest's digest, which registries
do not count. Long enough for the nodes that a roll-out starts in the same moment to ask it once."""


@dataclass(frozen=True, slots=True)
class TagPolicies:
    """The rules in order; the first whose expression is found decides."""

    rules: tuple[tuple[re.Pattern[str], TagPolicy], ...] = ()

    @classmethod
    def parse(cls, rules: Sequence[str]) -> Self:
        """Read rules written `REGEX=POLICY`; after them comes what goes for `latest`.

        Raises:
            ConfigError: if one is not of that form.
        """
        return cls(tuple(_parse_rule(rule) for rule in (*rules, DEFAULT_RULE)))

    def policy_of(self, name: TagName) -> TagPolicy:
        """Return the policy for a tag; `CLUSTER` where no rule speaks of it."""
        text = str(name)
        return next((policy for pattern, policy in self.rules if pattern.search(text)), CLUSTER)


def _parse_rule(rule: str) -> tuple[re.Pattern[str], TagPolicy]:
    # From the right: an expression may hold an equals sign, a policy does not.
    expression, equals, policy = rule.rpartition("=")
    if not equals or not expression:
        raise ConfigError(f"{rule!r} is not REGEX=POLICY: write for example ':latest$=fresh:5m'")
    try:
        return re.compile(expression), _parse_policy(policy)
    except (re.error, OverflowError, RecursionError) as exc:
        raise ConfigError(
            f"{expression!r} is not a regular expression ({exc}): "
            "correct it; it is searched for in 'registry/repository:tag'"
        ) from exc


def _parse_policy(text: str) -> TagPolicy:
    kind, _, duration = text.partition(":")
    match = _DURATION.fullmatch(duration)
    if text == "never":
        return NEVER
    if text == "cluster":
        return CLUSTER
    if kind == "fresh" and match is not None and int(match[1]) > 0:
        return TagPolicy(float(int(match[1]) * _SECONDS[match[2]]))
    raise ConfigError(
        f"{text!r} is not a policy: "
        "use never, cluster, or fresh: with a duration such as fresh:30s, fresh:5m, fresh:12h"
    )
