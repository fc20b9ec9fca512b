"""How a TLSConnection ends, by either side, in order or not; and what peers may do in the middle."""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.contexts import server_context
from helpers.memory import Pair
from helpers.sessions import GARBAGE_RECORD
from helpers.tls import carry, exchange, join, part, pin_of, resumed, serving
from sslsession import SessionError, TLSConnection
from sslsession._libssl import lib


@pytest.fixture
def pair(client, server_identity):
    """Client and server, connected."""
    conn, server = TLSConnection("localhost", context=client), serving(server_identity)
    join(conn, server)
    return conn, server


def test_the_end_without_close_notify_is_an_error(pair):
    conn, server = pair
    server.send(b"last words")
    assert conn.receive_data(server.data_to_send()) == b"last words"
    assert not conn.peer_closed
    for _ in range(2):
        with pytest.raises(ssl.SSLEOFError):
            conn.receive_data(b"")
    assert not conn.is_connected
    with pytest.raises(ssl.SSLEOFError):
        conn.send(b"more")
    conn.close()
    assert conn.receive_data(b"") == b""


def test_the_end_inside_a_record_is_an_error(pair):
    conn, server = pair
    server.send(b"x" * 100)
    assert conn.receive_data(server.data_to_send()[:-1]) == b""
    with pytest.raises(ssl.SSLEOFError):
        conn.receive_data(b"")


@pytest.mark.parametrize("side", ["client", "server"])
def test_the_end_inside_the_handshake_is_an_error(client, server_identity, side):
    told = []
    conn = TLSConnection("localhost", context=client, on_handshake=lambda *each: told.append(each[1]))
    server = serving(server_identity, on_handshake=lambda *each: told.append(each[1]))
    conn.connect()
    server.accept()
    server.receive_data(conn.data_to_send())
    with pytest.raises(ssl.SSLEOFError) as caught:
        (conn if side == "client" else server).receive_data(b"")
    assert told == [caught.value]


def test_a_connection_that_lost_its_peer_resumes_the_next_time(client, server_identity):
    server = serving(server_identity)
    conn = TLSConnection("localhost", context=client)
    join(conn, server.another())
    with pytest.raises(ssl.SSLEOFError):
        conn.receive_data(b"")
    conn.close()
    assert resumed(conn, server.another())


def test_half_closed_by_the_peer_it_can_still_send(pair):
    conn, server = pair
    server.send(b"all")
    server.close()
    data = server.data_to_send()
    assert conn.receive_data(data) == b"all"
    assert conn.peer_closed
    assert conn.is_connected
    assert conn.receive_data(b"") == b""
    conn.send(b"thank you")
    assert server.receive_data(conn.data_to_send()) == b""  # it has closed, so this is dropped
    conn.close()
    assert not conn.is_connected


def test_data_after_the_peers_close_notify_is_dropped(pair):
    """RFC 8446 6.1."""
    conn, server = pair
    server.close()
    conn.receive_data(server.data_to_send())
    for data in (b"\x17\x03\x03\x00\x05hello", GARBAGE_RECORD):
        assert conn.receive_data(data) == b""
    assert conn.is_connected


def test_data_in_the_piece_of_the_close_notify_is_dropped(pair):
    conn, server = pair
    server.send(b"before")
    server.close()
    assert conn.receive_data(server.data_to_send() + GARBAGE_RECORD) == b"before"
    assert conn.peer_closed
    part(conn, server)


def test_data_after_close_is_dropped(pair):
    conn, server = pair
    server.send(b"too late")
    conn.close()
    assert conn.receive_data(server.data_to_send()) == b""
    with pytest.raises(SessionError, match="closed"):
        conn.send(b"more")


def test_closing_in_the_middle_of_the_handshake(client, server_identity):
    conn, server = TLSConnection("localhost", context=client), serving(server_identity)
    conn.connect()
    conn.data_to_send()
    conn.close()
    conn.close()
    assert conn.data_to_send() == b""
    join(conn, server)


def test_closing_what_never_began_does_nothing(client):
    conn = TLSConnection("localhost", context=client)
    conn.close()
    assert conn.connect()


def test_nothing_is_sent_before_the_handshake_is_done(client):
    conn = TLSConnection("localhost", context=client)
    for _ in range(2):
        with pytest.raises(SessionError, match="not through its handshake"):
            conn.send(b"x")
        conn.connect() if conn.connection is None else None


def test_what_came_whole_is_returned_before_the_error(pair):
    conn, server = pair
    server.send(b"whole")
    assert conn.receive_data(server.data_to_send() + GARBAGE_RECORD) == b"whole"
    alert = conn.data_to_send()
    assert alert
    for _ in range(2):
        with pytest.raises(ssl.SSLError) as caught:
            conn.receive_data(b"more")
    assert caught.value.errno == ssl.SSL_ERROR_SSL
    with pytest.raises(ssl.SSLError):
        server.receive_data(alert)


