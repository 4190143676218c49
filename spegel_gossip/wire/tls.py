"""TLS between peers, where blob bytes must not travel in clear.

Linux can do TLS in the kernel, Python cannot ask for it. So each connection gets a
socket pair, and two tasks carry bytes between its far end and the TLS stream: whoever
uses the near end (h11, sendfile, splice) knows nothing of it. The price is a copy
through Python and the encryption itself; `benchmarks/blobs.py` says how much.

Both sides show a certificate of the same authority. Names in certificates are not
looked at: who a member is, is proved by the cluster key, in every request.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import trio

from spegel_gossip.errors import ConfigError
from spegel_gossip.wire.streams import send_all

log = structlog.get_logger(__name__)

HANDSHAKE_TIMEOUT: Final = 2.0
"""Seconds for both sides to agree: two round trips, and a signature on a busy node."""

LOOK_INTERVAL: Final = 10.0
"""Seconds between two looks at the files; a renewed certificate has days to be noticed."""

CHUNK: Final = 256 << 10
"""Bytes carried at once: sixteen TLS records, and a turn of a quarter of a millisecond."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: this node's certificate and its key, and the authority of all nodes' certificates."""

    certificate: Path
    key: Path
    authority: Path

    def fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when one of them does.

        Raises:
            OSError: one is not there.
        """
        stats = [path.stat() for path in (self.certificate, self.key, self.authority)]
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in stats)


class PeerTls:
    """Certificates in use, and the tasks that carry bytes; one for the process."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files.

        Raises:
            ConfigError: one cannot be read, or they do not fit together.
        """
        self._files = files
        self._server, self._client = _contexts(files)
        self._read = files.fingerprint()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry bytes, and read the files again when they change, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await self._reload()
            finally:
                self._nursery = None

    async def accept(self, sock: trio.socket.SocketType) -> trio.socket.SocketType:
        """Return the plain end of a connection that somebody made to us; `sock` is ours from now on.

        Raises:
            OSError: they could not agree, or not in time; `sock` is closed.
        """
        return await self._open(sock, self._server, server_side=True)

    async def connect(self, sock: trio.socket.SocketType) -> trio.socket.SocketType:
        """Return the plain end of a connection that we made; `sock` is ours from now on.

        Raises:
            OSError: they could not agree, or not in time; `sock` is closed.
        """
        return await self._open(sock, self._client, server_side=False)

    async def _open(
        self, sock: trio.socket.SocketType, context: ssl.SSLContext, *, server_side: bool
    ) -> trio.socket.SocketType:
        if self._nursery is None:
            sock.close()
            raise OSError("the node is stopping")
        channel = _Channel(sock, context, server_side=server_side)
        agreed = False
        try:
            with trio.move_on_after(HANDSHAKE_TIMEOUT):
                await channel.handshake()
                agreed = True
        except ssl.SSLError as exc:
            raise OSError(f"no TLS: {exc}") from exc
        finally:
            if not agreed:
                sock.close()
        if not agreed:
            raise TimeoutError(f"no TLS within {HANDSHAKE_TIMEOUT:g} s")
        near, far = trio.socket.socketpair()
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
        self._nursery.start_soon(channel.carry, far)
        return near

    async def _reload(self) -> None:
        problem = ""
        while True:
            await trio.sleep(LOOK_INTERVAL)
            try:
                found = self._files.fingerprint()
                if found == self._read:
                    continue
                self._server, self._client = await trio.to_thread.run_sync(_contexts, self._files)
            except (ConfigError, OSError) as exc:
                if str(exc) != problem:
                    log.warning("the TLS files were not read again, those in use stay", problem=str(exc))
                problem = str(exc)
            else:
                problem = ""
                self._read = found
                log.info("the TLS files changed; new connections use them")


class _Channel:
    """One connection: its socket, and TLS's state machine between two buffers in memory.

    Not trio's SSLStream, which hands bytes over record by record: 16 KiB a turn of the
    loop, five times the CPU.
    """

    def __init__(self, sock: trio.socket.SocketType, context: ssl.SSLContext, *, server_side: bool) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._sending = trio.Lock()

    async def handshake(self) -> None:
        """Agree with the other side.

        Raises:
            ssl.SSLError: it is not one of us.
            OSError: the connection broke.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return
            data = await self._sock.recv(CHUNK)
            if not data:
                raise ConnectionResetError("it closed the connection")
            self._incoming.write(data)

    async def carry(self, far: trio.socket.SocketType) -> None:
        """Carry bytes both ways until both have ended, or one is broken."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_broken, self._decrypt, far, nursery.cancel_scope)
                nursery.start_soon(self._until_broken, self._encrypt, far, nursery.cancel_scope)
        finally:
            far.close()
            self._sock.close()

    async def _until_broken(
        self,
        copy: Callable[[trio.socket.SocketType], Awaitable[None]],
        far: trio.socket.SocketType,
        both: trio.CancelScope,
    ) -> None:
        try:
            await copy(far)
        except (OSError, trio.ClosedResourceError):  # a TLS error is an OSError too
            both.cancel()

    async def _decrypt(self, far: trio.socket.SocketType) -> None:
        # The first request may have come in one piece with the end of the handshake.
        await self._hand_over(far)
        while data := await self._sock.recv(CHUNK):
            self._incoming.write(data)
            await self._hand_over(far)
        far.shutdown(socket.SHUT_WR)

    async def _hand_over(self, far: trio.socket.SocketType) -> None:
        plain = self._read()
        await self._flush()  # TLS may have something to say of its own
        await send_all(far, plain)

    async def _encrypt(self, far: trio.socket.SocketType) -> None:
        while data := await far.recv(CHUNK):
            self._tls.write(data)
            await self._flush()
        # A FIN without TLS's own farewell: lengths are in the heads, so nothing can be cut unseen.
        self._sock.shutdown(socket.SHUT_WR)

    def _read(self) -> bytes:
        pieces = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := self._tls.read(CHUNK):
                pieces.append(piece)
        return b"".join(pieces)

    async def _flush(self) -> None:
        async with self._sending:
            await send_all(self._sock, self._outgoing.read())


def _contexts(files: TlsFiles) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server and of a client."""
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(files.certificate, files.key)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(
                f"--peer-tls-cert {files.certificate} and --peer-tls-key {files.key} cannot be used ({exc}): "
                "give a PEM certificate and the key that belongs to it"
            ) from exc
        try:
            context.load_verify_locations(files.authority)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(
                f"--peer-tls-ca {files.authority} cannot be used ({exc}): give the authority's PEM file"
            ) from exc
        contexts.append(context)
    return contexts[0], contexts[1]
