"""Detours by which a cache might come to hold a session that nobody verified, and take it for one that was.

A connection that the user forced to resume is good enough for himself; the tickets that it is then given come into the
cache like any others, and must be no way in for the next connection.
"""

from __future__ import annotations

import contextlib
import ssl

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.clients import Home, begin, not_offered, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import Pair, client_context, connect, server_context
from helpers.sessions import handle, offering, session_of, take
from sslsession import ClientSessionCache, Session, _asked
from sslsession._libssl import lib

pytestmark = pytest.mark.binding


def never_again(home: Home, strict: ssl.SSLContext, impostor: ssl.SSLContext) -> None:
    """The next connections are verified, and fail."""
    home.restart()
    for _ in range(3):
        with pytest.raises(ssl.SSLCertVerificationError):
            home.visit(strict, impostor)


class TestOneResumptionThatTheUserForced:
    def test_by_set_session(
        self, home: Home, lax: ssl.SSLContext, strict: ssl.SSLContext, impostor: ssl.SSLContext
    ) -> None:
        session = take(lax, impostor)
        assert home.visit(strict, impostor, prepare=offering(session, force=True)).reused
        never_again(home, strict, impostor)

    def test_by_ssl_s_own_session(self, home: Home, lax: ssl.SSLContext, impostor: ssl.SSLContext) -> None:
        pair = connect(lax, impostor)
        own = pair.client.session
        pair.close()
        lax.verify_mode, lax.check_hostname = ssl.CERT_REQUIRED, True
        assert home.visit(lax, impostor, session=own).reused, "ssl resumes it: fact 39"
        never_again(home, lax, impostor)

    def test_below_ssl(
        self, home: Home, lax: ssl.SSLContext, strict: ssl.SSLContext, impostor: ssl.SSLContext
    ) -> None:
        session = take(lax, impostor)

        def raw(conn: ssl.SSLObject) -> None:
            lib.SSL_set_session(handle(conn), session._pointer)

        assert home.visit(strict, impostor, prepare=raw).reused
        never_again(home, strict, impostor)

    def test_the_honest_twin(
        self, home: Home, strict: ssl.SSLContext, server_identity: Identity, tls_version: str
    ) -> None:
        """A TLS 1.2 session that is resumed is none that is new: nothing came into the cache."""
        server = server_context(server_identity)
        session = take(strict, server)
        assert home.visit(strict, server, prepare=offering(session, force=True)).reused
        home.restart()
        assert home.visit(strict, server).reused is (tls_version == "1.3")


class TestAdding:
    """What a user adds is his to choose, and ours to verify."""

    @pytest.fixture
    def forms(self, lax: ssl.SSLContext, impostor: ssl.SSLContext) -> list[Session]:
        return [
            take(lax, impostor),
            Session.from_bytes(take(lax, impostor).to_bytes()),
            Session.from_der(take(lax, impostor).to_der()),
        ]

    def test_a_session_that_nobody_verified(
        self, home: Home, forms: list[Session], strict: ssl.SSLContext, impostor: ssl.SSLContext
    ) -> None:
        for session in forms:
            home.cache.add(session, "localhost")
            never_again(home, strict, impostor)

    def test_nor_where_it_is_added_for_a_port(
        self, forms: list[Session], strict: ssl.SSLContext, impostor: ssl.SSLContext
    ) -> None:
        home = Home()
        home.cache.add(forms[0], "localhost", 443)
        assert home.holds == 1
        never_again(home, strict, impostor)
        home.close()

    def test_the_honest_twin(self, strict: ssl.SSLContext, server_identity: Identity) -> None:
        server = server_context(server_identity)
        home = Home()
        for session in (
            take(strict, server),
            Session.from_bytes(take(strict, server).to_bytes()),
            Session.from_der(take(strict, server).to_der()),
        ):
            home.cache.add(session, "localhost")
            assert home.visit(strict, server).reused
            home.cache.clear()
        home.close()

    def test_a_nameless_session_of_another_server(
        self, ca: Authority, strict: ssl.SSLContext, tls_version: str
    ) -> None:
        """DER keeps no name where TLS 1.3 sent it: its certificate tells."""
        other = server_context(ca.issue("b.example"))
        session = Session.from_der(take(strict, other, "b.example").to_der())
        home = Home()
        try:
            home.cache.add(session, "localhost")
        except sslsession.SessionMismatch:
            assert session.server_name == "b.example", "TLS 1.2's does"
        with pytest.raises(ssl.SSLCertVerificationError):
            home.visit(strict, other)
        home.close()


