"""One worker: takes connections from a socket that listens, tells of each, answers HTTP and echoes all else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
from typing import Any, Callable, Optional

from sslsession.early_data import EarlyData, early_data_status, read_early_data, write_early_data
from sslsession.probing.failures import printable, told

Record = dict[str, Any]
"""What is told of a connection; its keys are always those of ``UNKNOWN``."""
Tell = Callable[[Optional[Record]], object]
"""Gets the record of each connection after its handshake, or what became of that; and None at its end."""
UNKNOWN: Record = dict.fromkeys(
    ("worker", "version", "resumed", "early_data", "server_name", "cipher", "error")
)
PROTOCOLS = ("auto", "echo", "http")
REQUEST = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r?\n")
SAFE = re.compile(rb"(?:GET|HEAD|OPTIONS) ")
"""What may be answered early (RFC 9110 9.2.1, RFC 8470)."""
HEAD_END = re.compile(rb"\r?\n\r?\n")
LENGTH = re.compile(rb"(?i)\ncontent-length:[ \t]*(\d{1,9})\s")
JSON_WANTED = re.compile(rb"(?i)\naccept:[^\n]*\bjson\b")
PIECE = 65536
HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 1.0


class Worker:
    """Serves until ``stop``, a socket, comes to its end."""

    def __init__(
        self,
        context: ssl.SSLContext,
        listener: socket.socket,
        stop: socket.socket,
        number: int,
        tell: Tell,
        protocol: str,
        early: bool = False,
    ) -> None:
        """early: whether early data is read."""
        self._early = early
        self._context, self._listener, self._stop = context, listener, stop
        self._number, self._tell, self._protocol = number, tell, protocol
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Returns when all connections are closed. Errors: those of ``tell``, which end it."""
        loop = asyncio.SelectorEventLoop()  # on Windows too, whose other loop watches no socket
        try:
            loop.run_until_complete(self._run(loop))
        finally:
            loop.close()

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._over: asyncio.Future[Exception | None] = loop.create_future()
        loop.add_reader(self._listener, self._accept)
        loop.add_reader(self._stop, self._end, None)
        error = await self._over
        for each in (self._listener, self._stop):
            loop.remove_reader(each)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is not None:
            raise error

    def _end(self, error: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(error)

    def _say(self, record: Record | None) -> None:
        try:
            self._tell(record)
        except Exception as error:
            self._end(error)

    def _accept(self) -> None:
        try:
            raw, _ = self._listener.accept()
            raw.setblocking(False)
            conn = self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        except OSError:  # another worker took it, or it is gone
            return
        task = asyncio.ensure_future(self._serve(conn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: conn.close())

    async def _serve(self, conn: ssl.SSLSocket) -> None:
        try:
            hasty = EarlyAnswers(self._protocol, self._record)
            failed = await _handshake(conn, hasty if self._early else None)
            if failed is not None:
                known = {"worker": self._number, "early_data": _early(conn), "error": failed}
                self._say({**UNKNOWN, **known})
                return
            self._say(record := hasty.record or self._record(conn))
            with contextlib.suppress(OSError):  # the client is gone
                if not hasty.answered:
                    await self._converse(conn, record, hasty)
        finally:
            await _end(conn)
            self._say(None)

    def _record(self, conn: ssl.SSLSocket) -> Record:
        cipher = conn.cipher()
        return {
            **UNKNOWN,
            "worker": self._number,
            "version": conn.version() or "TLSv1.3",  # ssl tells none before the handshake is done
            "resumed": conn.session_reused,
            "early_data": _early(conn),
            "server_name": vars(conn).get("asked_for"),
            "cipher": cipher and cipher[0],
        }

    async def _converse(self, conn: ssl.SSLSocket, record: Record, hasty: EarlyAnswers) -> None:
        data = hasty.waiting or await _read(conn)
        if not hasty.echoed and _is_http(self._protocol, data):
            await _write(conn, await _answer(data, conn, record))
            return
        while data:
            await _write(conn, data)
            data = await _read(conn)


class EarlyAnswers:
    """What becomes of early data: it is echoed, requests that are safe are answered, and others wait."""

    def __init__(self, protocol: str, record: Callable[[ssl.SSLSocket], Record]) -> None:
        self._protocol, self._record = protocol, record
        self.record: Record | None = None
        self.waiting = b""
        self.answered = self.echoed = False

    async def begin(self, conn: ssl.SSLSocket) -> None:
        """Returns when there is no more early data."""
        while early := await _do(conn, read_early_data, conn, PIECE):
            self.record = self.record or self._record(conn)
            if not self.answered:
                await self._hasten(conn, self.record, self.waiting + early)

    async def _hasten(self, conn: ssl.SSLSocket, record: Record, data: bytes) -> None:
        if self.echoed or not _is_http(self._protocol, data):
            self.echoed = True
            await _do(conn, write_early_data, conn, data)
        elif SAFE.match(data) and HEAD_END.search(data) and not LENGTH.search(data):
            self.answered, self.waiting = True, b""
            await _do(conn, write_early_data, conn, await _answer(data, conn, record))
        else:
            self.waiting = data


def _early(conn: ssl.SSLSocket) -> str | None:
    status = early_data_status(conn)
    return None if status is EarlyData.NOT_SENT else status.name.lower()


def _is_http(protocol: str, data: bytes) -> bool:
    return protocol == "http" or (protocol == "auto" and REQUEST.match(data) is not None)


async def _do(conn: ssl.SSLSocket, call: Callable[..., Any], *arguments: Any) -> Any:
    """What a method of the connection returns, as soon as it need not wait. asyncio's own TLS would send no alerts."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return call(*arguments)
        except (ssl.SSLWantReadError, BlockingIOError):
            watch, leave = loop.add_reader, loop.remove_reader
        except ssl.SSLWantWriteError:
            watch, leave = loop.add_writer, loop.remove_writer
        ready = asyncio.Event()
        watch(conn, ready.set)
        try:
            await ready.wait()
        finally:
            leave(conn)


async def _handshake(conn: ssl.SSLSocket, hasty: EarlyAnswers | None = None) -> str | None:
    """What went wrong; None: nothing did. hasty: gets early data."""

    async def shake() -> None:
        if hasty is not None:
            await hasty.begin(conn)
        await _do(conn, conn.do_handshake)

    try:
        await asyncio.wait_for(shake(), HANDSHAKE_SECONDS)
    except asyncio.TimeoutError:
        return f"no handshake within {HANDSHAKE_SECONDS:g} s"
    except OSError as error:
        return told(error)
    return None


async def _end(conn: ssl.SSLSocket) -> None:
    """Says that this is the end, and reads on for a while: closing would discard what the client has yet to read."""
    with contextlib.suppress(OSError, ValueError):
        conn.unwrap()
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        socket.socket.shutdown(conn, socket.SHUT_WR)
        await asyncio.wait_for(_drain(conn), CLOSE_SECONDS)


async def _drain(conn: ssl.SSLSocket) -> None:
    while await _do(conn, socket.socket.recv, conn, PIECE):
        pass


async def _read(conn: ssl.SSLSocket) -> bytes:
    data: bytes = await _do(conn, conn.recv, PIECE)
    return data


async def _write(conn: ssl.SSLSocket, data: bytes) -> None:
    while data:
        data = data[await _do(conn, conn.send, data) :]


async def _answer(data: bytes, conn: ssl.SSLSocket, record: Record) -> bytes:
    """Reads the request to its end, so that closing does not cut what the client has yet to read."""
    while (end := HEAD_END.search(data)) is None and len(data) < PIECE and (more := await _read(conn)):
        data += more
    head = data[: end.start() + 1] if end else b""
    length = LENGTH.search(head + b"\n")
    left = int(length[1]) - len(data) + end.end() if length and end else 0
    while left > 0 and (more := await _read(conn)):
        left -= len(more)
    status, kind, body = "200 OK", "text/plain", _page(record)
    if not REQUEST.match(head):
        status, body = "400 Bad Request", "this is no HTTP/1 request\n"
    elif JSON_WANTED.search(head):
        kind, body = "application/json", json.dumps(record) + "\n"
    lines = f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"
    return "\r\n".join([*lines, "", "" if head.startswith(b"HEAD ") else body]).encode()


def _page(record: Record) -> str:
    shown = {**record, "session": "resumed" if record["resumed"] else "full handshake"}
    return "".join(
        f"{name.replace('_', ' ')}: {printable(str(shown[name] or '-'))}\n"
        for name in ("version", "cipher", "session", "early_data", "server_name", "worker")
    )


def remember_name(conn: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    """``sni_callback`` of a worker's context: the server's end of a connection does not tell it otherwise."""
    vars(conn)["asked_for"] = name