def test_what_is_no_bytes(pair):
    conn, server = pair
    for wrong in ("text", 5, [1]):
        for call in (conn.receive_data, conn.send):
            with pytest.raises(TypeError):
                call(wrong)
    assert exchange(conn, server) == (b"pong", b"ping")


def test_all_kinds_of_bytes(pair):
    conn, server = pair
    for kind in (bytes, bytearray, memoryview):
        assert conn.send(kind(b"four")) == 4
        assert server.receive_data(kind(conn.data_to_send())) == b"four"
    assert conn.send(memoryview(b"four").cast("H")) == 4
    assert server.receive_data(conn.data_to_send()) == b"four"


def test_no_plaintext_is_no_record(pair):
    conn, _ = pair
    assert conn.send(b"") == 0
    assert conn.data_to_send() == b""


def test_ciphertext_in_pieces_of_a_size(pair):
    conn, server = pair
    conn.send(b"x" * 1000)
    received = b""
    while piece := conn.data_to_send(100):
        assert len(piece) <= 100
        received += server.receive_data(piece)
    assert received == b"x" * 1000


def test_ciphertext_byte_by_byte(client, server_identity):
    conn, server = TLSConnection("localhost", context=client), serving(server_identity)
    got = {conn: b"", server: b""}
    for _ in range(4):
        for source, target in ((conn, server), (server, conn)):
            for byte in source.data_to_send():
                got[target] += target.receive_data(bytes([byte]))
    assert conn.is_connected
    conn.send(b"x" * 20000)
    for byte in conn.data_to_send():
        got[server] += server.receive_data(bytes([byte]))
    assert got == {conn: b"", server: b"x" * 20000}


def test_a_megabyte_each_way(pair):
    conn, server = pair
    data = bytes(range(256)) * 4096
    for source, target in (pair, pair[::-1]):
        assert source.send(data) == len(data)
        assert target.receive_data(source.data_to_send()) == data
    assert exchange(conn, server) == (b"pong", b"ping")


def test_a_peer_that_sends_4_kb_fragments(client, server_identity):
    context = server_context(server_identity)
    conn = TLSConnection("localhost", context=client)
    server = TLSConnection(server_side=True, context=context, max_buffer_size=sslsession.MaxBufferSize.K4)
    join(conn, server)
    server.send(bytes(100_000))
    sent = server.data_to_send()
    assert int.from_bytes(sent[3:5], "big") <= 4096 + 64
    assert conn.receive_data(sent) == bytes(100_000)


@pytest.mark.parametrize("pinned", [False, True])
def test_a_request_for_renegotiation_is_refused_and_the_connection_goes_on(client12, server_identity, pinned):
    """Its peer could have another certificate then, that no validator saw."""
    settings = {"validators": [pin_of(server_identity)]} if pinned else {}
    if not pinned:
        client12.options |= ssl.OP_NO_RENEGOTIATION
    conn = TLSConnection("localhost", context=client12, **settings)
    context = server_context(server_identity, version="1.2")
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0)
    server = TLSConnection(server_side=True, context=context)
    join(conn, server)
    with pytest.raises(SessionError):
        sslsession.renegotiate(conn)
    lib.SSL_renegotiate(server._handle())
    server.connection.do_handshake()
    assert conn.receive_data(server.data_to_send()) == b""
    assert conn.is_connected
    conn.send(b"still here")
    with pytest.raises(ssl.SSLError, match=r"(?i)no.renegotiation"):
        server.receive_data(conn.data_to_send())


def test_where_the_context_allows_it_renegotiation_keeps_data_in_order(client12, server_identity):
    conn = TLSConnection("localhost", context=client12)
    context = server_context(server_identity, version="1.2")
    server = TLSConnection(server_side=True, context=context)
    join(conn, server)
    sslsession.renegotiate(server)
    assert conn.receive_data(server.data_to_send()) == b""
    assert conn.send(b"first") == 5
    assert conn.send(b"second") == 6
    assert carry(conn, server)[1] == b"firstsecond"
    assert exchange(conn, server) == (b"pong", b"ping")


def test_a_peer_of_plain_ssl(client, server, server_identity):
    """The other side is no TLSConnection."""
    pair = Pair(client, server)
    conn = TLSConnection("localhost", context=client)
    conn.connect()
    pair.to_server.write(conn.data_to_send())
    while not conn.is_connected:
        try:
            pair.server.do_handshake()
        except ssl.SSLWantReadError:
            pass
        conn.receive_data(pair.to_client.read())
        pair.to_server.write(conn.data_to_send())
    pair.server.do_handshake()
    pair.server.write(b"hello")
    assert conn.receive_data(pair.to_client.read()) == b"hello"
