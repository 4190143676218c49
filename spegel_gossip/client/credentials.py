"""What a registry is told of who is asking."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name with its secret, or one of the two kinds of token that stand for both.

    The secrets are kept out of `repr`: tracebacks are pasted into reports.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """An OAuth2 refresh token, as a single sign-on leaves behind."""

    registry_token: str = field(default="", repr=False)
    """A ready bearer token, sent as it is."""

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


class CredentialSource(Protocol):
    """Where credentials come from."""

    async def credentials_for(self, registry: str) -> Credentials | None:
        """Return what to tell a registry, by its normal name; None to stay anonymous.

        Raises:
            CredentialsError: there are some, and they could not be read.
        """


class Anonymous:
    """Nobody's credentials."""

    async def credentials_for(self, registry: str) -> Credentials | None:  # noqa: ARG002 - the port's signature
        """Return none."""
        return None


class GivenCredentials:
    """Those of one registry, given by hand; other registries get what another source has."""

    def __init__(self, registry: str, credentials: Credentials, others: CredentialSource) -> None:
        """Keep them for `registry`, by its normal name."""
        self._registry = registry
        self._credentials = credentials
        self._others = others

    async def credentials_for(self, registry: str) -> Credentials | None:
        """Return those given, or the other source's."""
        if registry == self._registry:
            return self._credentials
        return await self._others.credentials_for(registry)
