"""What a TLSConnection resumes, and the functions of sessions that take one."""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.contexts import client_context, server_context
from helpers.memory import connect
from helpers.tls import carry, exchange, join, part, pin_of, resumed, same_trust, serving
from sslsession import ClientSessionCache, MaxBufferSize, Reason, SessionError, TLSConnection


@pytest.fixture
def serving_one(server_identity):
    return serving(server_identity)


@pytest.mark.parametrize("validators", [False, True])
def test_the_same_object_resumes(client, serving_one, server_identity, validators):
    conn = TLSConnection(
        "localhost", context=client, validators=[pin_of(server_identity)] if validators else []
    )
    assert [resumed(conn, serving_one.another()) for _ in range(3)] == [False, True, True]


def test_the_servers_object_can_be_used_again_too(client, serving_one):
    conn = TLSConnection("localhost", context=client)
    assert [resumed(conn, serving_one) for _ in range(3)] == [False, True, True]


def test_another_shares_context_and_cache(client, serving_one):
    conn = TLSConnection("localhost", context=client)
    resumed(conn, serving_one.another())
    assert resumed(conn.another(), serving_one.another())


def test_objects_of_one_context_share_its_cache(client, serving_one):
    cache = ClientSessionCache()
    cache.attach(client)
    assert not resumed(TLSConnection("localhost", context=client), serving_one.another())
    assert resumed(TLSConnection("localhost", context=client), serving_one.another())
    assert cache.stats()["resumed"] == 1


def test_a_plain_connection_and_one_without_validators_share(client, server):
    ClientSessionCache().attach(client)
    serving_cache = sslsession.ServerSessionCache()
    serving_cache.attach(server)
    connect(client, server).close()
    conn = TLSConnection("localhost", context=client)
    assert resumed(conn, TLSConnection(server_side=True, context=server))


def test_objects_of_their_own_contexts_share_nothing(serving_one):
    conns = [TLSConnection("localhost", verify_later=True, insecure=True) for _ in range(2)]
    assert [resumed(conn, serving_one.another()) for conn in conns] == [False, False]


@pytest.mark.parametrize("sizes", [("K1", "K2"), ("Default", "B512"), ("K4", "Default"), ("K8", "B512")])
def test_another_fragment_length_does_not_resume_and_does_not_fail(client, serving_one, sizes):
    """OpenSSL's servers end a resumption over it (RFC 6066 4)."""
    first, second = (
        TLSConnection("localhost", context=client, max_buffer_size=MaxBufferSize[size]) for size in sizes
    )
    assert not resumed(first, serving_one.another())
    assert not resumed(second, serving_one.another())
    assert resumed(first, serving_one.another())
    assert resumed(second, serving_one.another())


def test_a_session_of_another_fragment_length_is_not_set(client, serving_one):
    small = TLSConnection("localhost", context=client, max_buffer_size=MaxBufferSize.K1)
    join(small, serving_one)
    conn = TLSConnection("localhost", context=client)
    conn.connect()
    with pytest.raises(sslsession.SessionMismatch, match="1024 bytes, and this connection asks for 16384"):
        sslsession.set_session(conn, sslsession.get_session(small))


def test_a_server_that_resumes_nothing_in_a_context_of_others(client, server_identity):
    for version in ("1.2", "1.3"):
        context = server_context(server_identity, version=version)
        conn = TLSConnection("localhost", context=client_context())
        conn.context.check_hostname, conn.context.verify_mode, conn.insecure = False, ssl.CERT_NONE, True
        refusing = [TLSConnection(server_side=True, context=context, resume=False) for _ in range(3)]
        assert [resumed(conn, each) for each in refusing] == [False] * 3


def test_who_resumes_nothing_refuses_a_cache_that_another_brought_to_its_context(client, server_identity):
    """It would resume by it, and neither side's connections can be kept from that one by one."""
    context = server_context(server_identity)
    for refusing, other in (
        (
            TLSConnection("localhost", context=client, resume=False),
            TLSConnection("localhost", context=client),
        ),
        (
            TLSConnection(server_side=True, context=context, cache_size=0),
            TLSConnection(server_side=True, context=context),
        ),
    ):
        for each in (refusing, other):
            each.accept() if each.server_side else each.connect()
            each.close()
        with pytest.raises(ValueError, match="a cache is attached"):
            refusing.accept() if refusing.server_side else refusing.connect()


