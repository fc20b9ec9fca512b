"""Early data through TLSConnections: a context's caches allow it, and the functions take a TLSConnection."""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.contexts import client_context, server_context
from helpers.tls import WRONG_PIN, carry, join, part, pin_of
from sslsession import ClientSessionCache, EarlyData, ServerSessionCache, SessionError, TLSConnection

MOST = 1000


@pytest.fixture
def context(server_identity, ca):
    """A server's that accepts early data, and may ask clients for a certificate."""
    made = server_context(server_identity, version="1.3", client_ca=ca, require_client=False)
    ServerSessionCache(max_early_data=MOST).attach(made)
    return made


@pytest.fixture
def conn(ca, context, client_identity):
    """A client that has been there once."""
    made = client_context(ca, version="1.3", identity=client_identity)
    ClientSessionCache(early_data=True).attach(made)
    conn, server = TLSConnection("localhost", context=made), TLSConnection(server_side=True, context=context)
    join(conn, server)
    part(conn, server)
    return conn


def serve(context, **settings) -> TLSConnection:
    return TLSConnection(server_side=True, context=context, **settings)


def test_written_and_read_before_the_handshake_is_done(conn, context):
    server = serve(context)
    conn.connect()
    assert sslsession.write_early_data(conn, b"GET /") == 5
    server.accept(early_data=True)
    assert server.receive_data(conn.data_to_send()) == b""
    assert sslsession.read_early_data(server) == b"GET /"
    assert not server.is_connected
    assert conn.receive_data(server.data_to_send()) == b""
    assert conn.is_connected
    server.receive_data(conn.data_to_send())
    assert sslsession.read_early_data(server) == b""
    assert server.receive_data() == b""
    assert server.is_connected
    assert sslsession.early_data_status(conn) is EarlyData.ACCEPTED
    server.send(b"answer")
    assert carry(conn, server)[0] == b"answer"


def test_waiting_for_the_handshake_returns_it_at_the_end(conn, context):
    server = serve(context)
    conn.connect()
    sslsession.write_early_data(conn, b"POST /")
    server.accept(early_data=True)
    server.receive_data(conn.data_to_send())
    with pytest.raises(ssl.SSLWantReadError):
        sslsession.wait_for_handshake(server)
    conn.receive_data(server.data_to_send())
    server.receive_data(conn.data_to_send())
    conn.send(b" and more")
    server._incoming.write(conn.data_to_send())
    assert sslsession.wait_for_handshake(server) == b"POST /"
    assert server.is_connected
    assert server.receive_data() == b" and more"


def test_send_replayable_is_called_until_it_returns(conn, context):
    server = serve(context)
    conn.connect()
    with pytest.raises(ssl.SSLWantReadError):
        sslsession.send_replayable(conn, b"GET /")
    server.accept()
    received = carry(conn, server)[1]
    assert sslsession.send_replayable(conn, b"GET /") is EarlyData.REJECTED
    assert received + carry(conn, server)[1] == b"GET /"


def test_a_server_that_does_not_ask_for_it_rejects_it(conn, context):
    server = serve(context)
    conn.connect()
    sslsession.write_early_data(conn, b"GET /")
    server.accept()
    assert carry(conn, server) == (b"", b"")
    assert sslsession.early_data_status(conn) is EarlyData.REJECTED
    assert conn.connection.session_reused


@pytest.mark.parametrize("accepted", [True, False])
def test_validators_of_a_server_see_the_client_before_early_data_is_handed_over(
    conn, context, client_identity, server_identity, accepted
):
    server = serve(context, validators=[pin_of(client_identity if accepted else server_identity)])
    conn.connect()
    assert sslsession.write_early_data(conn, b"GET /") == 5
    server.accept(early_data=True)
    server.receive_data(conn.data_to_send())
    with pytest.raises(SessionError, match="wait_for_handshake"):
        sslsession.read_early_data(server)
    with pytest.raises(ssl.SSLWantReadError):
        sslsession.wait_for_handshake(server)
    with pytest.raises(SessionError, match="wait_for_handshake"):
        sslsession.write_early_data(server, b"an answer")
    conn.receive_data(server.data_to_send())
    server.receive_data(conn.data_to_send())
    if accepted:
        assert sslsession.wait_for_handshake(server) == b"GET /"
    else:
        with pytest.raises(sslsession.CertificateRefused):
            sslsession.wait_for_handshake(server)


def test_a_client_with_validators_sends_none_in_a_session_earned_without(conn, context, server_identity):
    pinned = TLSConnection("localhost", context=conn.context, validators=[pin_of(server_identity)])
    pinned.connect()
    assert sslsession.write_early_data(pinned, b"GET /") == 0


@pytest.mark.parametrize("accepted", [True, False])
def test_a_client_with_validators_sends_none_in_a_session_that_others_let_in(
    conn, context, server_identity, accepted
):
    """It goes to whoever has the session, before this connection's validators see the server."""
    first = TLSConnection("localhost", context=conn.context, validators=[lambda certificate: True])
    join(first, server := serve(context))
    part(first, server)
    pins = [pin_of(server_identity) if accepted else WRONG_PIN]
    pinned, server = TLSConnection("localhost", context=conn.context, validators=pins), serve(context)
    pinned.connect()
    assert sslsession.write_early_data(pinned, b"GET /") == (5 if accepted else 0)
    assert (sslsession.why_not_early(pinned) is sslsession.EarlyReason.NOT_VALID) is not accepted
    server.accept(early_data=True)
    server.receive_data(pinned.data_to_send())
    assert sslsession.read_early_data(server) == (b"GET /" if accepted else b"")
    if not accepted:
        with pytest.raises(sslsession.CertificateRefused):
            carry(pinned, server)
