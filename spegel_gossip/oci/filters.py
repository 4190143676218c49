"""What of the world's images this mirror has to do with: neither served nor advertised otherwise.

Two rules, both the operator's: regular expressions of what to keep out, and the
registries that are mirrored at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.reference import TagName


@dataclass(frozen=True, slots=True)
class ContentFilter:
    """Decides by name whether an image is served and advertised.

    Regular expressions are searched for, not matched from the start, in
    `registry/repository` for a request by digest and in
    `registry/repository:tag` for one by tag.
    """

    patterns: tuple[re.Pattern[str], ...] = ()
    """A name in which one of these is found is kept out."""

    registries: frozenset[str] = frozenset()
    """The mirrored registries, by their normal names; empty for all."""

    @classmethod
    def make(cls, patterns: Iterable[str] = (), *, registries: Iterable[str] = ()) -> Self:
        """Compile the operator's expressions; `registries` are normal names.

        Raises:
            ConfigError: if an expression does not compile.
        """
        return cls(tuple(_compile(pattern) for pattern in patterns), frozenset(registries))

    @property
    def is_set(self) -> bool:
        """Whether anything can be kept out at all."""
        return bool(self.patterns or self.registries)

    def allows(self, registry: str, repository: str, tag: str | None = None) -> bool:
        """Return whether an image may be served and advertised; `registry` is a normal name."""
        if self.registries and registry not in self.registries:
            return False
        name = f"{registry}/{repository}" if tag is None else f"{registry}/{repository}:{tag}"
        return not any(pattern.search(name) for pattern in self.patterns)

    def allows_tag(self, name: TagName) -> bool:
        """Return whether a tag may be served and advertised."""
        return self.allows(name.registry, name.repository, name.tag)


def _compile(pattern: str) -> re.Pattern[str]:
    if not pattern:
        raise ConfigError(
            "an empty expression would keep every image out: "
            "remove it, or give one such as '^docker\\.io/private/'"
        )
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as exc:
        raise ConfigError(
            f"{pattern!r} is not a regular expression ({exc}): "
            "correct it; it is searched for in 'registry/repository:tag'"
        ) from exc
