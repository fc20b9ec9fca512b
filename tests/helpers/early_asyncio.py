"""asyncio's loops and their ends, a server of `start_server` and a client: early data over streams."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sslsession import (
    early_data_status,
    open_connection,
    start_server,
)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["asyncio", "asyncio, debug", "uvloop"])
def loops(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Of each kind of loop: a function that runs to the end, within 30 seconds; nothing goes wrong unheard."""

    module = pytest.importorskip("uvloop") if request.param == "uvloop" else asyncio

    def run(main: Awaitable[Any]) -> Any:
        loop = module.new_event_loop()
        loop.set_debug(request.param.endswith("debug"))
        heard: list[Any] = []
        loop.set_exception_handler(lambda _, context: heard.append(context))
        try:
            found = loop.run_until_complete(asyncio.wait_for(main, 30))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
        assert heard == []
        return found

    return run


class Service:
    """A server that echoes, unless told otherwise; what its handlers met is in `early` and `seen`."""

    def __init__(self, context: ssl.SSLContext, handler: Handler | None = None, plain: bool = False) -> None:
        self._context, self._handler, self._plain = context, handler or self.echo, plain
        self.done: list[bool] = []
        self.errors: list[BaseException] = []
        self._tasks = 0
        self.port = 0

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conn = writer.get_extra_info("ssl_object")
        while data := await reader.read(65536):
            self.done.append(getattr(conn, "_done", True))
            writer.write(data)
            await writer.drain()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks += 1
        try:
            await self._handler(reader, writer)
        except (Exception, asyncio.CancelledError) as error:
            self.errors.append(error)
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks -= 1

    async def __aenter__(self) -> Service:
        start = asyncio.start_server if self._plain else start_server
        self._server = await start(self._handle, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def idle(self) -> None:
        """Until no handler runs."""
        while self._tasks:
            await asyncio.sleep(0.005)

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.idle()
        await self._server.wait_closed()


async def ask(
    client: ssl.SSLContext, port: int, data: bytes | None, size: int, then: bytes = b""
) -> tuple[Any, bytes]:
    """What became of early data, and what came back of it."""
    reader, writer = await open_connection(
        "127.0.0.1", port, ssl=client, early_data=data, server_hostname="localhost"
    )
    if then:
        writer.write(then)
    got = await reader.readexactly(size)
    status = early_data_status(writer)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return status, got
