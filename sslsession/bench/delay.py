"""Time to the first byte of an answer over a long way: full handshakes, resumed ones, early data.

Both ends are here, and what is between them holds each piece of data back for as long as that way would take. How long
a handshake computes is nothing beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from statistics import median
from types import TracebackType
from typing import Callable, NamedTuple

from sslsession.bench import identity
from sslsession.bench.measure import rotated
from sslsession.client import ClientSessionCache
from sslsession.early_data import (
    EarlyData,
    early_data_status,
    read_early_data,
    send_replayable,
    wait_for_handshake,
    write_early_data,
)
from sslsession.server import ServerSessionCache

PATIENCE = 30.0
"""Seconds for each step of a connection, beside the way."""
WARM = 2
REQUEST, ANSWER = b"request\n", b"answer\n"
MOST = 16384


class Link:
    """A port of 127.0.0.1 that leads to another one there; what either side sends arrives ``delay`` seconds later."""

    port: int

    def __init__(self, to: int, delay: float) -> None:
        self._to, self._delay = to, delay
        self._loop = asyncio.new_event_loop()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            self._loop.add_reader(listener, self._accept, listener)
            self._begun.set()
            await self._over.wait()
            self._loop.remove_reader(listener)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            near, _ = listener.accept()
            task = asyncio.ensure_future(self._join(near))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: near.close())  # also of one that was ended before it began

    async def _join(self, near: socket.socket) -> None:
        with socket.socket() as far:
            for each in (near, far):
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):
                await self._loop.sock_connect(far, ("127.0.0.1", self._to))
                await asyncio.gather(self._carry(near, far), self._carry(far, near))

    async def _carry(self, source: socket.socket, target: socket.socket) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            data = b" "
            while data:
                due, data = await under_way.get()
                await asyncio.sleep(due - self._loop.time())
                await self._loop.sock_sendall(target, data)
            target.shutdown(socket.SHUT_WR)

        arriving = asyncio.ensure_future(arrive())
        try:
            data = b" "
            while data:
                try:
                    data = await self._loop.sock_recv(source, 65536)
                except OSError:
                    data = b""
                under_way.put_nowait((self._loop.time() + self._delay, data))
            await arriving
        finally:
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)

    def __enter__(self) -> Link:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


class Visit(NamedTuple):
    """One connection."""

    seconds: float
    """From its TLS handshake's begin to the answer's first byte."""
    resumed: bool
    early: EarlyData


class Waited(NamedTuple):
    """What one way to begin a connection costs."""

    title: str
    seconds: float
    """To the first byte of the answer, the median."""
    failed: bool
    """Whether some connection did not begin that way."""


def visit(port: int, context: ssl.SSLContext, host: str, request: bytes, *, early: bool) -> Visit:
    """Sends a request, as early data if it may be, and reads the answer to its end."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False) as conn:
            begun = time.perf_counter()
            if early:
                send_replayable(conn, request)
            else:
                conn.do_handshake()
                conn.sendall(request)
            conn.recv(1)
            seconds = time.perf_counter() - begun
            with contextlib.suppress(OSError):
                while conn.recv(65536):  # tickets come after an early answer
                    pass
            return Visit(seconds, bool(conn.session_reused), early_data_status(conn))


def answer(conn: ssl.SSLSocket) -> None:
    """A server's part: early data is answered at once."""
    if read_early_data(conn):
        write_early_data(conn, ANSWER)
        wait_for_handshake(conn)
    else:
        conn.do_handshake()
        conn.recv(len(REQUEST))
        conn.sendall(ANSWER)
    conn.unwrap()


@contextlib.contextmanager
def serving(context: ssl.SSLContext) -> Iterator[int]:
    """A server of :func:`answer`, one connection at a time; its port."""
    over = threading.Event()

    def serve() -> None:
        while True:
            raw, _ = listener.accept()
            with raw, contextlib.suppress(OSError):
                if over.is_set():
                    return
                raw.settimeout(PATIENCE)
                raw.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                )  # or the answer waits behind the tickets
                with context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as conn:
                    answer(conn)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            over.set()
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            thread.join()


WAYS: dict[str, Callable[[Visit], bool]] = {
    "full handshake": lambda done: not done.resumed,
    "resumed": lambda done: done.resumed and done.early is EarlyData.NOT_SENT,
    "resumed, early data": lambda done: done.resumed and done.early is EarlyData.ACCEPTED,
}
"""How a connection begins, and whether one did."""


def measure_ways(
    port: int,
    contexts: Callable[[], ssl.SSLContext],
    host: str,
    request: bytes,
    rounds: int,
    step: Callable[[str], object] = lambda _: None,
) -> list[Waited]:
    """Connections of each of ``WAYS`` in turns, to a server that a link leads to. contexts: makes a client's."""
    full, *others = WAYS
    of_each = {full: contexts()}
    with contextlib.ExitStack() as stack:
        for name in others:
            of_each[name] = contexts()
            cache = stack.enter_context(ClientSessionCache(early_data=name == others[-1]))
            cache.attach(of_each[name])
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        failed: set[str] = set()
        for number in range(-WARM, rounds):
            step("1.3")
            for name in rotated(list(WAYS), max(0, number)):
                early = name == others[-1]
                if early:  # a server that closes behind an early answer sends no ticket
                    visit(port, of_each[name], host, request, early=False)
                done = visit(port, of_each[name], host, request, early=early)
                if number >= 0:
                    seconds[name].append(done.seconds)
                    if not WAYS[name](done):
                        failed.add(name)
    return [Waited(name, median(found), name in failed) for name, found in seconds.items()]


def measure_link(delay: float, rounds: int, step: Callable[[str], object] = lambda _: None) -> list[Waited]:
    """What a client waits for a server of this library, each way taking ``delay`` seconds; TLS 1.3."""
    server = identity.server_context("1.3")
    with ServerSessionCache(max_early_data=MOST) as cache:
        cache.attach(server)
        with serving(server) as port, Link(port, delay) as link:
            return measure_ways(
                link.port, lambda: identity.client_context("1.3"), identity.HOST, REQUEST, rounds, step
            )
