"""Two TLS peers in this thread, joined by memory: no sockets, no waiting."""

from __future__ import annotations

import contextlib
import gc
import platform
import ssl
from collections.abc import Callable
from types import TracebackType

PrepareObject = Callable[[ssl.SSLObject], object]
NOTHING_MORE = (ssl.SSLWantReadError, ssl.SSLZeroReturnError)


class Pair:
    """A client and a server `SSLObject` over two shared `MemoryBIO`s.

    What one writes the other can read at once: `to_server` and `to_client` are the
    wire, and a test may read or alter it. `prepare` gets the client before its
    handshake begins, `prepare_server` the server. Used as a context manager it
    handshakes at the start and closes cleanly at the end.
    """

    client: ssl.SSLObject
    server: ssl.SSLObject

    def __init__(
        self,
        client_ctx: ssl.SSLContext,
        server_ctx: ssl.SSLContext,
        server_hostname: str | None = "localhost",
        session: ssl.SSLSession | None = None,
        prepare: PrepareObject | None = None,
        prepare_server: PrepareObject | None = None,
    ) -> None:
        self.to_server = ssl.MemoryBIO()
        self.to_client = ssl.MemoryBIO()
        self.server_received = bytearray()
        self.client_received = bytearray()
        self.client = client_ctx.wrap_bio(
            self.to_client,
            self.to_server,
            server_hostname=server_hostname,
            session=session,
        )
        self.server = server_ctx.wrap_bio(self.to_server, self.to_client, server_side=True)
        if prepare is not None:
            prepare(self.client)
        if prepare_server is not None:
            prepare_server(self.server)

    def handshake(self) -> Pair:
        """Step both sides until both are done; the first error of either is raised.

        The client has then read no TLS 1.3 ticket yet: see `pump`, `exchange`.
        """
        waiting = [self.client, self.server]
        while waiting:
            for side in tuple(waiting):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                waiting.remove(side)
            if waiting and not (self.to_client.pending or self.to_server.pending):
                raise AssertionError("the handshake stalled: nothing is on the wire")
        return self

    def pump(self) -> None:
        """Let both sides read all that waits for them: tickets, alerts, data.

        Data is added to `client_received` and `server_received`; a close_notify or
        nothing at all is fine, any other SSL error is raised.
        """
        while True:
            before = self.to_client.pending, self.to_server.pending
            self.client_received += _read_all(self.client)
            self.server_received += _read_all(self.server)
            after = self.to_client.pending, self.to_server.pending
            if after in ((0, 0), before):
                return

    def exchange(self, data: bytes = b"ping", reply: bytes | None = None) -> None:
        """`data` to the server, `reply` (None: the same) to the client, both checked.

        Reading them, the client reads its TLS 1.3 tickets too.
        """
        reply = data if reply is None else reply
        self.client.write(data)
        self.pump()
        assert bytes(self.server_received) == data
        self.server_received.clear()
        self.server.write(reply)
        self.pump()
        assert bytes(self.client_received) == reply
        self.client_received.clear()

    def close(self) -> None:
        """close_notify both ways, as far as it goes; both objects stay readable."""
        for side in (self.client, self.server, self.client):
            with contextlib.suppress(ssl.SSLError, ValueError):
                side.unwrap()

    def drop(self) -> None:
        """Let go of both objects with no close_notify; `client`, `server` are gone.

        OpenSSL frees them now, unless the test holds one of them itself.
        """
        del self.client, self.server
        if platform.python_implementation() != "CPython":
            gc.collect()

    def __enter__(self) -> Pair:
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
        if hasattr(self, "client"):
            self.close()


def connect(
    client_ctx: ssl.SSLContext,
    server_ctx: ssl.SSLContext,
    server_hostname: str | None = "localhost",
    session: ssl.SSLSession | None = None,
    prepare: PrepareObject | None = None,
    prepare_server: PrepareObject | None = None,
) -> Pair:
    """A `Pair` that has shaken hands and exchanged data, so that tickets are read."""
    pair = Pair(client_ctx, server_ctx, server_hostname, session, prepare, prepare_server)
    pair.handshake().exchange()
    return pair


def _read_all(side: ssl.SSLObject) -> bytes:
    data = bytearray()
    try:
        while piece := side.read(65536):
            data += piece
    except NOTHING_MORE:
        pass
    return bytes(data)
