"""Requests to registries: authorization, redirects, and every failure of httpx translated."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
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

MAX_REDIRECTS = 10
MAX_TOKEN_ANSWER_BYTES = 256 * 1024

Body = Callable[[], AsyncIterable[bytes]] | bytes
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
        self._http = transport.new_client(config)
        self._credentials = credentials
        self._authenticators: dict[str, Authenticator] = {}

    async def __aenter__(self) -> Self:
        """Enter the context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._http.aclose()

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, ask: Ask) -> AsyncIterator[httpx.Response]:
        """Send a request and give its answer, the body still to be read with `read` or `chunks`.

        Raises:
            TransientError: try again.
            ClientError: do not.
        """
        response = await self._authorized(endpoint, ask)
        try:
            if response.status_code not in ask.wanted:
                raise await _error(response, what=ask.what, host=endpoint.host)
            yield response
        finally:
            await transport.close(response)

    async def call(self, endpoint: Endpoint, ask: Ask, *, max_bytes: int) -> tuple[httpx.Response, bytes]:
        """Send a request and read its answer whole.

        Raises:
            RegistryProtocolError: the answer is longer than `max_bytes`.
            ClientError: as for `open`.
        """
        async with self.open(endpoint, ask) as response:
            return response, await read(response, max_bytes=max_bytes, host=endpoint.host)

    async def _authorized(self, endpoint: Endpoint, ask: Ask) -> httpx.Response:
        authenticator = self._authenticator(endpoint)
        authorization = authenticator.header(ask.scopes)
        response = await self._send(endpoint, ask, authorization)
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return response
        challenges = parse_challenges_untrusted(response.headers.get_list("www-authenticate"))
        if response.request.url.host != httpx.URL(endpoint.url).host or not challenges:
            return response
        await transport.close(response)
        authorization = await authenticator.answer(challenges, ask.scopes, authorization, self._ask_for_token)
        return await self._send(endpoint, ask, authorization)

    def _authenticator(self, endpoint: Endpoint) -> Authenticator:
        known = self._authenticators.get(endpoint.url)
        if known is None:
            find = partial(self._credentials.credentials_for, endpoint.credentials_name)
            known = self._authenticators[endpoint.url] = Authenticator(endpoint, find)
        return known

    async def _send(self, endpoint: Endpoint, ask: Ask, authorization: str | None) -> httpx.Response:
        base = httpx.URL(endpoint.url)
        url = _url(endpoint, ask)
        headers = dict(ask.headers)
        is_own_host = (url.scheme, url.netloc) == (base.scheme, base.netloc)
        if authorization is not None and is_own_host:
            headers["Authorization"] = authorization
        _refuse_downgrade(base, url, host=endpoint.host)
        content = ask.body() if callable(ask.body) else ask.body
        request = self._http.build_request(ask.method, url, headers=headers, content=content)
        for _ in range(MAX_REDIRECTS):
            response = await transport.send(self._http, request)
            following = response.next_request
            if following is None or ask.body is not None:
                return response
            await transport.close(response)
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
        response = await transport.send(self._http, request)
        try:
            if response.status_code in {httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED}:
                # What a refused refresh token and a wrong password look like (RFC 6749, section 5.2).
                raise DeniedError(f"the token server {host} refuses the login")
            if response.status_code != httpx.codes.OK:
                raise await _error(response, what="a token", host=host)
            return await read(response, max_bytes=MAX_TOKEN_ANSWER_BYTES, host=host)
        finally:
            await transport.close(response)


async def read(response: httpx.Response, *, max_bytes: int, host: str) -> bytes:
    """Return the whole body of an answer.

    Raises:
        RegistryProtocolError: it is longer than `max_bytes`.
        TransientError: the connection ended before it did.
    """
    content = bytearray()
    async for chunk in chunks(response, host=host):
        content += chunk
        if len(content) > max_bytes:
            raise RegistryProtocolError(f"{host} sent more than {max_bytes} bytes where less is the rule")
    return bytes(content)


async def chunks(response: httpx.Response, *, host: str) -> AsyncIterator[bytes]:
    """Yield the body of an answer as it is on the wire: a digest is that of those bytes.

    Raises:
        TransientError: the connection ended before the body did.
    """
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx.TransportError as exc:
        raise transport.failure_of(exc, host) from exc


async def _error(response: httpx.Response, *, what: str, host: str) -> ClientError:
    body = b""
    if response.request.method != "HEAD":
        try:
            body = await read(response, max_bytes=MAX_ERROR_BYTES, host=host)
        except (TransientError, RegistryProtocolError):
            # Its words would have been nice; its status is what counts.
            body = b""
    return error_of(
        response.status_code,
        what=what,
        host=host,
        body=body,
        retry_after=response.headers.get("retry-after"),
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