def test_get_session_why_not_resumed_and_id(client, serving_one):
    conn, server = TLSConnection("localhost", context=client), serving_one
    with pytest.raises(SessionError, match="has not begun"):
        sslsession.get_session(conn)
    join(conn, server)
    assert sslsession.get_session(conn).server_name == "localhost"
    assert sslsession.get_session(conn).id == conn.session_id
    assert sslsession.why_not_resumed(conn) is Reason.NO_SESSION_OFFERED
    part(conn, server)
    assert sslsession.get_session(conn) is not None
    join(conn, server)
    assert sslsession.why_not_resumed(conn) is Reason.RESUMED
    assert sslsession.why_not_resumed(server) is Reason.RESUMED


def test_set_session_between_connect_and_the_first_bytes(client12, serving_one):
    first = TLSConnection("localhost", context=client12)
    join(first, server := serving_one.another())
    saved = sslsession.get_session(first).to_bytes()
    part(first, server)
    second = TLSConnection("localhost", context=same_trust(client12))
    for _ in range(2):
        second.connect()
        sslsession.set_session(second, sslsession.Session.from_bytes(saved))
        assert second.data_to_send()
        with pytest.raises(SessionError, match="began already"):
            sslsession.set_session(second, sslsession.Session.from_bytes(saved))
        second.close()


def test_a_session_of_bytes_is_resumed(client, serving_one):
    first = TLSConnection("localhost", context=client)
    join(first, server := serving_one.another())
    saved = sslsession.get_session(first).to_bytes()
    part(first, server)
    second, server = TLSConnection("localhost", context=same_trust(client)), serving_one.another()
    second.connect()
    sslsession.set_session(second, sslsession.Session.from_bytes(saved))
    server.accept()
    carry(second, server)
    assert second.connection.session_reused


def test_tickets_and_keys_in_the_middle(client13, serving_one):
    conn, server = TLSConnection("localhost", context=client13), serving_one
    join(conn, server)
    before = conn.session_id
    sslsession.send_new_ticket(server)
    sslsession.update_keys(conn)
    carry(conn, server)
    assert conn.session_id != before
    assert exchange(conn, server) == (b"pong", b"ping")


def test_extra_info_is_as_of_a_transport(client, serving_one, server_identity):
    conn = TLSConnection("localhost", context=client)
    assert conn.get_extra_info("cipher", "none yet") == "none yet"
    join(conn, serving_one)
    assert conn.get_extra_info("sslcontext") is client
    assert conn.get_extra_info("ssl_object") is conn.connection
    assert conn.get_extra_info("cipher") == conn.connection.cipher()
    assert conn.get_extra_info("compression") is None
    assert ("DNS", "localhost") in conn.get_extra_info("peercert")["subjectAltName"]
    assert conn.get_extra_info("socket", "no socket") == "no socket"


def test_contexts_that_were_injected_into(ca, serving_one):
    """They have the process's cache, and a connection that resumes nothing lets go of it."""

    def trusting(conn):
        ca.trust(conn.context)

    cache = ClientSessionCache()
    sslsession.inject_into_ssl(cache)
    try:
        for resume, expected in ((True, [False, True]), (False, [False, False])):
            conn = TLSConnection("localhost", resume=resume, on_init=trusting)
            assert [resumed(conn, serving_one.another()) for _ in range(2)] == expected
    finally:
        sslsession.extract_from_ssl()
    assert cache.stats()["offered"] == 0


def test_truststores_context(ca, serving_one, server_identity, other_ca):
    """Its connections use another context inside it, and a class of objects that verifies."""
    truststore = pytest.importorskip("truststore")
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(ca.pem_path))
    conn = TLSConnection("localhost", context=context, validators=[pin_of(server_identity)])
    assert [resumed(conn, serving_one.another()) for _ in range(2)] == [False, True]
    stranger = serving(other_ca.issue("localhost"))
    conn.connect()
    with pytest.raises(ssl.SSLCertVerificationError):
        carry(conn, stranger)
