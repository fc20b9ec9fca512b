"""A session is used only where it was earned, or is verified again first. Facts 39, 40 and 56."""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.openssl_calls import openssl, unbound
from helpers.peers import Pair, client_context, connect, server_context
from helpers.sessions import (
    VERIFY_RESULT_TAG,
    handle,
    offering,
    resumes,
    session_of,
    ssl_resumes,
    take,
    with_der,
    with_integer,
)
from sslsession import Session, SessionMismatch, set_session
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding
NO_ISSUER, NAME_MISMATCH, IP_MISMATCH, WRONG_PURPOSE = 20, 62, 64, 26
UNKNOWN_ISSUER = r"does not hold under this context's trust \(unable to get (local )?issuer certificate"


def verified(session: Session) -> bool:
    assert session.cert_data is not None
    return session.cert_data.verified


class TestOtherTrust:
    def test_another_ca(
        self, strict: ssl.SSLContext, other_ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        other = client_context(other_ca, version=tls_version)
        session = take(strict, server)
        for copy in (session, Session.from_bytes(session.to_bytes()), Session.from_der(session.to_der())):
            with pytest.raises(SessionMismatch, match=UNKNOWN_ISSUER):
                resumes(other, server, copy)
        assert resumes(other, server, session, force=True)

    def test_the_same_ca_in_another_context(
        self, strict: ssl.SSLContext, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        pair = connect(
            client_context(ca, version=tls_version), server, prepare=offering(take(strict, server))
        )
        assert pair.client.session_reused
        assert verified(session_of(pair.client))

    def test_a_chain_through_an_intermediate(self, ca: Authority, tls_version: str) -> None:
        server = server_context(ca.issue("localhost", intermediate=True))
        client, other = client_context(ca, version=tls_version), client_context(ca, version=tls_version)
        assert resumes(other, server, take(client, server))
        assert resumes(other, server, Session.from_bytes(take(client, server).to_bytes()))
        with pytest.raises(SessionMismatch, match=r"to_bytes\(\) keeps the chain"):
            resumes(client, server, Session.from_der(take(client, server).to_der()))

    def test_the_chain_survives_resumption(self, ca: Authority, tls_version: str) -> None:
        identity = ca.issue("localhost", intermediate=True)
        server, client = server_context(identity), client_context(ca, version=tls_version)
        session = Session.from_bytes(take(client, server).to_bytes())
        for _ in range(3):
            pair = connect(client, server, prepare=offering(session))
            assert pair.client.session_reused
            session = Session.from_bytes(session_of(pair.client).to_bytes())
            assert session.peer_certificate_chain == list(identity.chain)
            pair.close()

    def test_a_name_that_the_certificate_lacks(self, strict: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """Where the session knows no name, its certificate does."""
        nameless = Session.from_der(take(strict, server).to_der())
        assert nameless.server_name is None
        with pytest.raises(SessionMismatch, match=r"(?i)hostname mismatch"):
            resumes(strict, server, nameless, "c.example")
        with pytest.raises(SessionMismatch, match=r"(?i)ip address mismatch"):
            resumes(strict, server, nameless, "127.0.0.2")
        assert resumes(strict, server, nameless, "a.example")

    def test_where_nothing_is_verified_anything_is_offered(
        self, lax: ssl.SSLContext, strict: ssl.SSLContext, impostor: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        assert resumes(lax, impostor, take(lax, impostor))
        assert resumes(lax, server, take(strict, server))


class TestLaxSessions:
    def test_a_cert_none_session_is_verified_before_a_verifying_context_offers_it(
        self, lax: ssl.SSLContext, strict: ssl.SSLContext, impostor: ssl.SSLContext
    ) -> None:
        session = take(lax, impostor)
        assert not verified(session)
        with pytest.raises(SessionMismatch, match=UNKNOWN_ISSUER):
            resumes(strict, impostor, session)
        assert resumes(strict, impostor, session, force=True)

    def test_one_whose_chain_holds_is_welcome(
        self, lax: ssl.SSLContext, strict: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        session = take(lax, server)
        assert not verified(session), "nothing was asked of its handshake"
        pair = connect(strict, server, prepare=offering(session))
        assert pair.client.session_reused
        assert verified(session_of(pair.client))

    def test_a_session_without_a_certificate_is_not_offered(
        self, strict: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server = server_context(server_identity, session_tickets=False)
        bare = Session.from_der(session_of(connect(strict, server).server).to_der())
        assert bare.is_resumable
        assert bare.peer_certificate_chain == []
        with pytest.raises(SessionMismatch, match="no certificate to verify again"):
            resumes(strict, server, bare)


class TestTheSameContextChanged:
    def test_fact_39_from_cert_none_to_cert_required_with_the_wrong_ca(
        self, other_ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        client = client_context(other_ca, version=tls_version, verify=False)
        pair = connect(client, server)
        own, ours = pair.client.session, session_of(pair.client)
        pair.close()
        client.verify_mode, client.check_hostname = ssl.CERT_REQUIRED, True
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(client, server)
        assert ssl_resumes(client, server, own), "ssl resumes what a full handshake refuses"
        with pytest.raises(SessionMismatch, match=UNKNOWN_ISSUER):
            resumes(client, server, ours)

    def test_fact_39_with_a_name_that_is_not_checked_and_then_is(
        self, ca: Authority, tls_version: str
    ) -> None:
        server = server_context(ca.issue("b.example"))
        client = client_context(ca, version=tls_version, check_hostname=False)
        pair = connect(client, server, "localhost")
        own, ours = pair.client.session, session_of(pair.client)
        pair.close()
        client.check_hostname = True
        assert ssl_resumes(client, server, own)
        with pytest.raises(SessionMismatch, match=r"(?i)hostname mismatch"):
            resumes(client, server, ours)

    def test_from_no_revocation_lists_to_needing_one(self, ca: Authority, tls_version: str) -> None:
        server = server_context(ca.issue("localhost"))
        client = client_context(ca, version=tls_version)
        session = take(client, server)
        client.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(client, server)
        with pytest.raises(SessionMismatch, match=r"(?i)CRL"):
            resumes(client, server, session)

    def test_more_trust_is_verified_again_and_holds(
        self, strict: ssl.SSLContext, other_ca: Authority, server: ssl.SSLContext
    ) -> None:
        session = take(strict, server)
        other_ca.trust(strict)
        assert resumes(strict, server, session)

    def test_less_strict_is_no_obstacle(self, strict: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = take(strict, server)
        strict.check_hostname = False
        strict.verify_mode = ssl.CERT_NONE
        pair = connect(strict, server, prepare=offering(session))
        assert pair.client.session_reused
        assert not verified(session_of(pair.client)), "this connection asked for nothing"


def test_fact_40_the_stored_result_is_copied_and_the_leaf_is_looked_at(
    lax: ssl.SSLContext, strict: ssl.SSLContext, impostor: ssl.SSLContext
) -> None:
    session = take(lax, impostor)
    assert session.verify_result != 0
    clean = with_der(session, lambda der: with_integer(der, VERIFY_RESULT_TAG, 0))
    assert lib.SSL_SESSION_get0_peer(clean._pointer) != ffi.NULL
    pair = connect(strict, impostor, prepare=lambda conn: lib.SSL_set_session(handle(conn), clean._pointer))
    assert pair.client.session_reused
    assert unbound("SSL_get_verify_result", handle(pair.client)) == 0, (
        "OpenSSL believes what the session says"
    )
    pair.close()
    again = take(lax, impostor)
    for copy in (
        Session.from_der(with_integer(again.to_der(), VERIFY_RESULT_TAG, 0)),
        with_der(again, lambda der: with_integer(der, VERIFY_RESULT_TAG, 0)),
    ):
        with pytest.raises(SessionMismatch, match=UNKNOWN_ISSUER):
            resumes(strict, impostor, copy)


class TestVerifyAgain:
    """`X509_verify_cert` over what a session holds, as a full handshake would do it."""

    def verdict(self, client: ssl.SSLContext, session: Session, name: str) -> int:
        conn = client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
        error = ffi.new("int *")
        leaf = lib.SSL_SESSION_get0_peer(session._pointer)
        lib.ERR_clear_error()
        holds = lib.sslsession_verify_again(
            handle(conn), leaf, ffi.NULL, error, ffi.new("sslsession_trust *")
        )
        assert openssl.ERR_peek_last_error() == 0, "nothing stays in OpenSSL's queue of errors"
        assert bool(holds) is (error[0] == 0)
        return int(error[0])

    def test_fact_56_the_same_trust_and_name_another_ca_another_host(
        self, ca: Authority, other_ca: Authority, server: ssl.SSLContext, strict: ssl.SSLContext
    ) -> None:
        session = take(strict, server)
        here, elsewhere = client_context(ca), client_context(other_ca)
        assert self.verdict(here, session, "localhost") == 0
        assert self.verdict(here, session, "127.0.0.1") == 0
        assert self.verdict(elsewhere, session, "localhost") == NO_ISSUER
        assert self.verdict(here, session, "c.example") == NAME_MISMATCH
        assert self.verdict(here, session, "127.0.0.2") == IP_MISMATCH

    def test_fact_56_on_a_server_the_purpose_is_a_clients(
        self, ca: Authority, server_identity: Identity, client_identity: Identity, tls_version: str
    ) -> None:
        server = server_context(server_identity, client_ca=ca)
        client = client_context(ca, version=tls_version, identity=client_identity)
        session = session_of(connect(client, server).server)
        conn = server.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
        error = ffi.new("int *")
        leaf = lib.SSL_SESSION_get0_peer(session._pointer)
        assert lib.sslsession_verify_again(handle(conn), leaf, ffi.NULL, error, ffi.new("sslsession_trust *"))
        assert (
            self.verdict(client_context(ca, check_hostname=False), session, "client.example") == WRONG_PURPOSE
        )

    def test_fact_56_the_purpose_is_a_servers(self, ca: Authority, lax: ssl.SSLContext) -> None:
        wrong = server_context(ca.issue("localhost", client=True))
        session = take(lax, wrong)
        assert self.verdict(client_context(ca), session, "localhost") == WRONG_PURPOSE
        with pytest.raises(SessionMismatch, match=r"(?i)purpose"):
            resumes(client_context(ca), wrong, session)


def test_a_refused_session_leaves_the_connection_usable(
    strict: ssl.SSLContext, lax: ssl.SSLContext, server: ssl.SSLContext, impostor: ssl.SSLContext
) -> None:
    pair = Pair(strict, server)
    with pytest.raises(SessionMismatch):
        set_session(pair.client, take(lax, impostor))
    pair.handshake().exchange()
    assert not pair.client.session_reused
    assert sslsession.why_not_resumed(pair.client) is sslsession.Reason.TRUST_FAILED
    assert verified(session_of(pair.client))
    pair.close()
