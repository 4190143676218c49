"""Requests to registries: authorization, redirects, and every failure of httpx translated."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Self
from urllib.parse import urlencode

import httpx

from spegel_gossip.client import transport
from spegel_gossip.client.answers import MAX_ERROR_BYTES, error_of
from spegel_gossip.client.auth import Authenticator, Scopes, TokenRequest
from spegel_gossip.client.challenge import parse_challenges_untrusted
from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.credentials import CredentialSource
from spegel_gossip.client.endpoint import Endpoint
from spegel_gossip.client.errors import ClientError, DeniedError, RegistryProtocolError, TransientError
from spegel_gossip.client.transport import Answer

MAX_REDIRECTS = 10
MAX_TOKEN_ANSWER_BYTES = 256 * 1024

Body = Callable[[], httpx.AsyncByteStream] | bytes
"""What a request carries; a stream is a function, because a request may be sent twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request to one registry."""

    method: str
    url: str
    """A path below the endpoint, or where the registry itself sent us."""

    what: str
    """Names the thing in an error: "the manifest v1 of team/app"."""

    scopes: Scopes
    wanted: frozenset[int] = frozenset({200})
    """Statuses that are answers; all others raise."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Sequence[tuple[str, str]] = ()
    body: Body | None = None


class Session:
    """Connections to registries and what they know of us; close it by leaving its context."""

    def __init__(self, config: ClientConfig, credentials: CredentialSource) -> None:
        """Make a session; nothing is connected yet."""
        self._http = transport.Clients(config)
        self._credentials = credentials
        self._authenticators: dict[str, Authenticator] = {}

    async def __aenter__(self) -> Self:
        """Enter the context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._http.aclose()

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, ask: Ask) -> AsyncIterator[Answer]:
        """Send a request and give its answer, the body still to be read.

        Raises:
            TransientError: try again.
            ClientError: do not.
        """
        answer = await self._authorized(endpoint, ask)
        try:
            if answer.status not in ask.wanted:
                raise await _error(answer, what=ask.what)
            yield answer
        finally:
            await answer.aclose()

    async def call(self, endpoint: Endpoint, ask: Ask, *, max_bytes: int) -> tuple[Answer, bytes]:
        """Send a request and read its answer whole.

        Raises:
            RegistryProtocolError: the answer is longer than `max_bytes`.
            ClientError: as for `open`.
        """
        async with self.open(endpoint, ask) as answer:
            return answer, await answer.read(max_bytes=max_bytes)

    async def _authorized(self, endpoint: Endpoint, ask: Ask) -> Answer:
        authenticator = self._authenticator(endpoint)
        authorization = authenticator.header(ask.scopes)
        answer = await self._send(endpoint, ask, authorization)
        if answer.status != httpx.codes.UNAUTHORIZED:
            return answer
        challenges = parse_challenges_untrusted(answer.headers.get_list("www-authenticate"))
        if answer.url.host != httpx.URL(endpoint.url).host or not challenges:
            return answer
        await answer.aclose()
        authorization = await authenticator.answer(challenges, ask.scopes, authorization, self._ask_for_token)
        answer = await self._send(endpoint, ask, authorization)
        if answer.status == httpx.codes.UNAUTHORIZED:
            await answer.aclose()
            raise authenticator.denied()
        return answer

    def _authenticator(self, endpoint: Endpoint) -> Authenticator:
        known = self._authenticators.get(endpoint.url)
        if known is None:
            find = partial(self._credentials.credentials_for, endpoint.credentials_name)
            known = self._authenticators[endpoint.url] = Authenticator(endpoint, find)
        return known

    async def _send(self, endpoint: Endpoint, ask: Ask, authorization: str | None) -> Answer:
        base = httpx.URL(endpoint.url)
        url = _url(endpoint, ask)
        headers = dict(ask.headers)
        is_own_host = (url.scheme, url.netloc) == (base.scheme, base.netloc)
        if authorization is not None and is_own_host:
            headers["Authorization"] = authorization
        _refuse_downgrade(base, url, host=endpoint.host)
        content = None if callable(ask.body) else ask.body
        request = self._http.build_request(ask.method, url, headers=headers, content=content)
        if callable(ask.body):
            # Given as content, httpx would wrap it in a generator of its own.
            request.stream = ask.body()
        for _ in range(MAX_REDIRECTS):
            answer = await transport.send(self._http, request)
            following = answer.redirected
            if following is None or ask.body is not None:
                return answer
            await answer.aclose()
            # httpx left Authorization out of it if it goes to another host.
            _refuse_downgrade(request.url, following.url, host=endpoint.host)
            request = following
        raise RegistryProtocolError(f"{endpoint.host} redirects without end when asked for {ask.what}")

    async def _ask_for_token(self, token: TokenRequest) -> bytes:
        url = httpx.URL(token.url)
        host = url.netloc.decode("ascii")
        headers = {} if token.authorization is None else {"Authorization": token.authorization}
        if token.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(token.form).encode()
            request = self._http.build_request("POST", url, headers=headers, content=body)
        else:
            asked = _with_query(url, token.query)
            request = self._http.build_request("GET", asked, headers=headers)
        answer = await transport.send(self._http, request)
        try:
            if answer.status in {httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED}:
                # What a refused refresh token and a wrong password look like (RFC 6749, section 5.2).
                raise DeniedError(f"the token server {host} refuses the login")
            if answer.status != httpx.codes.OK:
                raise await _error(answer, what="a token")
            return await answer.read(max_bytes=MAX_TOKEN_ANSWER_BYTES)
        finally:
            await answer.aclose()


async def _error(answer: Answer, *, what: str) -> ClientError:
    try:
        body = await answer.read(max_bytes=MAX_ERROR_BYTES)
    except (TransientError, RegistryProtocolError):
        # Its words would have been nice; its status is what counts.
        body = b""
    return error_of(
        answer.status,
        what=what,
        host=answer.host,
        body=body,
        retry_after=answer.headers.get("retry-after"),
        now=time.time(),
    )


def _url(endpoint: Endpoint, ask: Ask) -> httpx.URL:
    try:
        # A Location may be relative; a path of our own stands below the endpoint's.
        url = httpx.URL(endpoint.url + ask.url) if ask.url.startswith("/v2/") else httpx.URL(ask.url)
    except httpx.InvalidURL as exc:
        raise RegistryProtocolError(f"{endpoint.host} sends us to no address: {ask.url[:200]!r}") from exc
    return _with_query(url, [*ask.query, *([("ns", endpoint.registry)] if endpoint.is_mirror else [])])


def _with_query(url: httpx.URL, query: Sequence[tuple[str, str]]) -> httpx.URL:
    # Unlike httpx's own merging this keeps two parameters of one name, such as two scopes,
    # and the bytes of what was there: the address of an upload may be signed.
    if not query:
        return url
    return url.copy_with(query=b"&".join(part for part in (url.query, urlencode(query).encode()) if part))


def _refuse_downgrade(come_from: httpx.URL, go_to: httpx.URL, *, host: str) -> None:
    if come_from.scheme == "https" and go_to.scheme != "https":
        raise RegistryProtocolError(
            f"{host} sends us to {go_to.host} without TLS: nothing was sent there; "
            "its operator has to correct its public address (X-Forwarded-Proto behind a proxy)"
        )
