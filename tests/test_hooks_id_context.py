"""The session id context: what a verifying server needs to resume, and what `ssl` gives each of its connections."""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.openssl_calls import cached, unbound
from helpers.peers import Pair, client_context, connect, server_context
from sslsession._borrow import borrow
from sslsession._libssl import ffi

pytestmark = pytest.mark.binding


def by_id(identity: Identity, version: str, client_ca: Authority) -> ssl.SSLContext:
    return server_context(identity, version=version, session_tickets=False, tickets=1, client_ca=client_ca)


def without_id_context(conn: ssl.SSLObject) -> None:
    assert unbound("SSL_set_session_id_context", borrow(conn).ssl, ffi.NULL, 0)


def test_fact_27_a_verifying_server_without_an_id_context_fails_a_resumption(
    ca: Authority, server_identity: Identity, client_identity: Identity
) -> None:
    """The internal cache does not even take such sessions; a ticket brings one back."""
    client = client_context(ca, version="1.2", identity=client_identity)
    server = server_context(server_identity, version="1.2", client_ca=ca)
    with Pair(client, server, prepare_server=without_id_context) as first:
        session = sslsession.get_session(first.client)
    assert session is not None
    pair = Pair(
        client,
        server,
        prepare=lambda conn: sslsession.set_session(conn, session),
        prepare_server=without_id_context,
    )
    with pytest.raises(ssl.SSLError, match=r"(?i)session.id.context.uninitialized"):
        pair.handshake()


def test_fact_27_a_verifying_server_keeps_no_session_without_an_id_context(
    ca: Authority, server_identity: Identity, client_identity: Identity, tls_version: str
) -> None:
    client = client_context(ca, identity=client_identity)
    server = by_id(server_identity, tls_version, ca)
    made: list[sslsession.Session] = []
    with sslsession.SessionHooks(server, new=lambda conn, session: made.append(session)):
        connect(client, server, prepare_server=without_id_context).close()
    assert (made, cached(server)) == ([], 0)


def test_fact_27_ssl_gives_each_server_s_connection_one(
    ca: Authority, server_identity: Identity, client_identity: Identity, tls_version: str
) -> None:
    client = client_context(ca, identity=client_identity)
    server = by_id(server_identity, tls_version, ca)
    made: list[sslsession.Session] = []
    with sslsession.SessionHooks(server, new=lambda conn, session: made.append(session)):
        pair = connect(client, server)
        session = sslsession.get_session(pair.client)
        pair.close()
    assert session is not None
    assert made[0].id_context.rstrip(b"\0") == b"Python"
    again = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
    assert again.client.session_reused
    again.close()
