"""Where to ask: the mirrors in the order in which they were given, then the registry itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.reference import DOCKER_HUB, normalize_registry

DOCKER_HUB_HOST = "registry-1.docker.io"
"""Where Docker Hub's API is; `docker.io` itself answers with its home page."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server that may be asked."""

    url: str
    """Scheme and host, with the path before `/v2/` if there is one; no slash at the end."""

    registry: str
    """The normal name of the registry whose content is wanted."""

    is_mirror: bool = False
    """It stands in for the registry: it is told by `ns` which one, and passed over when it fails."""

    @property
    def host(self) -> str:
        """Host and port, as a person would name it."""
        return urlsplit(self.url).netloc

    @property
    def credentials_name(self) -> str:
        """The registry whose credentials it may see: its own, never those of the one it mirrors."""
        return self.host if self.is_mirror else self.registry


def endpoints_of(
    registry: str, *, mirrors: Sequence[str] = (), plain_http: bool = False
) -> tuple[Endpoint, ...]:
    """Return whom to ask for the content of a registry, in order.

    Args:
        registry: its normal name
        mirrors: URLs, as the user wrote them
        plain_http: the registry itself does not speak TLS; one on this machine is taken not to

    Raises:
        ConfigError: a mirror is not a URL.
    """
    asked = [Endpoint(_mirror_url(mirror), registry, is_mirror=True) for mirror in mirrors]
    host = DOCKER_HUB_HOST if registry == DOCKER_HUB else registry
    scheme = "http" if plain_http or is_loopback(host) else "https"
    return (*asked, Endpoint(f"{scheme}://{host}", registry))


def is_loopback(host: str) -> bool:
    """Return whether `host`, with or without a port, is this machine itself."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _mirror_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        normalize_registry(parts.netloc)
        is_usable = parts.scheme in {"http", "https"} and not (parts.query or parts.fragment)
    except ValueError as exc:
        raise _not_a_mirror(text) from exc
    if not is_usable:
        raise _not_a_mirror(text)
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _not_a_mirror(text: str) -> ConfigError:
    return ConfigError(f"--mirror: {text!r} is not a URL: give one such as http://127.0.0.1:29500")
