"""When a session stops being good: facts 10 to 13, 16 and 17."""

from __future__ import annotations

import contextlib
import gc
import platform
import ssl
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.openssl_calls import RawCallbacks, openssl
from helpers.peers import EchoServer, Pair, client_context, connect, dial, server_context
from helpers.sessions import (
    aged,
    context_handle,
    die_of_a_fatal_alert,
    handle,
    offering,
    resumes,
    session_of,
    ssl_resumes,
    take,
)
from sslsession import InvalidSession, Reason, Session, SessionExpired, SessionHooks
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding


@pytest.fixture(scope="module")
def dropping_keeps(ca: Authority, server_identity: Identity) -> bool:
    """Whether this interpreter tells OpenSSL that close_notify was sent before it frees any connection, as CPython 3.14
    and late 3.13 do: OpenSSL's own remove callback then hears of no drop.
    """
    client = client_context(ca, version="1.2")
    raw = RawCallbacks(client, "remove")
    connect(client, server_context(server_identity)).drop()
    gc.collect()
    return not raw.calls


@contextlib.contextmanager
def openssls_own(pair: Pair) -> Any:
    """The `SSL_SESSION *` of the client itself, with a reference."""
    pointer = openssl.SSL_get1_session(handle(pair.client))
    try:
        yield pointer
    finally:
        lib.SSL_SESSION_free(pointer)


class Test10UncleanClose:
    def test_fact_10_openssls_session_is_lost_and_ours_stays(
        self, ca: Authority, server_identity: Identity, tls_version: str, dropping_keeps: bool
    ) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        pair = connect(client, server)
        session = session_of(pair.client)
        with openssls_own(pair) as own:
            assert lib.SSL_SESSION_is_resumable(own)
            pair.drop()
            gc.collect()
            assert bool(lib.SSL_SESSION_is_resumable(own)) is dropping_keeps
        assert session.is_resumable
        assert resumes(client, server, session)

    def test_fact_10_the_remove_hook_hears_of_it(
        self, ca: Authority, server_identity: Identity, tls_version: str, dropping_keeps: bool
    ) -> None:
        client = client_context(ca, version=tls_version)
        removed: list[Session] = []
        hooks = SessionHooks(client, remove=lambda ctx, session: removed.append(session))
        pair = connect(client, server_context(server_identity))
        session = session_of(pair.client)
        pair.drop()
        hooks.close()
        of_it = [each.id for each in removed if each.ticket == session.ticket]
        assert of_it == ([] if dropping_keeps else [session.id])

    def test_fact_10_a_clean_close_removes_nothing(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version)
        removed: list[Session] = []
        hooks = SessionHooks(client, remove=lambda ctx, session: removed.append(session))
        session = take(client, server_context(server_identity))
        hooks.close()
        assert session.ticket not in [each.ticket for each in removed]


