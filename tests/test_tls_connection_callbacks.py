"""Callbacks of a TLSConnection that close it, begin the next connection, raise, or use it before it is accepted."""

from __future__ import annotations

import ssl

import pytest

from helpers.tls import attempt, carry, exchange, serving
from sslsession import CertificateRefused, TLSConnection


@pytest.fixture
def server(server_identity):
    return serving(server_identity)


def test_what_on_handshake_closes_hands_over_nothing_more(client12, server):
    """The server's first words come in the same piece as the end of its handshake."""
    conn = TLSConnection(
        "localhost", context=client12, on_handshake=lambda connection, error: connection.close()
    )
    conn.connect()
    server.accept()
    while not server.is_connected:
        server.receive_data(conn.data_to_send())
        if not server.is_connected:
            conn.receive_data(server.data_to_send())
    server.send(b"words")
    assert conn.receive_data(server.data_to_send()) == b""
    assert not conn.is_connected


def test_on_handshake_reconnects_after_a_failure(client, server):
    """The failure is that of the connection before, whose call raises it."""
    failures = []

    def again(connection, error):
        if error is not None:
            failures.append(error)
            connection.close()
            connection.connect()

    conn = TLSConnection(
        "localhost", context=client, validators=[lambda certificate: bool(failures)], on_handshake=again
    )
    with pytest.raises(CertificateRefused) as caught:
        attempt(conn, server)
    assert failures == [caught.value]
    other = server.another()
    other.accept()
    carry(conn, other)
    assert exchange(conn, other) == (b"pong", b"ping")


def test_on_handshake_reconnects_after_the_end_of_its_peer(client, server):
    def again(connection, error):
        if error is not None:
            connection.close()
            connection.connect()

    conn = TLSConnection("localhost", context=client, on_handshake=again)
    conn.connect()
    conn.data_to_send()
    with pytest.raises(ssl.SSLEOFError):
        conn.receive_data(b"")
    server.accept()
    carry(conn, server)
    assert exchange(conn, server) == (b"pong", b"ping")


def test_on_handshake_that_raises_at_the_end_of_its_peer_leaves_a_failed_connection(client):
    conn = TLSConnection("localhost", context=client, on_handshake=lambda *_: 1 // 0)
    conn.connect()
    with pytest.raises(ZeroDivisionError):
        conn.receive_data(b"")
    for call in (conn.receive_data, lambda: conn.send(b"x")):
        with pytest.raises(ssl.SSLEOFError):
            call()


def test_a_validator_that_uses_its_connection_gets_and_sends_nothing(client12, server):
    got, raised = [], []

    def judge(certificate):
        try:
            certificate.connection.send(b"secret")
        except Exception as error:
            raised.append(error)
        got.append(certificate.connection.receive_data())
        return True

    conn = TLSConnection("localhost", context=client12, validators=[judge])
    conn.connect()
    server.accept()
    while not server.is_connected:
        server.receive_data(conn.data_to_send())
        if not server.is_connected:
            conn.receive_data(server.data_to_send())
    server.send(b"words")
    with pytest.raises(CertificateRefused):
        conn.receive_data(server.data_to_send())
    assert got == []
    assert raised
    assert not conn.is_connected
    assert b"secret" not in conn.data_to_send()
