"""``AsyncConnection``: a ``TLSConnection`` over asyncio's own TCP streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from types import TracebackType
from typing import Any

from sslsession._flow import RECORD, Data
from sslsession.connection import TLSConnection
from sslsession.drivers import _given
from sslsession.drivers._pieces import PIECE, first

GAVE_UP = (asyncio.CancelledError, asyncio.TimeoutError, TimeoutError)
"""After these nobody waits for a peer that takes nothing."""


class AsyncConnection:
    """A TLS connection of an event loop; any loop whose ``asyncio.open_connection`` works.

    tls: as for :class:`~sslsession.drivers.blocking.BlockingConnection`. Timeouts are the caller's
    (``asyncio.wait_for``). One task reads at a time and one writes. Errors of all calls: ``ssl.SSLError``, ``OSError``,
    and those of the :class:`TLSConnection`.
    """

    def __init__(self, tls: TLSConnection) -> None:
        self.tls = _given.checked(tls)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._received: deque[bytes] = deque()

    async def connect(self, host: str, port: int, **named: Any) -> AsyncConnection:
        """Connects to a server and ends the handshake; ``named`` is ``asyncio.open_connection``'s. Returns itself."""
        self._need_none()
        await self._begin(*await asyncio.open_connection(host, port, **named), accepted=False)
        return self

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncConnection:
        """Ends the handshake with a client of ``asyncio.start_server``; the streams are this object's from now on."""
        self._need_none()
        await self._begin(reader, writer, accepted=True)
        return self

    def _need_none(self) -> None:
        if self._writer is not None:
            raise ValueError("this AsyncConnection has a connection already: close() it first")

    async def _begin(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, accepted: bool
    ) -> None:
        try:
            self.tls.accept() if accepted else self.tls.connect()
        except BaseException:
            writer.close()
            raise
        self._reader, self._writer = reader, writer
        self._received.clear()
        try:
            while not self.tls.is_connected:
                await self._flush()
                self._received.extend(await self._receive())
            await self._flush()
        except BaseException as error:
            await self._end(error)
            raise

    async def send(self, data: Data) -> int:
        """Sends all of it, no faster than the peer takes it; how many bytes."""
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PIECE):
            self.tls.send(view[at : at + PIECE])
            await self._flush()
        return len(view)

    async def recv(self, size: int = RECORD) -> bytes:
        """At least one byte, at most ``size``; ``b""`` after the peer's close_notify, ``ssl.SSLEOFError`` without."""
        _given.require_size(size)
        received = self._received
        while not received:
            if self.tls.peer_closed:
                return b""
            received.extend(await self._receive())
            await self._flush()
        return first(received, size)

    async def close(self) -> None:
        """Says close_notify and closes the TCP connection, when the peer has taken all. Closing again does nothing.

        Who does not want to wait for that cancels it (``asyncio.wait_for``): what the peer has not taken is dropped.
        """
        await self._end(None)

    async def _end(self, error: BaseException | None) -> None:
        self.tls.close()
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.write(self.tls.data_to_send())
        if isinstance(error, GAVE_UP) and writer.transport.get_write_buffer_size():
            writer.transport.abort()
        writer.close()
        try:
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        except BaseException:
            writer.transport.abort()
            raise

    async def _receive(self) -> list[bytes]:
        if self._reader is None or self._writer is None:
            raise ValueError("there is no connection: call connect() or accept()")
        _given.require_open(self.tls)
        data = await self._reader.read(PIECE)
        try:
            return self.tls.receive_records(data)
        except BaseException:
            self._writer.write(self.tls.data_to_send())  # the alert says why
            raise

    async def _flush(self) -> None:
        data = self.tls.data_to_send()
        if self._writer is None:
            raise ValueError("there is no connection: call connect() or accept()")
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def __aenter__(self) -> AsyncConnection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(error)
