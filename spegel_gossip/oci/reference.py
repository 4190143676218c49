"""Image references: docker's short names spelt out, registries' aliases folded.

Grammar from the distribution specification and `distribution/reference`;
`nginx` means `docker.io/library/nginx:latest` as it does to docker and to
containerd's CRI plugin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.errors import InvalidDigestError, InvalidReferenceError

DOCKER_HUB = "docker.io"
_DOCKER_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
DEFAULT_TAG = "latest"

MAX_REPOSITORY_LENGTH = 255
"""Characters in a repository (distribution/reference, RepositoryNameTotalLengthMax)."""

MAX_REGISTRY_LENGTH = 259
"""Characters in a registry: the longest DNS name, 253, and a port."""

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])"
_REGISTRY = re.compile(rf"{_HOST}(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


def normalize_registry(text: str) -> str:
    """Return the one name under which a registry is known here.

    Docker Hub answers to three names; all become `docker.io`.

    Raises:
        InvalidReferenceError: if `text` is not a host with an optional port.
    """
    if len(text) > MAX_REGISTRY_LENGTH or _REGISTRY.fullmatch(text) is None:
        raise InvalidReferenceError(text, "a registry is a host name with an optional port")
    lowered = text.lower()
    return DOCKER_HUB if lowered in _DOCKER_HUB_ALIASES else lowered


def check_repository(text: str) -> str:
    """Return `text`, which is then known to be the name of a repository within a registry.

    Raises:
        InvalidReferenceError: if it breaks the grammar or is too long.
    """
    if len(text) > MAX_REPOSITORY_LENGTH or _REPOSITORY.fullmatch(text) is None:
        raise InvalidReferenceError(text, "the repository breaks the grammar")
    return text


@dataclass(frozen=True, slots=True, order=True)
class TagName:
    """A tag of a repository of a registry: `docker.io/library/nginx:1.27`."""

    registry: str
    repository: str
    tag: str

    @classmethod
    def make(cls, registry: str, repository: str, tag: str) -> Self:
        """Check the three parts and put them together.

        Raises:
            InvalidReferenceError: if one of them breaks the grammar.
        """
        name = cls(normalize_registry(registry), check_repository(repository), tag)
        if _TAG.fullmatch(tag) is None:
            raise InvalidReferenceError(str(name), "the tag breaks the grammar")
        return name

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a full name, `registry/repository:tag`, as it travels between members.

        Raises:
            InvalidReferenceError: if a part is missing or breaks the grammar.
        """
        registry, _, rest = text.partition("/")
        repository, colon, tag = rest.rpartition(":")
        if not colon:
            raise InvalidReferenceError(text, "expected registry/repository:tag")
        return cls.make(registry, repository, tag)

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a person or containerd calls an image: by tag, by digest, or by both."""

    registry: str
    repository: str
    tag: str | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str, *, default_registry: str = DOCKER_HUB) -> Self:
        """Parse a reference, spelling out docker's short forms.

        The first component is a registry if it has a dot or a colon, or is
        `localhost` (docker's rule); otherwise `default_registry` is meant. A
        single component on Docker Hub belongs to `library/`. With neither tag nor
        digest the tag is `latest`.

        Raises:
            InvalidReferenceError: if `text` is not a reference.
        """
        name, at, digest_text = text.partition("@")
        digest: Digest | None = None
        if at:
            try:
                digest = Digest.parse(digest_text)
            except InvalidDigestError as exc:
                raise InvalidReferenceError(text, str(exc)) from exc
        first, slash, rest = name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, path = normalize_registry(first), rest
        else:
            registry, path = normalize_registry(default_registry), name
        repository, colon, tag = path.partition(":")
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        if not colon:
            tag = DEFAULT_TAG
        checked = TagName.make(registry, repository, tag)
        return cls(registry, checked.repository, tag if colon or not at else None, digest)

    @property
    def tag_name(self) -> TagName | None:
        """The tag this reference names, or None when it names a digest only."""
        return None if self.tag is None else TagName(self.registry, self.repository, self.tag)

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.registry}/{self.repository}{tag}{digest}"
