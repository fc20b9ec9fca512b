"""Who could make a connection with validators resume what none of them saw; and who reads before they have run."""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.contexts import client_context, server_context
from helpers.memory import connect
from helpers.sessions import session_of
from helpers.tls import WRONG_PIN, attempt, carry, exchange, join, part, pin_of, resumed, serving
from sslsession import (
    CertificateRefused,
    ClientSessionCache,
    ServerSessionCache,
    Session,
    SessionError,
    SessionMismatch,
    TLSConnection,
)
from sslsession.stores import MemoryStore

REFUSED = pytest.raises(CertificateRefused, match="no validator accepted")


@pytest.fixture
def server(server_identity):
    """A server's context whose sessions all come back to its cache, those of plain connections, too."""
    context = server_context(server_identity)
    ServerSessionCache().attach(context)
    return context


@pytest.fixture
def shared(lax):
    """A context that verifies nothing, with a cache: what any of its connections earns, another may be offered."""
    cache = ClientSessionCache()
    cache.attach(lax)
    lax.cache = cache
    return lax


def pinned(context, *validators, **settings) -> TLSConnection:
    return TLSConnection("localhost", context=context, validators=validators, verify_later=True, **settings)


@pytest.mark.parametrize("options", [0, ssl.OP_NO_RENEGOTIATION])
def test_a_plain_connection_earns_and_one_with_validators_does_not_resume(
    shared, server, server_identity, options
):
    shared.options |= options
    connect(shared, server).close()
    assert shared.cache.stats()["sessions"] >= 1
    conn, other = pinned(shared, pin_of(server_identity)), TLSConnection(server_side=True, context=server)
    assert not resumed(conn, other)
    assert resumed(conn, TLSConnection(server_side=True, context=server))


def test_a_connection_without_validators_earns_and_one_with_validators_does_not_resume(
    shared, server, server_identity
):
    first = TLSConnection("localhost", context=shared, insecure=True)
    server_side = [TLSConnection(server_side=True, context=server) for _ in range(3)]
    assert not resumed(first, server_side[0])
    assert not resumed(pinned(shared, pin_of(server_identity)), server_side[1])
    assert resumed(first, server_side[2])


def test_the_same_out_of_a_store(tls_version, server, server_identity):
    store = MemoryStore()
    for validators, expected in (((), False), ((pin_of(server_identity),), False), ((), True)):
        context = client_context(version=tls_version, verify=False)
        cache = ClientSessionCache(store)
        cache.attach(context)
        conn = TLSConnection("localhost", context=context, validators=validators, insecure=True)
        assert resumed(conn, TLSConnection(server_side=True, context=server)) is expected
        cache.close()


def test_a_session_that_was_added_is_not_believed(shared, server, server_identity, client):
    pair = connect(client, server)
    shared.cache.add(session_of(pair.client), "localhost")
    pair.close()
    conn = pinned(shared, pin_of(server_identity))
    assert not resumed(conn, TLSConnection(server_side=True, context=server))


@pytest.mark.parametrize("as_bytes", ["live", "bytes", "der"])
def test_a_session_that_was_set_is_not_believed(shared, server, server_identity, client, as_bytes):
    pair = connect(client, server)
    session = session_of(pair.client)
    pair.close()
    if as_bytes == "bytes":
        session = Session.from_bytes(session.to_bytes())
    if as_bytes == "der":
        session = Session.from_der(session.to_der())
    conn = pinned(shared, pin_of(server_identity))
    conn.connect()
    with pytest.raises(SessionMismatch, match="earned without validators"):
        sslsession.set_session(conn, session)
    sslsession.set_session(conn, session, force=True)
    other = TLSConnection(server_side=True, context=server)
    other.accept()
    carry(conn, other)
    assert conn.connection.session_reused


def test_a_session_earned_under_validators_can_be_set_where_there_are_some(shared, server, server_identity):
    earning = pinned(shared, pin_of(server_identity))
    join(earning, other := TLSConnection(server_side=True, context=server))
    saved = sslsession.get_session(earning).to_bytes()
    part(earning, other)
    conn, other = pinned(shared, pin_of(server_identity)), TLSConnection(server_side=True, context=server)
    conn.connect()
    sslsession.set_session(conn, Session.from_bytes(saved))
    other.accept()
    carry(conn, other)
    assert conn.connection.session_reused


def test_forced_it_is_still_judged_by_the_certificate_that_it_shows(shared, server, client):
    pair = connect(client, server)
    session = session_of(pair.client)
    pair.close()
    conn, other = pinned(shared, WRONG_PIN), TLSConnection(server_side=True, context=server)
    conn.connect()
    sslsession.set_session(conn, session, force=True)
    other.accept()
    with REFUSED:
        carry(conn, other)


