"""Clients that send early data to other programs, servers that programs send it to, and what either side says of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sslsession
from helpers.certs import Authority
from helpers.peers import EchoServer
from helpers.programs import ClientRun, Running, s_client
from sslsession import EarlyData, early_data_status, send_replayable, write_early_data

FRAGMENTS = ("-maxfraglen", "4096")
"""Records of 4 kB at most, either way (RFC 6066 4)."""


WHOLE = re.compile(rb"(?is)^.*?content-length: (\d+).*?\r\n\r\n(.*)$")
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Heard(NamedTuple):
    """What a server of this library made of one connection's early data."""

    status: EarlyData
    early: bytes


class Client:
    """`openssl s_client` that keeps its session in a file: `earn` one, then `send` early data with it."""

    def __init__(self, ca: Authority, directory: Path) -> None:
        self._common = ["-CAfile", ca.pem_path, "-tls1_3"]
        self.session, self._file = directory / "session", directory / "early"

    def earn(self, port: int, *options: str) -> ClientRun:
        """One full handshake, its newest ticket kept."""
        return s_client(port, *self._common, "-sess_out", self.session, *options)

    def send(self, port: int, data: bytes, *options: str, until: str | None = None) -> tuple[str, ClientRun]:
        """What it says became of `data`: "accepted", "rejected", "not sent".

        Afterwards it has a line echoed, or reads `until`, a regex.
        """
        self._file.write_bytes(data)
        more = ["-sess_in", self.session, "-early_data", self._file, *options]
        done = s_client(port, *self._common, *more, until=until)
        (verdict,) = re.findall(r"^Early data was (.*)$", done.output, re.MULTILINE)
        return verdict, done


@contextlib.contextmanager
def threads(context: ssl.SSLContext) -> Iterator[tuple[int, list[Heard]]]:
    """A blocking server, a thread for each connection, that echoes early data before the handshake is done."""
    heard: list[Heard] = []

    def prepare(conn: ssl.SSLSocket) -> None:
        early = bytearray()
        while piece := sslsession.read_early_data(conn):
            early += piece
            sslsession.write_early_data(conn, piece)
        heard.append(Heard(early_data_status(conn), bytes(early)))

    with EchoServer(context, prepare=prepare) as server:
        yield server.port, heard


@contextlib.contextmanager
def streams(context: ssl.SSLContext) -> Iterator[tuple[int, list[Heard]]]:
    """asyncio's streams by `sslsession.start_server`, which echo each line; heard early is the first, or none."""
    heard: list[Heard] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        status = early_data_status(writer)
        heard.append(Heard(status, line if status is EarlyData.ACCEPTED else b""))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while line:
                writer.write(line)
                await writer.drain()
                line = await reader.readline()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def serve() -> None:
        over = asyncio.Event()
        server = await sslsession.start_server(echo, "127.0.0.1", 0, ssl=context, limit=1 << 20)
        running.append((server.sockets[0].getsockname()[1], over))
        begun.set()
        await over.wait()
        server.close()
        await server.wait_closed()

    running: list[tuple[int, asyncio.Event]] = []
    begun, loop = threading.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    assert begun.wait(20)
    ((port, over),) = running
    try:
        yield port, heard
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def verdicts(server: Running, connections: int) -> list[str]:
    """What `openssl s_server -early_data` says of so many connections, all of which are done; it ends then."""
    server.process.expect(rf"(?s)(?:DONE\n.*){{{connections}}}")
    server.process.stop()
    return re.findall("No early data received|Early data received|Early data was rejected", server.log)


class Fetched(NamedTuple):
    """What became of a request, whether its connection resumed, and the whole answer."""

    status: EarlyData
    resumed: bool
    answer: bytes


def fetch(port: int, context: ssl.SSLContext, request: bytes = REQUEST, *, again: bool = False) -> Fetched:
    """Sends a request by `send_replayable`, and if it was accepted early keeps the client's second flight back until
    the answer is there: a server that gives one has not waited for the handshake.

    again: answers "425 Too Early" with the same request, after the handshake and on the same connection.
    """
    back, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    conn = context.wrap_bio(back, out, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), 20) as raw:

        def step(call: Callable[[], Any]) -> Any:
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    raw.sendall(out.read())
                    data = raw.recv(65536)
                    back.write(data) if data else back.write_eof()

        def read_answer() -> bytes:
            answer = b""
            while not (whole := WHOLE.search(answer)) or len(whole[2]) < int(whole[1]):
                answer += step(lambda: conn.read(65536))
            return answer

        status = step(lambda: send_replayable(conn, request))
        held = out.read()
        if status is not EarlyData.ACCEPTED:
            raw.sendall(held)
            held = b""
        answer = read_answer()
        raw.sendall(held)
        if again and answer.startswith(b"HTTP/1.1 425 "):
            conn.write(request)
            answer = read_answer()
        if b"Connection: close" in request:
            with contextlib.suppress(ssl.SSLError, OSError):
                while step(lambda: conn.read(65536)):
                    pass
    return Fetched(status, bool(conn.session_reused), answer)


def header(answer: bytes, name: bytes) -> bytes | None:
    """A header of an answer; None where it has none of that name."""
    found = re.search(rb"(?i)\r\n" + name + rb": (.*?)\r\n", answer)
    return found[1] if found else None


def first_flight(context: ssl.SSLContext, request: bytes = REQUEST) -> bytes:
    """What a client of a context that has met the server by `fetch` sends at first: ClientHello and early data."""
    out = ssl.MemoryBIO()
    conn = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    assert write_early_data(conn, request) == len(request), "a session allows it"
    return out.read()