class TestHooksBesideACache:
    def test_a_new_hook_that_refuses_leaves_the_cache_its_copy(
        self, strict: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server, home = server_context(server_identity), Home()
        with sslsession.SessionHooks(strict, new=lambda conn, session: False):
            home.earn(strict, server)
        home.close()

    def test_a_hook_that_fails_lets_nothing_in(
        self,
        strict: ssl.SSLContext,
        impostor: ssl.SSLContext,
        lax: ssl.SSLContext,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Fact 45: an exception is a full handshake, never a resumption by accident."""

        def broken(*_: object) -> None:
            raise LookupError("broken")

        monkeypatch.setattr(_asked, "offer_unasked", broken)
        cache = ClientSessionCache()
        cache.attach(strict)
        cache.add(take(lax, impostor), "localhost")
        with Unraisables() as unraisables:
            with pytest.raises(ssl.SSLCertVerificationError):
                visit(strict, impostor)
        assert [type(error) for error in unraisables.errors] == [LookupError]
        cache.close()


class TestTwoCaches:
    def test_what_one_tenant_was_tricked_into_is_not_the_other_s(
        self, lax: ssl.SSLContext, strict: ssl.SSLContext, impostor: ssl.SSLContext
    ) -> None:
        tricked, other = Home(partition="one"), Home(partition="other")
        tricked.earn(lax, impostor)
        tricked.cache.detach(lax)
        other.attach(lax)
        assert not_offered(visit(lax, impostor))
        tricked.close()
        other.close()


@pytest.mark.parametrize("change", ["verify_mode", "check_hostname"])
def test_settings_that_change_in_the_middle_of_the_handshake(
    home: Home, ca: Authority, tls_version: str, impostor: ssl.SSLContext, change: str
) -> None:
    """Between ClientHello and Finished: the connection goes on as it began, and is kept as that."""
    client = client_context(ca, version=tls_version, verify=False)
    server = impostor if change == "verify_mode" else server_context(ca.issue("b.example"))
    if change == "check_hostname":
        client.verify_mode = ssl.CERT_REQUIRED
    home.attach(client)
    pair = Pair(client, server)
    begin(pair)
    client.verify_mode, client.check_hostname = ssl.CERT_REQUIRED, True
    pair.handshake().exchange()
    pair.close()
    never_again(home, client, server)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE if change == "verify_mode" else ssl.CERT_REQUIRED
    assert home.visit(client, server).reused


def test_a_session_that_was_laundered_once_is_not_clean_for_being_added(
    lax: ssl.SSLContext, strict: ssl.SSLContext, impostor: ssl.SSLContext
) -> None:
    """Resumed by force, kept, read back, added again: each time it is whose it was."""
    home, forced = Home(), take(lax, impostor)
    home.attach(strict)
    pair = connect(strict, impostor, prepare=offering(forced, force=True))
    home.cache.add(session_of(pair.client), "localhost")
    pair.close()
    never_again(home, strict, impostor)
    assert home.cache.stats()["refused"] >= 1
    home.close()


def test_a_context_that_is_exchanged_and_put_back(
    home: Home, ca: Authority, tls_version: str, impostor: ssl.SSLContext
) -> None:
    """What was negotiated under which of them, nobody can tell: it is kept by nobody."""
    client, other = (client_context(ca, version=tls_version) for _ in range(2))
    lax = client_context(ca, version=tls_version, verify=False)
    home.attach(client, other, lax)
    pair = Pair(lax, impostor)
    begin(pair)
    pair.client.context = client
    with contextlib.suppress(ssl.SSLError):
        pair.handshake()
        pair.client.context = lax
        pair.exchange()
    pair.drop()
    never_again(home, client, impostor)
    never_again(home, other, impostor)


class TestWithoutACertificate:
    """A policy says who the peer is by way of certificates alone: nothing else is kept."""

    @pytest.mark.skipif(
        not hasattr(ssl.SSLContext, "set_psk_client_callback"), reason="came with Python 3.13"
    )
    def test_an_external_psk(self, home: Home, ca: Authority) -> None:
        client = client_context(ca, version="1.2", verify=False)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.maximum_version = ssl.TLSVersion.TLSv1_2
        for context in (client, server):
            context.set_ciphers("PSK@SECLEVEL=0")
        client.set_psk_client_callback(lambda hint: ("me", b"a key that both have"))  # type: ignore[attr-defined]
        server.set_psk_server_callback(lambda identity: b"a key that both have")  # type: ignore[attr-defined]
        for _ in range(2):
            assert not home.visit(client, server, "localhost").reused
        assert home.holds == 0

    def test_an_anonymous_suite(self, home: Home, ca: Authority, server_identity: Identity) -> None:
        client, server = client_context(ca, version="1.2", verify=False), server_context(server_identity)
        for context in (client, server):
            context.set_ciphers("aNULL@SECLEVEL=0")
        for _ in range(2):
            assert not home.visit(client, server, "localhost").reused
        assert home.holds == 0
        for context in (client, server):
            context.set_ciphers("DEFAULT")
        home.earn(client, server)
