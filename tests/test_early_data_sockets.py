"""Early data on SSLSockets: blocking, with a timeout that runs out, and non-blocking."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import struct
import time
from collections.abc import Iterator

import pytest

from helpers.certs import Authority, Identity
from helpers.early import ACCEPTED, NOT_SENT, REJECTED, REQUEST, Site
from helpers.sockets import SocketPair, aside, dial
from sslsession import (
    SessionError,
    early_data_status,
    read_early_data,
    send_replayable,
    wait_for_handshake,
    write_early_data,
)

pytestmark = pytest.mark.binding

LARGE = 8 * 2**20
"""More than the buffers of any socket hold."""


@pytest.fixture
def site(ca: Authority, server_identity: Identity) -> Iterator[Site]:
    site = Site(ca, server_identity, most=LARGE)
    yield site
    site.close()


@pytest.fixture
def pair(site: Site) -> Iterator[SocketPair]:
    # The socketpair has no peer's address: the name alone says whom the session is for.
    pair = SocketPair(site.client, site.server)
    yield pair
    pair.drop()


def read_whole(conn: ssl.SSLSocket, size: int) -> bytes:
    """All early data, then the handshake, then what is missing of `size` bytes."""
    got = bytearray()
    while piece := read_early_data(conn, 2**20):
        got += piece
    conn.do_handshake()
    while len(got) < size and (piece := conn.recv(2**20)):
        got += piece
    return bytes(got)


class TestBlocking:
    @pytest.fixture(autouse=True, params=[None, 20.0])
    def timeout(self, request: pytest.FixtureRequest, pair: SocketPair) -> None:
        for end in (pair.client, pair.server):
            end.settimeout(request.param)

    @pytest.mark.parametrize("size", [10, 100_000, LARGE])
    def test_accepted(self, pair: SocketPair, size: int) -> None:
        data = b"x" * size
        with aside(lambda: read_whole(pair.server, size)) as got:
            assert send_replayable(pair.client, data) is ACCEPTED
        assert got == [data]

    @pytest.mark.parametrize("size", [10, LARGE + 1])
    def test_more_than_is_allowed_arrives_after_the_handshake(self, pair: SocketPair, size: int) -> None:
        data = b"x" * size
        with aside(lambda: read_whole(pair.server, size)) as got:
            assert send_replayable(pair.client, data) is (ACCEPTED if size <= LARGE else NOT_SENT)
        assert got == [data]

    def test_rejected_it_is_sent_again(self, pair: SocketPair) -> None:
        def serve() -> bytes:
            pair.server.do_handshake()
            return pair.server.recv(100)

        with aside(serve) as got:
            assert send_replayable(pair.client, REQUEST) is REJECTED
        assert got == [REQUEST]

    def test_the_server_waits_for_the_handshake(self, pair: SocketPair) -> None:
        with aside(lambda: wait_for_handshake(pair.server)) as got:
            assert send_replayable(pair.client, REQUEST) is ACCEPTED
        assert got == [REQUEST]

    def test_an_answer_comes_before_the_handshake_is_done(self, pair: SocketPair) -> None:
        def serve() -> bytes:
            early = read_early_data(pair.server)
            write_early_data(pair.server, b"answer to " + early)
            return wait_for_handshake(pair.server)

        with aside(serve) as got:
            assert send_replayable(pair.client, REQUEST) is ACCEPTED
            assert pair.client.recv(100) == b"answer to " + REQUEST
        assert got == [b""]


class TestTimeout:
    def test_of_a_reader(self, pair: SocketPair) -> None:
        pair.server.settimeout(0.05)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="read operation timed out"):
            read_early_data(pair.server)
        assert 0.04 < time.monotonic() - began < 10

    def test_it_may_be_called_again(self, pair: SocketPair) -> None:
        pair.server.settimeout(0.01)
        for call in (read_early_data, wait_for_handshake):
            with pytest.raises(TimeoutError):
                call(pair.server)
        pair.server.settimeout(20)
        with aside(lambda: wait_for_handshake(pair.server)) as got:
            assert send_replayable(pair.client, REQUEST) is ACCEPTED
        assert got == [REQUEST]

    def test_of_a_writer_whose_peer_reads_nothing(self, pair: SocketPair) -> None:
        data = b"x" * LARGE
        pair.client.settimeout(0.05)
        with pytest.raises(TimeoutError, match="write operation timed out"):
            write_early_data(pair.client, data)
        with pytest.raises(SessionError, match="half done"):
            write_early_data(pair.client, data[1:])
        with pytest.raises(SessionError, match="half done"):
            write_early_data(pair.client, b"y" * LARGE)
        pair.client.settimeout(20)
        with aside(lambda: read_whole(pair.server, LARGE)) as got:
            assert write_early_data(pair.client, data) == LARGE
            assert write_early_data(pair.client, b"") == 0
            pair.client.do_handshake()
        assert got == [data]
        assert early_data_status(pair.client) is ACCEPTED

    def test_of_a_request(self, pair: SocketPair) -> None:
        data = b"x" * LARGE
        pair.client.settimeout(0.05)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                send_replayable(pair.client, data)
        with pytest.raises(SessionError, match="another request is half sent"):
            send_replayable(pair.client, data + b"x")
        pair.client.settimeout(20)
        with aside(lambda: read_whole(pair.server, LARGE)) as got:
            assert send_replayable(pair.client, data) is ACCEPTED
        assert got == [data]

    def test_of_a_server_that_answers(self, pair: SocketPair) -> None:
        """Its client reads nothing."""
        write_early_data(pair.client, REQUEST)
        assert read_early_data(pair.server) == REQUEST
        pair.server.settimeout(0.05)
        answer = b"x" * LARGE
        with pytest.raises(TimeoutError, match="write operation timed out"):
            write_early_data(pair.server, answer)
        with pytest.raises(SessionError, match="half done"):
            write_early_data(pair.server, b"other")


class TestNonBlocking:
    @pytest.fixture(autouse=True)
    def non_blocking(self, pair: SocketPair) -> None:
        for end in (pair.client, pair.server):
            end.setblocking(False)

    def test_a_reader_wants_to_read(self, pair: SocketPair) -> None:
        for call in (read_early_data, wait_for_handshake):
            with pytest.raises(ssl.SSLWantReadError):
                call(pair.server)

    def test_a_writer_wants_to_write(self, pair: SocketPair) -> None:
        for _ in range(2):
            with pytest.raises(ssl.SSLWantWriteError):
                write_early_data(pair.client, b"x" * LARGE)
        with pytest.raises(SessionError, match="half done"):
            write_early_data(pair.client, b"x")

    @pytest.mark.parametrize(
        ("size", "reads"),
        [
            *((size, True) for size in (10, 400_000, LARGE, LARGE + 1)),
            *((size, False) for size in (10, 400_000, LARGE, LARGE + 1)),
        ],
    )
    def test_step_by_step(self, pair: SocketPair, size: int, reads: bool) -> None:
        """Each byte arrives, and arrives once, whatever the server does with early data."""
        data, got, status = bytes(range(251)) * (size // 251 + 1), bytearray(), None
        data = data[:size]
        deadline = time.monotonic() + 30
        early = reads
        while status is None or len(got) < size:
            assert time.monotonic() < deadline
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if status is None:
                    status = send_replayable(pair.client, data)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                while early and (piece := read_early_data(pair.server, 2**20)):
                    got += piece
                early = False
                pair.server.do_handshake()
                while len(got) < size:
                    got += pair.server.recv(2**20)
        assert bytes(got) == data
        assert status is (NOT_SENT if size > LARGE else ACCEPTED if reads else REJECTED)


class TestPeersThatGo:
    def test_the_client_closes_at_once(self, pair: SocketPair) -> None:
        write_early_data(pair.client, REQUEST)
        pair.client.close()
        for call in (read_early_data, wait_for_handshake, ssl.SSLSocket.do_handshake):
            with pytest.raises((BrokenPipeError, ssl.SSLError)):
                call(pair.server)

    def test_the_client_never_says_a_word(self, pair: SocketPair) -> None:
        """Contexts of Python 3.9 take that for a close_notify."""
        pair.client.close()
        with pytest.raises((ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            read_early_data(pair.server)

    def test_the_server_is_gone(self, pair: SocketPair) -> None:
        pair.server.close()
        with pytest.raises(BrokenPipeError):
            write_early_data(pair.client, REQUEST)

    def test_the_server_resets(self, site: Site) -> None:
        """A socket that is closed with linger 0 says so to its peer."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            site.client.check_hostname = True

            def accept() -> None:
                conn, _ = listener.accept()
                conn.recv(1, socket.MSG_PEEK)
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                conn.close()

            with aside(accept):
                with pytest.raises(ConnectionError) as caught:
                    dial(
                        listener.getsockname()[1],
                        site.client,
                        prepare=lambda conn: send_replayable(conn, REQUEST),
                    )
        assert caught.value.errno in (errno.ECONNRESET, errno.EPIPE)

    def test_a_server_that_speaks_no_tls(self, pair: SocketPair) -> None:
        write_early_data(pair.client, REQUEST)
        socket.socket.send(pair.server, b"220 ready\r\n")
        with pytest.raises(ssl.SSLError):
            pair.client.do_handshake()

    def test_a_client_that_speaks_no_tls(self, pair: SocketPair) -> None:
        socket.socket.send(pair.client, REQUEST)
        with pytest.raises(ssl.SSLError, match=r"(?i)http.request|wrong.version") as caught:
            read_early_data(pair.server)
        assert caught.value.library == "SSL"
        assert caught.value.reason

    def test_a_closed_socket(self, pair: SocketPair) -> None:
        pair.client.close()
        for call in (early_data_status, wait_for_handshake, read_early_data):
            with pytest.raises(SessionError, match="no TLS connection"):
                call(pair.client)
        with pytest.raises(SessionError, match="no TLS connection"):
            send_replayable(pair.client, REQUEST)
