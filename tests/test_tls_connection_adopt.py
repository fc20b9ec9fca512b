"""adopt: a TLSConnection goes on with an SSLObject that somebody else established."""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.contexts import client_context, server_context
from helpers.memory import Pair, connect
from helpers.peers import SocketPair
from helpers.tls import WRONG_PIN, attempt, join, pin_of, serving
from sslsession import CertificateRefused, MaxBufferSize, SessionError, TLSConnection, get_session

pytestmark = pytest.mark.binding


@pytest.fixture
def pair(client, server):
    """Two SSLObjects that have shaken hands."""
    return Pair(client, server).handshake()


def test_both_sides_can_be_adopted(pair):
    client, server = TLSConnection(), TLSConnection()
    client.adopt(pair.client)
    server.adopt(pair.server)
    assert client.is_connected
    assert server.is_connected
    assert not client.server_side
    assert server.server_side
    assert client.server_hostname == "localhost"
    assert client.context is pair.client.context
    for size in (1, 100_000):
        client.send(bytes(size))
        assert server.receive_data(client.data_to_send()) == bytes(size)


def test_what_waits_is_read_with_what_comes(pair):
    pair.server.write(b"before")
    conn = TLSConnection()
    conn.adopt(pair.client)
    pair.server.write(b" and after")
    received = pair.to_client.read()
    assert conn.receive_data(received) == b"before and after"
    assert conn.data_to_send(0) == b""
    conn.send(b"answer")
    assert pair.server.read(100) == b"answer"


def test_what_waits_is_read_where_nothing_comes(pair):
    pair.server.write(b"before")
    conn = TLSConnection()
    conn.adopt(pair.client)
    assert conn.receive_data() == b"before"
    assert conn.receive_data() == b""
    assert conn.is_connected


def test_its_end(pair):
    conn = TLSConnection()
    conn.adopt(pair.client)
    with pytest.raises(ssl.SSLEOFError):
        conn.receive_data(b"")


def test_its_close(pair):
    conn = TLSConnection()
    conn.adopt(pair.client)
    get_session(conn)
    conn.close()
    assert pair.server.read(1) == b""
    with pytest.raises(SessionError, match="closed"):
        conn.send(b"more")


def test_validators_run_at_once(client, server_identity):
    server = server_context(server_identity)
    told = []
    conn = TLSConnection(validators=[pin_of(server_identity)], on_handshake=lambda *each: told.append(each))
    conn.adopt(connect(client, server).client)
    assert told == [(conn, None)]
    refused = TLSConnection(validators=[WRONG_PIN], on_handshake=lambda *each: told.append(each))
    with pytest.raises(CertificateRefused) as caught:
        refused.adopt(connect(client, server).client)
    assert told[1:] == [(refused, caught.value)]
    assert not refused.is_connected
    with pytest.raises(CertificateRefused):
        refused.receive_data(b"x")


def test_what_nothing_verified_is_refused(lax, server, server_identity):
    pair = connect(lax, server)
    with pytest.raises(ValueError, match="nothing verified"):
        TLSConnection().adopt(pair.client)
    TLSConnection(validators=[pin_of(server_identity)]).adopt(pair.client)
    TLSConnection(insecure=True).adopt(connect(lax, server).client)


def test_what_cannot_be_adopted(client, server, pair):
    for wrong in (None, object(), client):
        with pytest.raises(TypeError, match=r"ssl\.SSLObject"):
            TLSConnection().adopt(wrong)
    with pytest.raises(SessionError, match="end its handshake first"):
        TLSConnection().adopt(Pair(client, server).client)
    begun = TLSConnection("localhost", context=client)
    begun.connect()
    with pytest.raises(SessionError, match="make a new one"):
        begun.adopt(pair.client)
    with SocketPair(client, server) as sockets, pytest.raises(TypeError):
        TLSConnection().adopt(sockets.client)


def test_a_buffer_size_holds_for_what_is_received(pair):
    conn = TLSConnection(max_buffer_size=MaxBufferSize.B512)
    conn.adopt(pair.client)
    pair.server.write(bytes(600))
    with pytest.raises(ssl.SSLError, match="max_buffer_size"):
        conn.receive_data(pair.to_client.read())


def test_a_buffer_size_holds_for_what_is_sent(pair):
    conn = TLSConnection(max_buffer_size=MaxBufferSize.B512)
    conn.adopt(pair.client)
    conn.send(bytes(5000))
    sent = conn.data_to_send()
    assert int.from_bytes(sent[3:5], "big") <= 512 + 64
    pair.to_server.write(sent)
    assert pair.server.read(5000) == bytes(512)


def test_with_validators_nobody_renegotiates_to_a_certificate_that_they_did_not_see(
    ca, client12, server_identity
):
    """The other one is of the same authority and name, so that the context finds nothing wrong with it."""
    pair = Pair(client12, server_context(server_identity, version="1.2")).handshake()
    conn = TLSConnection(validators=[pin_of(server_identity)])
    conn.adopt(pair.client)
    pair.server.context = server_context(ca.issue("localhost"), version="1.2")
    sslsession.renegotiate(pair.server)
    assert conn.receive_data(pair.to_client.read()) == b""
    pair.to_server.write(conn.data_to_send())
    with pytest.raises(ssl.SSLError, match=r"(?i)no.renegotiation"):
        pair.server.read(1)
    assert conn.connection.getpeercert(True) == server_identity.leaf_der


def test_what_belongs_to_a_connection_is_not_adopted_by_another(client, server_identity):
    """Else the second would have the plaintext that the first one's validators hold back."""
    conn, refused = (
        TLSConnection("localhost", context=client, validators=validators) for validators in ((), (WRONG_PIN,))
    )
    join(conn, server := serving(server_identity))
    with pytest.raises(CertificateRefused):
        attempt(refused, server.another())
    for each in (conn, refused):
        with pytest.raises(SessionError, match="already"):
            TLSConnection().adopt(each.connection)


def test_a_resumed_one_is_verified_only_if_what_it_resumes_was(server):
    """ssl resumes what was earned under CERT_NONE where the context has become strict since."""
    context = client_context(version="1.2", verify=False)
    earned = connect(context, server).client.session
    context.verify_mode = ssl.CERT_REQUIRED
    pair = Pair(context, server, session=earned).handshake()
    assert pair.client.session_reused
    with pytest.raises(ValueError, match="nothing verified"):
        TLSConnection().adopt(pair.client)
    conn = TLSConnection(insecure=True)
    conn.adopt(pair.client)
    assert conn.validate_certificate() is False