def test_ssls_own_session_is_not_believed(shared, server, server_identity):
    pair = connect(shared, server)
    conn = pinned(shared, pin_of(server_identity))
    conn.connect()
    with pytest.raises(SessionError, match="use sslsession"):
        conn.connection.session = pair.client.session
    pair.close()


def test_other_validators_judge_what_some_accepted(shared, server, server_identity):
    """Both have validators, so both use the same sessions: the second refuse what the first let in."""
    assert not resumed(
        pinned(shared, lambda certificate: True), TLSConnection(server_side=True, context=server)
    )
    conn = pinned(shared, WRONG_PIN)
    with REFUSED:
        attempt(conn, TLSConnection(server_side=True, context=server))
    assert conn.connection.session_reused


def test_what_was_refused_is_forgotten(shared, server, server_identity, impostor):
    """Else a session of the impostor's would be offered again and again."""
    conn = pinned(shared, pin_of(server_identity))
    for _ in range(2):
        with REFUSED:
            attempt(conn, TLSConnection(server_side=True, context=impostor))
        assert not conn.connection.session_reused
        conn.close()
    assert not resumed(conn, TLSConnection(server_side=True, context=server))
    assert resumed(conn, TLSConnection(server_side=True, context=server))


def test_validators_run_on_each_resumption(client, server_identity):
    asked, answer = [], [True]

    def judge(certificate):
        asked.append(certificate.der)
        return answer[0]

    server = serving(server_identity)
    conn = TLSConnection("localhost", context=client, validators=[judge])
    assert [resumed(conn, server.another()) for _ in range(2)] == [False, True]
    answer[0] = False
    with REFUSED:
        attempt(conn, server.another())
    assert conn.connection.session_reused
    assert asked == [server_identity.leaf_der] * 3


def test_no_plaintext_before_the_validators(client12, server_identity):
    """The server's first words come in the same piece as the end of its handshake."""
    conn, server = (
        TLSConnection("localhost", context=client12, validators=[WRONG_PIN]),
        serving(server_identity),
    )
    conn.connect()
    server.accept()
    while not server.is_connected:
        server.receive_data(conn.data_to_send())
        if not server.is_connected:
            conn.receive_data(server.data_to_send())
    server.send(b"words")
    with REFUSED:
        conn.receive_data(server.data_to_send())
    for _ in range(2):
        with REFUSED:
            conn.receive_data(b"")
        with REFUSED:
            conn.send(b"secret")
        for read in (
            conn.connection.read,
            conn.connection.do_handshake,
            lambda: conn.connection.write(b"secret"),
        ):
            with REFUSED:
                read()
    assert not conn.is_connected
    with pytest.raises(SessionError, match="no connection"):
        conn.validate_certificate()
    assert b"secret" not in conn.data_to_send()


def test_whoever_drives_the_handshake_the_validators_run(client13, server_identity):
    conn, server = (
        TLSConnection("localhost", context=client13, validators=[WRONG_PIN]),
        serving(server_identity),
    )
    conn.connect()
    server.accept()
    with pytest.raises(ssl.SSLWantReadError):
        sslsession.send_replayable(conn, b"request")
    server.receive_data(conn.data_to_send())
    conn._incoming.write(server.data_to_send())
    with REFUSED:
        sslsession.send_replayable(conn, b"request")


def test_a_certificate_that_is_missing_fails(ca, server_identity):
    context = server_context(server_identity, client_ca=ca, require_client=False)
    server = TLSConnection(server_side=True, context=context, validators=[lambda certificate: True])
    conn = TLSConnection("localhost", context=client_context(ca))
    with pytest.raises(CertificateRefused, match="showed no certificate"):
        attempt(conn, server)


def test_a_servers_validators_judge_its_clients(ca, server_identity, client_identity, tls_version):
    context = server_context(server_identity, client_ca=ca, version=tls_version)
    client = client_context(ca, identity=client_identity)
    settings = {"server_side": True, "context": context, "client_auth": True}
    conn = TLSConnection("localhost", context=client)
    assert not resumed(conn, TLSConnection(**settings, validators=[pin_of(client_identity)]))
    assert resumed(conn, TLSConnection(**settings, validators=[pin_of(client_identity)]))
    with REFUSED:
        attempt(conn, TLSConnection(**settings, validators=[WRONG_PIN]))


def test_pins_hold_beside_the_authorities_and_instead_of_them(client, other_ca, impostor, server_identity):
    theirs = other_ca.issue("localhost")
    context = server_context(theirs)
    with pytest.raises(ssl.SSLCertVerificationError):
        attempt(
            TLSConnection("localhost", context=client, validators=[pin_of(theirs)]),
            TLSConnection(server_side=True, context=context),
        )
    conn = TLSConnection("localhost", validators=[pin_of(theirs)], verify_later=True)
    join(conn, server := TLSConnection(server_side=True, context=context))
    assert exchange(conn, server) == (b"pong", b"ping")
    part(conn, server)
