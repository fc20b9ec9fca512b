"""What a `Session` owns: facts 1 to 5, and that memory stays where it was."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Callable

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.memory_use import growth, needs_statm
from helpers.openssl_calls import openssl
from helpers.peers import Pair, SocketPair, client_context, connect, server_context
from helpers.sessions import (
    FIELDS,
    context_handle,
    handle,
    offering,
    resumes,
    session_of,
    take,
    values,
)
from sslsession import InvalidSession, Session
from sslsession._libssl import lib

pytestmark = pytest.mark.binding


def test_fact_01_there_is_no_session_before_the_handshake(ca: Authority, server_identity: Identity) -> None:
    for kind in (Pair, SocketPair):
        pair = kind(client_context(ca), server_context(server_identity))
        assert sslsession.get_session(pair.client) is None
        assert sslsession.get_session(pair.server) is None
        pair.drop()


def test_fact_01_a_session_in_the_middle_of_a_handshake_can_be_read(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    pair = Pair(client_context(ca, version=tls_version), server_context(server_identity))
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    session = session_of(pair.client)
    assert not session.is_resumable
    assert session.cipher_suite is None
    assert session.cipher_spec is None
    assert session.curve is None
    assert session.peer_certificate_chain == []
    assert "no suite" in repr(session)
    assert session.describe()
    for written in (session.to_der, session.to_pem, session.to_bytes):
        with pytest.raises(InvalidSession, match="no cipher suite yet"):
            written()
    pair.handshake().exchange()
    assert session_of(pair.client).is_resumable
    pair.close()


def test_fact_01_a_session_of_a_failed_handshake_is_not_resumable(
    other_ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    pair = Pair(client_context(other_ca, version=tls_version), server_context(server_identity))
    with pytest.raises(ssl.SSLCertVerificationError):
        pair.handshake()
    for side in (pair.client, pair.server):
        session = sslsession.get_session(side)
        assert session is None or not session.is_resumable


def test_fact_02_a_session_is_a_reference_of_its_own(ca: Authority, server_identity: Identity) -> None:
    pair = connect(client_context(ca), server_context(server_identity))
    first, second = session_of(pair.client), session_of(pair.client)
    before = values(first)
    del second
    gc.collect()
    assert values(first) == before
    assert pair.client.session is not None
    assert bytes(pair.client.session.id) == first.id
    pair.close()


def test_fact_03_a_session_outlives_its_connection_and_its_contexts(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    pair = connect(client, server)
    sessions = [session_of(pair.client), session_of(pair.server)]
    before = [values(session) for session in sessions]
    openssl.SSL_CTX_flush_sessions(context_handle(client), 2**31)
    openssl.SSL_CTX_flush_sessions(context_handle(server), 2**31)
    assert [values(session) for session in sessions] == before
    pair.drop()
    del pair, client, server
    gc.collect()
    assert [values(session) for session in sessions] == before
    assert resumes(client_context(ca), server_context(server_identity), sessions[0]) is False


def test_fact_04_what_openssl_lends_is_copied(ca: Authority, server_identity: Identity) -> None:
    def lent(session: Session) -> list[object]:
        chain = session.peer_certificate_chain
        return [
            session.id,
            session.ticket,
            session.id_context,
            session.master_secret,
            session.server_name,
            *chain,
        ]

    pair = connect(client_context(ca, version="1.2"), server_context(server_identity))
    first, again = lent(session_of(pair.client)), lent(session_of(pair.client))
    assert first == again
    assert {type(value) for value in first} == {bytes, str}
    pair.drop()
    gc.collect()
    assert first == again


def test_fact_04_lists_are_the_callers_own(ca: Authority, server_identity: Identity) -> None:
    session = take(client_context(ca), server_context(server_identity))
    for name in FIELDS:
        value = getattr(session, name)
        if isinstance(value, list):
            before = list(value)
            value.append(None)
            assert getattr(session, name) == before


def test_fact_05_a_connection_gets_a_copy_and_never_the_session_itself(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    server = server_context(server_identity)
    session = take(client_context(ca, version=tls_version), server)
    offered = []

    def prepare(conn: ssl.SSLObject) -> None:
        sslsession.set_session(conn, session)
        offered.append(lib.SSL_get_session(handle(conn)))

    other_context = client_context(ca, version=tls_version)
    pair = connect(other_context, server, prepare=prepare)
    assert pair.client.session_reused
    assert offered[0] != session._pointer
    pair.drop()
    assert session.is_resumable
    assert lib.SSL_SESSION_is_resumable(session._pointer)


def test_a_session_is_made_by_this_library_alone() -> None:
    with pytest.raises(TypeError, match="get_session"):
        Session()


@pytest.fixture
def round_trip(ca: Authority, server_identity: Identity, tls_version: str) -> Callable[[], object]:
    client = client_context(ca, version=tls_version)
    pair = connect(client, server_context(server_identity))

    def cycle() -> None:
        session = Session.from_bytes(session_of(pair.client).to_bytes())
        conn = client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
        sslsession.set_session(conn, session)

    return cycle


@needs_statm
def test_fact_02_cycles_of_get_and_set_leave_memory_where_it_was(round_trip: Callable[[], object]) -> None:
    assert growth(round_trip, 2_000) < 1 << 20


@needs_statm
@pytest.mark.soak
def test_fact_02_a_hundred_thousand_cycles_leave_memory_where_it_was(
    round_trip: Callable[[], object],
) -> None:
    assert growth(round_trip, 100_000) < 2 << 20


@needs_statm
def test_fact_02_every_field_read_leaves_memory_where_it_was(
    ca: Authority, server_identity: Identity
) -> None:
    pair = connect(client_context(ca), server_context(server_identity))
    assert growth(lambda: values(session_of(pair.client)), 1_000) < 1 << 20
    pair.close()


@needs_statm
def test_fact_02_handshakes_that_resume_leave_memory_where_it_was(
    ca: Authority, server_identity: Identity
) -> None:
    client, server = client_context(ca), server_context(server_identity)
    kept = [take(client, server)]

    def cycle() -> None:
        pair = connect(client, server, prepare=offering(kept.pop()))
        assert pair.client.session_reused
        kept.append(session_of(pair.client))
        pair.drop()

    assert growth(cycle, 1_000) < 2 << 20


@needs_statm
def test_fact_02_refused_sessions_leave_memory_where_it_was(ca: Authority, server_identity: Identity) -> None:
    client = client_context(ca)
    session = take(client, server_context(server_identity))

    def cycle() -> None:
        conn = client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="b.example")
        with pytest.raises(sslsession.SessionMismatch):
            sslsession.set_session(conn, session)

    assert growth(cycle, 2_000) < 1 << 20