class Test11CloseNotify:
    def test_fact_11_one_that_was_sent_keeps_the_session(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        pair = connect(client_context(ca, version=tls_version), server_context(server_identity))
        with openssls_own(pair) as own:
            with pytest.raises(ssl.SSLWantReadError):
                pair.client.unwrap()
            pair.drop()
            assert lib.SSL_SESSION_is_resumable(own)

    def test_fact_11_one_only_received_does_not(
        self, ca: Authority, server_identity: Identity, tls_version: str, dropping_keeps: bool
    ) -> None:
        pair = connect(client_context(ca, version=tls_version), server_context(server_identity))
        with openssls_own(pair) as own:
            with pytest.raises(ssl.SSLWantReadError):
                pair.server.unwrap()
            with contextlib.suppress(ssl.SSLZeroReturnError):
                assert pair.client.read(1) == b""
            pair.drop()
            assert bool(lib.SSL_SESSION_is_resumable(own)) is dropping_keeps

    @pytest.mark.parametrize("sent_by_client", [True, False])
    def test_fact_11_a_fatal_alert_ends_it_at_once(
        self, ca: Authority, server_identity: Identity, tls_version: str, sent_by_client: bool
    ) -> None:
        pair = connect(client_context(ca, version=tls_version), server_context(server_identity))
        with openssls_own(pair) as own:
            die_of_a_fatal_alert(pair, sent_by_client=sent_by_client)
            assert not lib.SSL_SESSION_is_resumable(own)
        assert not session_of(pair.client).is_resumable


class Test12Copies:
    def test_fact_12_ssls_copy_and_every_copy_of_ours_survive_a_drop(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        copies = [
            lambda session: session,
            lambda session: Session.from_bytes(session.to_bytes()),
            lambda session: Session.from_der(session.to_der()),
            lambda session: Session.from_pem(session.to_pem()),
        ]
        for copy in copies:
            pair = connect(client, server)
            own, ours = pair.client.session, copy(session_of(pair.client))
            pair.drop()
            assert resumes(client, server, ours)
            assert ssl_resumes(client, server, own) is (platform.python_implementation() == "CPython"), (
                "PyPy's is no copy"
            )

    @pytest.mark.parametrize("sent_by_client", [True, False])
    def test_fact_12_a_fatal_alert_withdraws_the_copies(
        self, ca: Authority, server_identity: Identity, tls_version: str, sent_by_client: bool
    ) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        pair = connect(client, server)
        ours = session_of(pair.client)
        stored = ours.to_bytes(), ours.to_der()
        die_of_a_fatal_alert(pair, sent_by_client=sent_by_client)
        for copy in (ours, Session.from_bytes(stored[0]), Session.from_der(stored[1])):
            for force in (False, True):
                with pytest.raises(SessionExpired, match="fatal alert"):
                    resumes(client, server, copy, force=force)

    def test_fact_12_an_alert_on_a_resumed_connection_withdraws_its_session(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        pair = connect(client, server, prepare=offering(take(client, server)))
        assert pair.client.session_reused
        ours = session_of(pair.client)
        die_of_a_fatal_alert(pair)
        with pytest.raises(SessionExpired, match="fatal alert"):
            resumes(client, server, ours)

    def test_a_peer_that_ends_without_close_notify_withdraws_nothing(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        pair = connect(client, server)
        ours = session_of(pair.client)
        pair.to_client.write_eof()
        with contextlib.suppress(ssl.SSLEOFError, ssl.SSLZeroReturnError):
            assert pair.client.read(1) == b""
        pair.drop()
        assert resumes(client, server, ours)

    def test_a_server_that_hangs_up_can_be_resumed(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version)
        with EchoServer(server_context(server_identity), clean_close=False) as server:
            with dial(server.port, client) as conn:
                conn.sendall(b"x")
                assert conn.recv(1) == b"x"
                session = session_of(conn)
            with dial(server.port, client, prepare=offering(session)) as conn:
                assert conn.session_reused

    def test_a_failed_handshake_withdraws_no_session_but_its_own(
        self, ca: Authority, other_ca: Authority, server_identity: Identity
    ) -> None:
        client = client_context(ca, version="1.3")
        with SessionHooks(client, new=lambda conn, session: None):
            with pytest.raises(ssl.SSLCertVerificationError):
                Pair(client, server_context(other_ca.issue("localhost"))).handshake()
        nameless = take(client, server_context(server_identity, tickets=0))
        with pytest.raises(InvalidSession, match="neither an id nor a ticket"):
            resumes(client, server_context(server_identity), nameless)


def test_fact_13_openssl_takes_what_is_not_resumable_and_ours_says_so(
    ca: Authority, server_identity: Identity
) -> None:
    client, server = client_context(ca, version="1.3"), server_context(server_identity)
    pair = Pair(client, server).handshake()
    session = session_of(pair.client)
    taken: list[int] = []
    silent = connect(
        client, server, prepare=lambda conn: taken.append(lib.SSL_set_session(handle(conn), session._pointer))
    )
    assert taken == [1]
    assert not silent.client.session_reused
    for force in (False, True):
        with pytest.raises(InvalidSession, match="cannot be resumed"):
            resumes(client, server, session, force=force)


def test_fact_16_openssl_offers_an_expired_session_and_ours_does_not(
    ca: Authority, server_identity: Identity
) -> None:
    client, server = client_context(ca, version="1.2"), server_context(server_identity)
    expired = aged(take(client, server), 7_201)
    assert expired.is_expired
    assert expired.is_resumable
    pair = connect(client, server, prepare=lambda conn: lib.SSL_set_session(handle(conn), expired._pointer))
    assert pair.client.session_reused
    for force in (False, True):
        with pytest.raises(SessionExpired, match="past its lifetime"):
            resumes(client, server, expired, force=force)


def test_fact_16_a_session_ends_when_its_lifetime_does(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    session = take(client, server)
    assert session.expires_at == session.time + session.timeout == session.time + 7_200
    assert not session.is_expired
    young, old = aged(session, 7_100), aged(session, 7_200)
    assert (young.is_expired, old.is_expired) == (False, True)
    with pytest.raises(SessionExpired):
        resumes(client, server, old)
    assert resumes(client, server, young)


def test_fact_17_what_openssl_flushes_is_not_resumable_and_stays_readable(
    ca: Authority, server_identity: Identity
) -> None:
    client = client_context(ca, version="1.2")
    server = server_context(server_identity, session_tickets=False)
    pair = connect(client, server)
    session = session_of(pair.server)
    pointer = openssl.SSL_get1_session(handle(pair.server))
    pair.close()
    made_at, ctx = session.time, context_handle(server)
    openssl.SSL_CTX_flush_sessions(ctx, made_at + session.timeout)
    assert lib.SSL_SESSION_is_resumable(pointer)
    openssl.SSL_CTX_flush_sessions(ctx, made_at + session.timeout + 1)
    assert not lib.SSL_SESSION_is_resumable(pointer)
    length = ffi.new("unsigned int *")
    assert bytes(ffi.buffer(lib.SSL_SESSION_get_id(pointer, length), length[0])) == session.id
    lib.SSL_SESSION_free(pointer)
    after = connect(client, server, prepare=offering(session_of(pair.client)))
    assert not after.client.session_reused
    assert sslsession.why_not_resumed(after.client) is Reason.SERVER_DECLINED
