"""Large pieces of ciphertext, which take the short way: nothing is lost, and nothing is read twice."""

from __future__ import annotations

import ssl
import threading

import pytest

from helpers.children import run_python
from helpers.sessions import GARBAGE_RECORD
from helpers.tls import exchange, join, serving
from sslsession import SessionError, TLSConnection

pytestmark = pytest.mark.binding
DATA = bytes(range(256)) * 4096


@pytest.fixture
def pair(client, server_identity):
    """Client and server, connected; the client has read its tickets."""
    conn, server = TLSConnection("localhost", context=client), serving(server_identity)
    join(conn, server)
    return conn, server


@pytest.mark.parametrize("size", [16383, 16406, 65536, 100_003, 10**7])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_pieces_of_any_size_and_kind(pair, size, kind):
    conn, server = pair
    server.send(DATA)
    sent = server.data_to_send()
    received = b""
    for at in range(0, len(sent), size):
        piece = bytearray(sent[at : at + size])
        received += conn.receive_data(kind(piece))
        piece[:] = bytes(len(piece))  # whose memory it was can use it again
    assert received == DATA
    assert exchange(conn, server) == (b"pong", b"ping")


def test_the_rest_of_a_record_comes_as_a_small_piece_or_a_large_one(pair):
    conn, server = pair
    server.send(DATA)
    sent = server.data_to_send()
    received, at = b"", 0
    for size in (70_000, 10, 3, 70_000, 1, 70_001, 70_000, 5, len(sent)):
        received += conn.receive_data(sent[at : at + size])
        at += size
    assert received == DATA


def test_close_notify_in_a_large_piece(pair):
    conn, server = pair
    server.send(DATA)
    server.close()
    assert conn.receive_data(server.data_to_send() + GARBAGE_RECORD) == DATA
    assert conn.peer_closed
    assert conn.receive_data(DATA) == b""
    conn.send(b"thank you")
    conn.close()


def test_an_error_in_a_large_piece(pair):
    conn, server = pair
    server.send(DATA)
    sent = bytearray(server.data_to_send())
    sent[-10] ^= 1
    whole = conn.receive_data(sent)
    assert DATA.startswith(whole)
    assert len(whole) == len(DATA) - 16384
    with pytest.raises(ssl.SSLError):
        conn.receive_data(b"more")
    conn.close()


def test_a_piece_for_each_record(pair):
    conn, server = pair
    server.send(DATA)
    parts = conn.receive_records(server.data_to_send())
    assert b"".join(parts) == DATA
    assert set(map(len, parts)) == {16384}
    assert conn.receive_records() == []


def test_an_interrupt_is_not_swallowed_and_ends_the_connection(pair):
    """What was read already is lost, so nothing may follow it."""
    conn, server = pair
    server.send(DATA)
    real, calls = conn._read, []

    def read(size):
        calls.append(size)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(size)

    conn._read = read
    with pytest.raises(KeyboardInterrupt):
        conn.receive_data(server.data_to_send())
    for _ in range(2):
        with pytest.raises(SessionError, match="KeyboardInterrupt interrupted"):
            conn.receive_data(b"more")


def test_what_somebody_left_comes_before_a_large_piece(pair):
    conn, server = pair
    server.send(b"left")
    conn._incoming.write(server.data_to_send())
    server.send(DATA)
    assert conn.receive_data(server.data_to_send()) == b"left" + DATA


def test_threads_that_take_turns(pair):
    conn, server = pair
    lock, received = threading.Lock(), bytearray()
    server.send(DATA * 4)
    sent = server.data_to_send()
    pieces = iter([sent[at : at + 100_000] for at in range(0, len(sent), 100_000)])

    def receive() -> None:
        while True:
            with lock:
                piece = next(pieces, None)
                if piece is None:
                    return
                received.extend(conn.receive_data(piece))

    threads = [threading.Thread(target=receive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert received == DATA * 4


def test_the_benchmark_runs():
    """It is the figures' source; how fast this machine is just now is nobody's business."""
    done = run_python(
        "from sslsession.bench import throughput\nif __name__ == '__main__': throughput.main(['2', '1'])"
    )
    assert "sending: " in done.stdout
    assert "receiving: " in done.stdout
