"""asyncio's streams and protocols with early data: ``open_connection``, ``create_connection``, ``start_server``."""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from typing import Any, Callable

from sslsession import _borrow
from sslsession._early_objects import EarlyContext, EarlyServer
from sslsession._libssl import lib
from sslsession.early_data import Data
from sslsession.errors import SessionError

LIMIT = 2**16
"""Bytes that a reader holds, as asyncio's own."""
LEFT = "the client left before its handshake was done"


async def open_connection(
    host: str,
    port: int,
    *,
    ssl: ssl_module.SSLContext | bool,
    early_data: Data | None = None,
    **settings: Any,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """``asyncio.open_connection``, whose first bytes may travel as early data.

    early_data: a request that is safe to do twice (RFC 8446 8, RFC 8470). It is sent with the ClientHello where the
    context's ``ClientSessionCache(early_data=True)`` has a session for that, else once the handshake is done; again,
    where the server rejected it. ``early_data_status(writer)`` tells. ssl: a context, or True for that of
    :func:`create_default_context`. settings: as of ``asyncio.open_connection``. Errors: its own; ``TypeError``.
    """
    return await asyncio.open_connection(host, port, ssl=_client(ssl, early_data), **settings)


async def create_connection(
    protocol_factory: Callable[[], Any],
    host: str,
    port: int,
    *,
    ssl: ssl_module.SSLContext | bool,
    early_data: Data | None = None,
    **settings: Any,
) -> tuple[asyncio.Transport, Any]:
    """The running loop's ``create_connection``, whose first bytes may travel as early data: :func:`open_connection`.

    The request goes out before anything that the protocol writes.
    """
    loop = asyncio.get_running_loop()
    made: Any = await loop.create_connection(
        protocol_factory, host, port, ssl=_client(ssl, early_data), **settings
    )
    return made[0], made[1]


async def start_server(
    client_connected_cb: Callable[..., Any],
    host: Any = None,
    port: Any = None,
    *,
    ssl: ssl_module.SSLContext,
    **settings: Any,
) -> asyncio.AbstractServer:
    """``asyncio.start_server``, whose readers get early data as it comes, for a
    ``ServerSessionCache(max_early_data=...)`` on the context.

    A handler may be called before its client has proved to be there: what it does must be safe to do twice, or wait:
    ``await handshake_done(writer)``. Before that nobody knows the client's certificate; after it,
    ``writer.get_extra_info("ssl_object").getpeercert()`` does, and ``get_extra_info("peercert")`` stays None.

    settings: as of ``asyncio.start_server``. Errors: its own; ``TypeError`` for what is no context.
    """
    if not isinstance(ssl, ssl_module.SSLContext):
        raise TypeError(f"ssl is an SSLContext, not {type(ssl).__name__}")
    loop: Any = asyncio.get_running_loop()
    limit = settings.pop("limit", LIMIT)

    def make() -> asyncio.StreamReaderProtocol:
        return _Watched(_Reader(limit=limit, loop=loop), client_connected_cb, loop=loop)

    server: asyncio.AbstractServer = await loop.create_server(
        make, host, port, ssl=EarlyContext(ssl, None), **settings
    )
    return server


class _Reader(asyncio.StreamReader):
    """As asyncio's own."""

    def set_transport(self, transport: Any) -> None:
        """As asyncio's own."""
        early = transport.get_extra_info("ssl_object")
        if isinstance(early, EarlyServer):
            transport = early._paced = _Paced(transport, early)
        super().set_transport(transport)


class _Paced:
    """A transport as its reader has it: however much that holds, reading goes on while somebody waits for the
    handshake, whose end comes behind all early data."""

    def __init__(self, transport: Any, early: EarlyServer) -> None:
        self.transport, self._early = transport, early
        self._full = False

    def pause_reading(self) -> None:
        """The reader holds enough."""
        self._full = True
        self.settle()

    def resume_reading(self) -> None:
        """The reader has room again."""
        self._full = False
        self.settle()

    def settle(self) -> None:
        """Reads on or not; nothing once the transport is gone."""
        if self.transport is None:
            return
        if self._full and not self._early._waiting:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()


class _Watched(asyncio.StreamReaderProtocol):
    """As asyncio's own; who waits for the handshake hears that its client has left."""

    _early: Any = None

    def connection_made(self, transport: Any) -> None:
        """As asyncio's own."""
        self._early = transport.get_extra_info("ssl_object")
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio's own."""
        if isinstance(self._early, EarlyServer):
            if self._early._paced is not None:
                self._early._paced.transport = None
            if not self._early._done:
                self._early._tell(False)
        super().connection_lost(exc)


async def handshake_done(conn: Any) -> None:
    """Waits until a connection of :func:`start_server` has ended its handshake: what it sent early was no replay.

    Until then its reader holds all early data, be it more than its limit: the cache's ``max_early_data`` bounds it.
    conn: a transport or a writer. Errors: ``ConnectionResetError`` where the client leaves before that, or never was
    there; ``TypeError``; :class:`SessionError` where that is no connection of :func:`start_server`.
    """
    try:
        borrowed = _borrow.borrow(conn)
    except AttributeError:  # of asyncio's transports, once they are closed
        raise ConnectionResetError("the connection is closed") from None
    if lib.SSL_is_init_finished(borrowed.ssl):
        return
    owner: Any = borrowed.owner
    if not isinstance(owner, EarlyServer):
        raise SessionError(
            "only connections of sslsession's start_server begin before their handshake is done"
        )
    if owner._lost:
        raise ConnectionResetError(LEFT)
    done = asyncio.get_running_loop().create_future()

    def tell(done_now: bool) -> None:
        if done.done():
            return
        done.set_result(None) if done_now else done.set_exception(ConnectionResetError(LEFT))

    owner._waiting = (*owner._waiting, tell)
    owner._paced.settle()
    try:
        await done
    finally:
        owner._waiting = tuple(each for each in owner._waiting if each is not tell)
        owner._paced.settle()


def _client(ssl: ssl_module.SSLContext | bool, early_data: Data | None) -> Any:
    if ssl is True:
        from sslsession.context import create_default_context

        ssl = create_default_context()
    if not isinstance(ssl, ssl_module.SSLContext):
        raise TypeError(f"ssl is an SSLContext or True, not {ssl!r}")
    if early_data is None:
        return ssl
    if not isinstance(early_data, (bytes, bytearray, memoryview)):
        raise TypeError(f"early_data is bytes, a whole request, not {type(early_data).__name__}")
    return EarlyContext(ssl, bytes(early_data))
