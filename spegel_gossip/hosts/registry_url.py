"""A registry as `hosts.toml` speaks of it: where it is, and the folder containerd looks in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import DOCKER_HUB, normalize_registry

_DOCKER_HUB_SERVER = "registry-1.docker.io"


@dataclass(frozen=True, slots=True, order=True)
class RegistryUrl:
    """The scheme and the host, with its port if it has one, of an upstream registry."""

    scheme: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `https://ghcr.io`, `http://registry.lan:5000`, or a plain host, which means https.

        Raises:
            ConfigError: if it is no such URL, or has a path, a query or credentials.
        """
        try:
            parts = urlsplit(text if "://" in text else f"https://{text}")
            if parts.scheme not in {"http", "https"}:
                raise ConfigError(f"{text!r} is neither http nor https: write for example https://ghcr.io")
            if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
                raise ConfigError(
                    f"{text!r} has more than a host and a port: write for example https://ghcr.io"
                )
            return cls(parts.scheme, normalize_registry(parts.netloc))
        except (ValueError, InvalidReferenceError) as exc:
            raise ConfigError(
                f"{text!r} is not the URL of a registry: write for example https://ghcr.io"
            ) from exc

    @property
    def server(self) -> str:
        """What `server` in its `hosts.toml` must be: where containerd goes when we answer 404.

        Images are called `docker.io/...`, but nothing serves them under that name.
        """
        return f"{self.scheme}://{_DOCKER_HUB_SERVER if self.host == DOCKER_HUB else self.host}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"
