"""Authorization of one server: what it challenged with, and the tokens that answered it."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx
import trio

from spegel_gossip.client.challenge import Challenge
from spegel_gossip.client.credentials import Credentials
from spegel_gossip.client.endpoint import Endpoint
from spegel_gossip.client.errors import DeniedError, RegistryProtocolError

Scopes = tuple[str, ...]

CLIENT_ID = "spegel-gossip"
DEFAULT_LIFETIME = 60.0
"""Seconds that a token is good for when its answer does not say (distribution's token specification)."""

MAX_LIFETIME = 3600.0
"""Seconds for which a token is used at most, whatever its answer says."""

EARLY = 10.0
"""Seconds before its end from which a token is no longer used: the request takes time too."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,65536}=*")
"""b64token of RFC 6750; the bound is far above any registry's tokens."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What to ask the token server: a GET with `query`, or a POST of `form`."""

    url: str
    query: Sequence[tuple[str, str]] = ()
    form: Sequence[tuple[str, str]] = ()
    authorization: str | None = field(default=None, repr=False)


AskForToken = Callable[[TokenRequest], Awaitable[bytes]]
"""Sends such a request and returns the body of a 200."""


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    good_until: float


class Authenticator:
    """Knows what to say to one server; used by all requests to it, several at a time."""

    def __init__(self, endpoint: Endpoint, credentials: Callable[[], Awaitable[Credentials | None]]) -> None:
        """Start knowing nothing; credentials are looked for at the first challenge."""
        self._endpoint = endpoint
        self._find_credentials = credentials
        self._tokens: dict[Scopes, _Token] = {}
        self._basic: str | None = None
        self._credentials: Credentials | None = None
        self._lock = trio.Lock()

    def header(self, scopes: Scopes) -> str | None:
        """Return the Authorization that is known to do for `scopes`, None before the first challenge."""
        token = self._tokens.get(scopes)
        if token is not None and trio.current_time() < token.good_until:
            return token.header
        return self._basic

    async def answer(
        self, challenges: Sequence[Challenge], scopes: Scopes, refused: str | None, ask: AskForToken
    ) -> str:
        """Return the Authorization that answers a 401.

        Args:
            challenges: those of the answer
            scopes: what the request needs
            refused: the Authorization that it was sent with
            ask: sends a request to the token server

        Raises:
            DeniedError: it cannot be answered, with what we have.
            RegistryProtocolError: the token server answered nonsense.
        """
        async with self._lock:
            known = self.header(scopes)
            if known is not None and known != refused:
                # Another request was challenged at the same time and has done it all.
                return known
            credentials = self._credentials = await self._find_credentials()
            by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
            if (bearer := by_scheme.get("bearer")) is not None:
                token = await self._token(bearer, scopes, credentials, ask)
                self._tokens[scopes] = token
                return token.header
            if "basic" not in by_scheme:
                raise DeniedError(f"{self._endpoint.host} wants a kind of login that is not known here")
            if credentials is None or not credentials.username or credentials.basic == refused:
                raise self.denied()
            self._basic = credentials.basic
            return self._basic

    async def _token(
        self, challenge: Challenge, scopes: Scopes, credentials: Credentials | None, ask: AskForToken
    ) -> _Token:
        now = trio.current_time()
        if credentials is not None and credentials.registry_token:
            return _Token(f"Bearer {credentials.registry_token}", now + DEFAULT_LIFETIME)
        request = self._request(challenge, scopes, credentials)
        try:
            body = await ask(request)
        except DeniedError as exc:
            raise self.denied() from exc
        token, lifetime = self._parse(body)
        return _Token(f"Bearer {token}", now + max(lifetime, DEFAULT_LIFETIME) - EARLY)

    def _request(self, challenge: Challenge, scopes: Scopes, credentials: Credentials | None) -> TokenRequest:
        realm = challenge.parameters.get("realm", "")
        self._check_realm(realm)
        service = challenge.parameters.get("service")
        offered = challenge.parameters.get("scope", "").split()
        wanted = list(dict.fromkeys([*scopes, *offered]))
        about = [("service", service)] if service else []
        if credentials is not None and credentials.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT_ID),
                ("refresh_token", credentials.identity_token),
                *about,
                ("scope", " ".join(wanted)),
            ]
            return TokenRequest(realm, form=form)
        query = [*about, *(("scope", scope) for scope in wanted)]
        if credentials is None:
            return TokenRequest(realm, query=query)
        query = [("account", credentials.username), ("client_id", CLIENT_ID), *query]
        return TokenRequest(realm, query=query, authorization=credentials.basic)

    def _check_realm(self, realm: str) -> None:
        try:
            url = httpx.URL(realm)
        except httpx.InvalidURL as exc:
            raise RegistryProtocolError(
                f"{self._endpoint.host} names no token server: {realm[:200]!r}"
            ) from exc
        if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
            raise RegistryProtocolError(f"{self._endpoint.host} names no token server: {realm[:200]!r}")
        if url.scheme == "http" and self._endpoint.url.startswith("https:"):
            raise RegistryProtocolError(
                f"{self._endpoint.host} names a token server without TLS, {url.host}: it was not asked"
            )

    def _parse(self, body: bytes) -> tuple[str, float]:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise RegistryProtocolError(f"the token server of {self._endpoint.host} sent no JSON") from exc
        answer = answer if isinstance(answer, dict) else {}
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise RegistryProtocolError(f"the token server of {self._endpoint.host} sent no token")
        lifetime = answer.get("expires_in")
        if not isinstance(lifetime, int | float) or isinstance(lifetime, bool):
            return token, DEFAULT_LIFETIME
        return token, min(float(lifetime), MAX_LIFETIME)

    def denied(self) -> DeniedError:
        """Return what to raise when the answer to a challenge was refused too."""
        host, name = self._endpoint.host, self._endpoint.credentials_name
        if self._credentials is None:
            return DeniedError(
                f"{host} wants a login, or has no such repository: check the name, "
                f"and use `docker login {name}` or --username"
            )
        who = self._credentials.username or "the token"
        return DeniedError(f"{host} does not accept the credentials of {who} for this: log in again")
