"""httpx as it is used here, and what its failures mean."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import httpx
import trio

from spegel_gossip.client.config import ClientConfig
from spegel_gossip.client.endpoint import is_loopback
from spegel_gossip.client.errors import ClientError, RegistryProtocolError, TransientError
from spegel_gossip.errors import ConfigError
from spegel_gossip.version import __version__

MAX_CAUSES = 10
"""Exceptions behind an exception that are looked at; httpx wraps httpcore's, which wraps the system's."""

_UNKNOWN_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class Clients:
    """Two HTTP clients: through the environment's proxies, and past them for this machine itself.

    A proxy elsewhere has another machine behind `127.0.0.2`. httpx knows exceptions by single
    names, and this machine has 16 million of them: each node of the demo has its own.
    """

    def __init__(self, config: ClientConfig) -> None:
        """Make both; nothing is connected yet.

        Raises:
            ConfigError: the environment's proxy cannot be used.
        """
        context = _tls_context()
        self._direct = _new_client(config, context, is_proxied=False)
        try:
            self._proxied = _new_client(config, context, is_proxied=True)
        except (ImportError, ValueError, httpx.InvalidURL) as exc:
            raise ConfigError(
                f"the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used ({exc}): "
                "give an http:// or https:// address, or unset it"
            ) from exc

    def build_request(
        self,
        method: str,
        url: httpx.URL | str,
        *,
        headers: Mapping[str, str],
        content: httpx.AsyncByteStream | bytes | None = None,
    ) -> httpx.Request:
        """Return a request that `send` takes."""
        return self._proxied.build_request(method, url, headers=headers, content=content)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the body of its answer is unread."""
        client = self._direct if is_loopback(request.url.netloc.decode("ascii")) else self._proxied
        return await client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._proxied.aclose()
        await self._direct.aclose()


def _new_client(config: ClientConfig, context: ssl.SSLContext, *, is_proxied: bool) -> httpx.AsyncClient:
    """Return a client that follows no redirect by itself.

    Bodies come as they are stored (no transfer compression), certificates are judged by
    the system's authorities.
    """
    seconds = config.stall_timeout
    return httpx.AsyncClient(
        headers={"User-Agent": f"spegel-gossip/{__version__}", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(seconds, connect=config.connect_timeout, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=2 * config.blobs_at_once),
        verify=context,
        follow_redirects=False,
        trust_env=is_proxied,
    )


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    # A bare container has no authorities of its own; httpx brings Mozilla's.
    if not (paths.cafile or paths.capath):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


class Answer:
    """An answer whose body is still to be read; closed by whoever sent the request."""

    def __init__(self, response: httpx.Response, host: str) -> None:
        """Take over a response; `host` names who sent it in errors."""
        self.status = response.status_code
        self.headers = response.headers
        self.url = response.url
        self.host = host
        self._response = response
        self._raw: AsyncIterator[bytes] | None = None

    @property
    def redirected(self) -> httpx.Request | None:
        """The request that follows a redirect; without Authorization if it goes to another host."""
        return self._response.next_request

    async def read_some(self) -> bytes:
        """Return the next bytes as they are on the wire, empty at the end: a digest is that of those.

        Raises:
            TransientError: the connection ended before the body did.
        """
        if self._raw is None:
            self._raw = self._response.aiter_raw()
        try:
            while not (data := await anext(self._raw)):
                pass
        except StopAsyncIteration:
            return b""
        except httpx.TransportError as exc:
            raise failure_of(exc, self.host) from exc
        return data

    async def read(self, *, max_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            RegistryProtocolError: it is longer than `max_bytes`.
            TransientError: the connection ended before it did.
        """
        content = bytearray()
        while data := await self.read_some():
            content += data
            if len(content) > max_bytes:
                raise RegistryProtocolError(f"{self.host} sent more than {max_bytes} bytes where less is due")
        return bytes(content)

    async def aclose(self) -> None:
        """Release the connection, also while this task is being cancelled."""
        with trio.CancelScope(shield=True):
            await self._response.aclose()
            if self._raw is not None:
                # What is suspended in the middle of a closed body ends by an error. Left to the
                # garbage collector it would end at some time, in some task.
                with suppress(httpx.HTTPError, httpx.StreamError):
                    async for _ in self._raw:
                        pass


async def send(clients: Clients, request: httpx.Request) -> Answer:
    """Send one request and return its answer, with the body unread.

    Raises:
        TransientError: try again.
        RegistryProtocolError: do not.
    """
    host = request.url.netloc.decode("ascii")
    try:
        return Answer(await clients.send(request), host)
    except httpx.TransportError as exc:
        raise failure_of(exc, host) from exc


def failure_of(error: httpx.TransportError, host: str) -> ClientError:
    """Return what a failure of the connection means for whoever asked."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return RegistryProtocolError(
                    f"the certificate of {host} is not trusted ({cause.verify_message}): add its authority "
                    "to the system's, or name a file of authorities in SSL_CERT_FILE"
                )
            case ssl.SSLError() if isinstance(error, httpx.ConnectError):
                return RegistryProtocolError(
                    f"{host} does not speak TLS as we know it ({cause.reason or cause}): "
                    "for a registry without TLS give --plain-http"
                )
            case socket.gaierror() if cause.errno in _UNKNOWN_NAME:
                return RegistryProtocolError(f"no such host: {host}, or its proxy: check their names")
            case _:
                continue
    match error:
        case httpx.ConnectTimeout():
            return TransientError(
                f"{host} does not answer: check the network and the proxy", is_unreachable=True
            )
        case httpx.ConnectError() | httpx.ProxyError():
            return TransientError(
                f"cannot connect to {host} ({_detail(error)}): check that it runs, and the proxy if any",
                is_unreachable=True,
            )
        case httpx.TimeoutException():
            return TransientError(f"{host} stopped in the middle and stayed silent: try again later")
        case httpx.UnsupportedProtocol():
            return RegistryProtocolError(f"{host} sends us somewhere that is not HTTP")
        case _:
            return TransientError(f"the connection to {host} broke ({_detail(error)}): try again later")


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error.__cause__, error.__context__]
    while waiting and len(found) < MAX_CAUSES:
        cause = waiting.pop(0)
        if cause is None or cause in found:
            continue
        found.append(cause)
        waiting += [cause.__cause__, cause.__context__]
        if isinstance(cause, BaseExceptionGroup):
            # One for each address that was tried.
            waiting += cause.exceptions[:MAX_CAUSES]
    return found


def _detail(error: Exception) -> str:
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            return os.strerror(cause.errno).lower()
    return str(error) or type(error).__name__
