"""The drivers where something ends as nobody planned it: closed in between, refused, silent, given the wrong thing."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from helpers.contexts import client_context
from helpers.tls import serving
from sslsession import SessionError, TLSConnection
from sslsession.drivers import AsyncConnection, BlockingConnection, SelectorConnection

TIMEOUT = 20.0
CLOSING = {"on_handshake": lambda connection, error: connection.close()}


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets, joined."""
    both = socket.socketpair()
    yield both
    for each in both:
        each.close()


def client_of(ca, **settings) -> TLSConnection:
    return TLSConnection("localhost", context=client_context(ca), **settings)


def verifies_nothing() -> TLSConnection:
    """One whose connect() is refused."""
    return TLSConnection("localhost", context=client_context(verify=False))


def served(server: BlockingConnection, sock: socket.socket) -> threading.Thread:
    """Accepts in a thread, and closes after its client."""

    def serve() -> None:
        with contextlib.suppress(OSError), server.accept(sock):
            server.recv()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", [BlockingConnection, AsyncConnection, SelectorConnection])
def test_what_is_no_tls_connection(kind, ends):
    arguments = [ends[0]] if kind is SelectorConnection else []
    with pytest.raises(TypeError, match="takes a TLSConnection"):
        kind("www.python.org", *arguments)


class TestBlocking:
    def test_a_callback_that_closes_ends_the_call(self, ca, server_identity, ends):
        thread = served(BlockingConnection(serving(server_identity), timeout=TIMEOUT), ends[1])
        conn = BlockingConnection(client_of(ca, **CLOSING), timeout=TIMEOUT)
        with pytest.raises(SessionError, match="was closed"):
            conn._adopt(ends[0], None, accepted=False)
        assert conn.sock is None
        thread.join()

    def test_a_tls_connection_that_was_closed_receives_no_more(self, ca, server_identity, ends):
        thread = served(BlockingConnection(serving(server_identity), timeout=TIMEOUT), ends[1])
        conn = BlockingConnection(client_of(ca), timeout=TIMEOUT)
        conn._adopt(ends[0], None, accepted=False)
        conn.tls.close()
        with pytest.raises(SessionError, match="was closed"):
            conn.recv()
        conn.close()
        thread.join()

    def test_settings_that_are_refused_close_the_socket(self, ends):
        with pytest.raises(ValueError, match="verifies nothing"):
            BlockingConnection(verifies_nothing())._adopt(ends[0], None, accepted=False)
        assert ends[0].fileno() == -1

    def test_a_tls_connection_that_another_uses_is_left_alone(self, ca, server_identity, ends):
        thread = served(BlockingConnection(serving(server_identity), timeout=TIMEOUT), ends[1])
        conn = BlockingConnection(client_of(ca), timeout=TIMEOUT)
        conn._adopt(ends[0], None, accepted=False)
        others = socket.socketpair()
        with others[1], pytest.raises(SessionError, match="has begun"):
            BlockingConnection(conn.tls)._adopt(others[0], None, accepted=False)
        assert conn.tls.is_connected
        conn.close()
        thread.join()

    def test_no_size_is_a_size_for_nothing(self, ca):
        conn = BlockingConnection(client_of(ca))
        conn._received.append(b"words")
        for size in (0, -1):
            with pytest.raises(ValueError, match="1 or more"):
                conn.recv(size)
        with pytest.raises(TypeError):
            conn.recv(None)
        assert conn.recv() == b"words"


class TestAsyncio:
    def run(self, main) -> None:
        asyncio.run(asyncio.wait_for(main, TIMEOUT))

    async def joined(self, client, server, ends) -> tuple[AsyncConnection, AsyncConnection]:
        reader, writer = await asyncio.open_connection(sock=ends[1])
        accepting = asyncio.ensure_future(AsyncConnection(server).accept(reader, writer))
        return await AsyncConnection(client).connect(None, None, sock=ends[0]), await accepting

    def test_a_callback_that_closes_ends_the_call(self, ca, server_identity, ends):
        async def main():
            reader, writer = await asyncio.open_connection(sock=ends[1])
            server = AsyncConnection(serving(server_identity))
            accepting = asyncio.ensure_future(server.accept(reader, writer))
            with pytest.raises(SessionError, match="was closed"):
                await AsyncConnection(client_of(ca, **CLOSING)).connect(None, None, sock=ends[0])
            await asyncio.wait([accepting])
            await server.close()

        self.run(main())

    def test_settings_that_are_refused_close_the_socket(self, ends):
        async def main():
            with pytest.raises(ValueError, match="verifies nothing"):
                await AsyncConnection(verifies_nothing()).connect(None, None, sock=ends[0])
            while ends[0].fileno() != -1:
                await asyncio.sleep(0)

        self.run(main())

    @pytest.mark.parametrize("closing", [True, False])
    def test_a_peer_that_takes_nothing_keeps_nobody_who_gave_up(self, ca, server_identity, ends, closing):
        async def main():
            client, server = await self.joined(client_of(ca), serving(server_identity), ends)
            server._writer.transport.pause_reading()
            for each in ends:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            if closing:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.send(bytes(10_000_000)), 0.05)
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.close(), 0.05)
            else:
                with pytest.raises(asyncio.TimeoutError):
                    async with client:
                        await asyncio.wait_for(client.send(bytes(10_000_000)), 0.05)
            while ends[0].fileno() != -1:
                await asyncio.sleep(0)
            server._writer.transport.abort()

        self.run(main())

    def test_no_size_is_a_size_for_nothing(self, ca):
        with pytest.raises(ValueError, match="1 or more"):
            self.run(AsyncConnection(client_of(ca)).recv(0))


class TestSelectors:
    def joined(self, ca, server_identity, ends) -> tuple[SelectorConnection, SelectorConnection]:
        client = SelectorConnection(client_of(ca), ends[0])
        server = SelectorConnection(serving(server_identity), ends[1])
        while not (client.tls.is_connected and server.tls.is_connected):
            client.ready()
            server.ready()
        return client, server

    def test_at_the_end_it_waits_only_for_what_it_has_to_send(self, ca, server_identity, ends):
        """A socket at its end is readable for ever, so a loop that waits for that never rests."""
        client, server = self.joined(ca, server_identity, ends)
        server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server.send(bytes(1_000_000))
        client.tls.close()
        client.ready(selectors.EVENT_WRITE)
        while not server.at_end:
            server.ready(selectors.EVENT_READ)
        assert server.unsent
        assert server.events == selectors.EVENT_WRITE
        client.close()
        server.close()

    def test_at_the_end_after_its_own_close(self, ca, server_identity, ends):
        client, server = self.joined(ca, server_identity, ends)
        client.tls.close()
        client.ready(selectors.EVENT_WRITE)
        ends[1].shutdown(socket.SHUT_WR)
        while not client.at_end:
            assert client.ready(selectors.EVENT_READ) == b""
        client.close()
        server.close()

    def test_settings_that_are_refused_close_the_socket(self, ends):
        with pytest.raises(ValueError, match="verifies nothing"):
            SelectorConnection(verifies_nothing(), ends[0])
        assert ends[0].fileno() == -1
