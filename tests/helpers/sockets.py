"""Two TLS peers over real sockets: a connected pair, and an echoing server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

PrepareSocket = Callable[[ssl.SSLSocket], object]
TIMEOUT = 20.0


class SocketPair:
    """A client and a server `SSLSocket` over `socket.socketpair()`.

    `prepare` gets the client before its handshake begins, `prepare_server` the
    server. Used as a context manager it handshakes at the start, and at the end
    closes cleanly. Every call gives up after 20 seconds (`TimeoutError`).
    """

    client: ssl.SSLSocket
    server: ssl.SSLSocket

    def __init__(
        self,
        client_ctx: ssl.SSLContext,
        server_ctx: ssl.SSLContext,
        server_hostname: str | None = "localhost",
        session: ssl.SSLSession | None = None,
        prepare: PrepareSocket | None = None,
        prepare_server: PrepareSocket | None = None,
    ) -> None:
        ends = socket.socketpair()
        try:
            for end in ends:
                end.settimeout(TIMEOUT)
            self.client = client_ctx.wrap_socket(
                ends[0],
                server_hostname=server_hostname,
                session=session,
                do_handshake_on_connect=False,
            )
            self.server = server_ctx.wrap_socket(ends[1], server_side=True, do_handshake_on_connect=False)
            if prepare is not None:
                prepare(self.client)
            if prepare_server is not None:
                prepare_server(self.server)
        except BaseException:
            for end in (*ends, *self._made()):
                end.close()
            raise

    def handshake(self) -> SocketPair:
        """The server's in a thread, the client's here; raises what failed first."""
        self._both(self.client.do_handshake, self.server.do_handshake)
        return self

    def exchange(self, data: bytes = b"ping", reply: bytes | None = None) -> None:
        """`data` to the server, `reply` (None: the same) to the client, both checked.

        Reading them, the client reads its TLS 1.3 tickets too. For what fits into
        the sockets' buffers: some 10 kB.
        """
        reply = data if reply is None else reply
        self.client.sendall(data)
        assert _receive(self.server, len(data)) == data
        self.server.sendall(reply)
        assert _receive(self.client, len(reply)) == reply

    def close(self) -> None:
        """close_notify both ways, as far as it goes, then close both sockets."""
        with contextlib.suppress(OSError, ValueError):
            self._both(self.client.unwrap, self.server.unwrap)
        self.drop()

    def drop(self) -> None:
        """Close both sockets with no close_notify."""
        for end in self._made():
            end.close()

    def _made(self) -> list[ssl.SSLSocket]:
        return [vars(self)[end] for end in ("client", "server") if end in vars(self)]

    def _both(self, here: Callable[[], object], there: Callable[[], object]) -> None:
        errors: list[Exception] = []

        def attempt(call: Callable[[], object]) -> None:
            try:
                call()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=attempt, args=[there])
        thread.start()
        try:
            attempt(here)
        finally:
            thread.join()
        if errors:
            raise errors[0]

    def __enter__(self) -> SocketPair:
        try:
            return self.handshake()
        except BaseException:
            self.drop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def dial(
    port: int,
    client_ctx: ssl.SSLContext,
    server_hostname: str | None = "localhost",
    session: ssl.SSLSession | None = None,
    prepare: PrepareSocket | None = None,
) -> ssl.SSLSocket:
    """A client connected to 127.0.0.1:`port`, its handshake done; the caller closes it.

    `prepare` gets it before its handshake begins.
    """
    raw = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    try:
        conn = client_ctx.wrap_socket(
            raw,
            server_hostname=server_hostname,
            session=session,
            do_handshake_on_connect=False,
        )
    except BaseException:
        raw.close()
        raise
    try:
        if prepare is not None:
            prepare(conn)
        conn.do_handshake()
    except BaseException:
        conn.close()
        raise
    return conn


class EchoServer:
    """A TLS server on an ephemeral port of 127.0.0.1 that sends back what it gets.

    Each connection has its thread. When the client closes, the server does too:
    with close_notify, or without where `clean_close` is False. A client that drops
    costs the server the session it keeps (OpenSSL 3: an EOF is a fatal error), but
    no ticket that holds its own state. `on_connect` gets
    each connection after its handshake, `prepare` before it, in that thread.

    A connection is counted before its first echo is sent. Leaving the `with` block
    stops listening, cuts what is still connected, joins all threads, and raises
    whatever other than OSError happened in one of them.
    """

    def __init__(
        self,
        server_ctx: ssl.SSLContext,
        *,
        clean_close: bool = True,
        on_connect: PrepareSocket | None = None,
        prepare: PrepareSocket | None = None,
    ) -> None:
        self.context = server_ctx
        self.reused: list[bool] = []
        self.errors: list[Exception] = []
        self._clean_close = clean_close
        self._on_connect = on_connect
        self._prepare = prepare
        self._stopping = False
        self._live: set[ssl.SSLSocket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept)

    @property
    def connections(self) -> int:
        """How many handshakes it has completed; `reused` has the flag of each."""
        return len(self.reused)

    def stop(self) -> None:
        """Stop listening, cut what is connected, join all threads."""
        if self._stopping:
            return
        with self._lock:
            self._stopping = True
        socket.create_connection(("127.0.0.1", self.port), TIMEOUT).close()
        self._acceptor.join()
        with self._lock:
            for conn in self._live:
                _cut(conn)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with self._listener:
            while True:
                raw, _ = self._listener.accept()
                if self._stopping:
                    raw.close()
                    return
                thread = threading.Thread(target=self._serve, args=[raw])
                self._threads.append(thread)
                thread.start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            raw.settimeout(TIMEOUT)
            with self.context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as conn:
                with self._lock:
                    if self._stopping:
                        return
                    self._live.add(conn)
                try:
                    self._talk(conn)
                finally:
                    with self._lock:
                        self._live.discard(conn)
        except Exception as error:
            raw.close()
            self.errors.append(error)

    def _talk(self, conn: ssl.SSLSocket) -> None:
        if self._prepare is not None:
            self._prepare(conn)
        conn.do_handshake()
        with self._lock:
            self.reused.append(bool(conn.session_reused))
        if self._on_connect is not None:
            self._on_connect(conn)
        try:
            while data := conn.recv(65536):
                conn.sendall(data)
            if self._clean_close:
                conn.unwrap().close()
        except OSError:
            return

    def __enter__(self) -> EchoServer:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if error is None:
            for failure in self.errors:
                if not isinstance(failure, OSError):
                    raise failure


def _receive(conn: ssl.SSLSocket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := conn.recv(size - len(data))):
        data += piece
    return bytes(data)


def _cut(conn: ssl.SSLSocket) -> None:
    """Wake whoever reads from `conn`, its TLS state left as it is."""
    try:
        socket.socket.shutdown(conn, socket.SHUT_RDWR)
    except OSError:
        return


@contextlib.contextmanager
def aside(call: Callable[[], object]) -> Iterator[list[Any]]:
    """Calls it in another thread; what it returned or raised is there after the block."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        thread.join(30)
        assert found, "the other side is stuck"
