"""The drivers over real sockets of this machine: words, ends, timeouts, and reconnecting with resumption."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from helpers.contexts import client_context
from helpers.tls import WRONG_PIN, serving
from sslsession import CertificateRefused, TLSConnection
from sslsession.drivers import AsyncConnection, BlockingConnection, SelectorConnection

TIMEOUT = 20.0
LARGE = bytes(range(256)) * 8192


@contextlib.contextmanager
def echoing(server: TLSConnection) -> Iterator[tuple[str, int]]:
    """A server by the blocking driver, one client after another; yields its address."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            if over.is_set():
                sock.close()
                return
            conn = BlockingConnection(server.another(), timeout=TIMEOUT)
            with contextlib.suppress(OSError), conn:
                conn.accept(sock)
                while data := conn.recv():
                    conn.send(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            over.set()
            socket.create_connection(listener.getsockname(), TIMEOUT).close()
            thread.join()


@pytest.fixture
def address(server_identity) -> Iterator[tuple[str, int]]:
    with echoing(serving(server_identity)) as address:
        yield address


@pytest.fixture
def tls(ca) -> TLSConnection:
    return TLSConnection("localhost", context=client_context(ca))


class TestBlocking:
    def test_words_and_reconnecting_resumes(self, tls, address):
        for resumed in (False, True, True):
            with BlockingConnection(tls, timeout=TIMEOUT).connect(address) as conn:
                assert conn.send(b"hello") == 5
                assert conn.recv(2) + conn.recv() == b"hello"
                assert tls.connection.session_reused is resumed
            assert not tls.is_connected

    def test_much_of_it(self, tls, address):
        with BlockingConnection(tls, timeout=TIMEOUT).connect(address) as conn:
            received = bytearray()
            for at in range(0, len(LARGE), 65536):
                conn.send(LARGE[at : at + 65536])
                while len(received) < at + 65536:
                    received += conn.recv()
            assert received == LARGE

    def test_a_timeout(self, tls, address):
        with BlockingConnection(tls, timeout=TIMEOUT).connect(address) as conn:
            conn.timeout = 0.01
            with pytest.raises(TimeoutError):
                conn.recv()
        conn.timeout = 0
        with pytest.raises(TimeoutError):
            conn.connect(address)

    def test_a_server_that_never_answers(self, tls):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            conn = BlockingConnection(tls, timeout=0.05)
            with pytest.raises(TimeoutError):
                conn.connect(silent.getsockname())
            assert conn.sock is None

    def test_a_peer_that_closes_and_one_that_drops(self, ca, server_identity):
        for drops in (False, True):
            ends = socket.socketpair()
            server = BlockingConnection(serving(server_identity), timeout=TIMEOUT)
            client = BlockingConnection(
                TLSConnection("localhost", context=client_context(ca)), timeout=TIMEOUT
            )
            thread = threading.Thread(target=server.accept, args=[ends[1]])
            thread.start()
            client._adopt(ends[0], None, accepted=False)
            thread.join()
            if drops:
                server.sock.close()
                with pytest.raises(ssl.SSLEOFError):
                    client.recv()
            else:
                server.close()
                assert client.recv() == b""
                assert client.recv() == b""
            client.close()
            server.close()

    def test_who_is_refused_is_told(self, ca, address):
        conn = BlockingConnection(
            TLSConnection("localhost", context=client_context(ca), validators=[WRONG_PIN]), timeout=TIMEOUT
        )
        with pytest.raises(CertificateRefused):
            conn.connect(address)
        conn.close()

    def test_what_is_not_connected(self, tls, address):
        conn = BlockingConnection(tls)
        with pytest.raises(ValueError, match="there is no connection"):
            conn.recv()
        conn.close()
        with conn.connect(address), pytest.raises(ValueError, match="has a socket already"):
            conn.connect(address)


class TestAsyncio:
    def run(self, main) -> None:
        asyncio.run(asyncio.wait_for(main, TIMEOUT))

    def test_words_and_reconnecting_resumes(self, tls, address):
        async def main():
            for resumed in (False, True, True):
                async with await AsyncConnection(tls).connect(*address) as conn:
                    assert await conn.send(b"hello") == 5
                    assert await conn.recv(2) + await conn.recv() == b"hello"
                    assert tls.connection.session_reused is resumed

        self.run(main())

    def test_both_sides_and_much_of_it(self, tls, server_identity):
        template, done = serving(server_identity), []

        async def serve(reader, writer):
            async with await AsyncConnection(template.another()).accept(reader, writer) as conn:
                while data := await conn.recv():
                    await conn.send(data)
            done.append(True)

        async def main():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            host, port = server.sockets[0].getsockname()
            conn = await AsyncConnection(tls).connect(host, port)
            sending = asyncio.ensure_future(conn.send(LARGE))
            received = bytearray()
            while len(received) < len(LARGE):
                received += await conn.recv()
            assert await sending == len(LARGE)
            assert received == LARGE
            await conn.close()
            await conn.close()
            while not done:
                await asyncio.sleep(0)
            server.close()
            await server.wait_closed()

        self.run(main())

    def test_who_is_refused_is_told(self, ca, address):
        tls = TLSConnection("localhost", context=client_context(ca), validators=[WRONG_PIN])

        async def main():
            with pytest.raises(CertificateRefused):
                await AsyncConnection(tls).connect(*address)

        self.run(main())

    def test_what_is_not_connected(self, tls, address):
        async def main():
            conn = AsyncConnection(tls)
            for call in (conn.recv, lambda: conn.send(b"")):
                if call == conn.recv:
                    with pytest.raises(ValueError, match="there is no connection"):
                        await call()
            await conn.close()
            async with await conn.connect(*address):
                with pytest.raises(ValueError, match="has a connection already"):
                    await conn.connect(*address)

        self.run(main())


class TestSelectors:
    def drive(self, conn: SelectorConnection, wanted: int) -> bytes:
        """Runs a loop until so many bytes have come, or the end."""
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(conn, conn.events)
            while len(received) < wanted and not conn.at_end:
                selector.modify(conn, conn.events)
                for _, events in selector.select(TIMEOUT):
                    received += conn.ready(events)
                if conn.tls.is_connected and not conn.unsent and not received and wanted:
                    self.greet(conn)
            selector.unregister(conn)
        return bytes(received)

    def greet(self, conn: SelectorConnection) -> None:
        if not getattr(self, "greeted", False):
            self.greeted = True
            conn.send(self.words)

    @pytest.mark.parametrize("words", [b"hello", LARGE])
    def test_words_and_reconnecting_resumes(self, tls, address, words):
        self.words = words
        for resumed in (False, True, True):
            self.greeted = False
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            conn = SelectorConnection(tls, sock)
            assert self.drive(conn, len(words)) == words
            assert tls.connection.session_reused is resumed
            conn.close()
            conn.close()

    def test_both_sides_in_one_loop(self, tls, server_identity):
        ends = socket.socketpair()
        client = SelectorConnection(tls, ends[0])
        server = SelectorConnection(serving(server_identity), ends[1])
        while not (client.tls.is_connected and server.tls.is_connected):
            client.ready()
            server.ready()
        server.send(b"first")
        server.tls.close()
        server.ready(selectors.EVENT_WRITE)
        received = b""
        while not client.at_end:
            received += client.ready()
        assert received == b"first"
        assert client.ready() == b""
        client.close()
        server.close()

    def test_a_peer_that_drops(self, tls, server_identity):
        ends = socket.socketpair()
        client = SelectorConnection(tls, ends[0])
        ends[1].close()
        with pytest.raises((ssl.SSLEOFError, OSError)):
            client.ready()
        client.close()
