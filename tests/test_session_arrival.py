"""When a session is there: facts 6 to 9."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.peers import Pair, SocketPair, client_context, connect, server_context
from helpers.sessions import context_handle, resumes, session_of, take
from sslsession import Session, SessionHooks
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding


def test_fact_06_a_tls13_client_is_not_resumable_before_its_first_ticket(
    ca: Authority, server_identity: Identity
) -> None:
    pair = Pair(client_context(ca, version="1.3"), server_context(server_identity)).handshake()
    early = session_of(pair.client)
    assert not early.is_resumable
    assert early.id == b""
    assert early.ticket is None
    assert early.lifetime_hint is None
    assert early.ticket_expiry_time is None
    pair.exchange()
    late = session_of(pair.client)
    assert late.is_resumable
    assert len(late.id) == 32
    assert late.ticket
    assert late.master_secret != early.master_secret
    assert not early.is_resumable, "a Session's values never change"
    pair.close()


def test_fact_06_over_sockets_the_ticket_comes_with_the_first_read(
    ca: Authority, server_identity: Identity
) -> None:
    with SocketPair(client_context(ca, version="1.3"), server_context(server_identity)) as pair:
        assert not session_of(pair.client).is_resumable
        pair.exchange()
        assert session_of(pair.client).is_resumable


def test_fact_06_a_tls12_client_is_resumable_once_the_handshake_is_done(
    ca: Authority, server_identity: Identity
) -> None:
    for tickets in (True, False):
        server = server_context(server_identity, session_tickets=tickets)
        pair = Pair(client_context(ca, version="1.2"), server).handshake()
        session = session_of(pair.client)
        assert session.is_resumable
        assert len(session.id) == 32
        assert bool(session.ticket) is tickets
        pair.close()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_fact_07_each_ticket_comes_to_the_hook_and_resumes(
    ca: Authority, server_identity: Identity, count: int
) -> None:
    client, server = client_context(ca, version="1.3"), server_context(server_identity, tickets=count)
    came: list[Session] = []
    with SessionHooks(client, new=lambda conn, session: came.append(session)):
        pair = connect(client, server)
        last = session_of(pair.client)
        pair.close()
    assert len(came) == count
    assert len({session.ticket for session in came}) == count
    assert last.ticket == came[-1].ticket
    assert [resumes(client, server, session) for session in came] == [True] * count


def test_fact_08_tls12_tells_inside_the_handshake_and_tls13_inside_a_read(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client = client_context(ca, version=tls_version)
    doing: list[str] = []
    came: list[tuple[str, Any]] = []
    with SessionHooks(client, new=lambda conn, session: came.append((doing[-1], conn))):
        pair = Pair(client, server_context(server_identity, tickets=1))
        doing.append("handshake")
        pair.handshake()
        doing.append("read")
        pair.exchange()
        assert came == [("handshake" if tls_version == "1.2" else "read", pair.client)]
        pair.close()


def test_fact_09_a_tls13_server_without_tickets_is_never_resumable(
    ca: Authority, server_identity: Identity
) -> None:
    client, server = client_context(ca, version="1.3"), server_context(server_identity, tickets=0)
    came: list[Session] = []
    with SessionHooks(client, new=lambda conn, session: came.append(session)):
        pair = connect(client, server)
        pair.exchange(b"more")
        session = session_of(pair.client)
        pair.close()
    assert came == []
    assert not session.is_resumable
    with pytest.raises(sslsession.InvalidSession, match="neither an id nor a ticket"):
        resumes(client, server, session)


def test_fact_09_a_tls12_server_that_keeps_nothing_is_never_resumable(
    ca: Authority, server_identity: Identity
) -> None:
    server = server_context(server_identity, session_tickets=False)
    lib.SSL_CTX_ctrl(
        context_handle(server), 44, 0, ffi.NULL
    )  # SSL_CTX_set_session_cache_mode(SSL_SESS_CACHE_OFF)
    client = client_context(ca, version="1.2")
    session = take(client, server)
    assert session.ticket is None
    assert session.id == b"" or not resumes(client, server, session)


def test_a_resumed_connection_has_a_session_too(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    first = take(client, server)
    pair = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, first))
    assert pair.client.session_reused
    second = session_of(pair.client)
    assert second.is_resumable
    assert (second.ticket == first.ticket) is (tls_version == "1.2")
    assert (second.master_secret == first.master_secret) is (tls_version == "1.2")
    assert second.peer_certificate_chain == first.peer_certificate_chain
    pair.close()
    assert resumes(client, server, second)


def test_nothing_of_this_changes_what_ssl_says(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    pair = connect(client_context(ca, version=tls_version), server_context(server_identity))
    session = session_of(pair.client)
    own = pair.client.session
    assert isinstance(own, ssl.SSLSession)
    assert bytes(own.id) == session.id
    assert own.time == session.time
    assert own.timeout == session.timeout
    assert own.ticket_lifetime_hint == session.lifetime_hint
    assert own.has_ticket == (session.ticket is not None)
    pair.close()
