"""Whose a session is and where it came from: client certificates, and sessions that came of unverified ones."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import client_context, connect, server_context
from helpers.sessions import (
    offering,
    resumes,
    session_of,
    take,
)
from sslsession import Session, SessionMismatch, set_session

pytestmark = pytest.mark.binding
NO_ISSUER, NAME_MISMATCH, IP_MISMATCH, WRONG_PURPOSE = 20, 62, 64, 26
UNKNOWN_ISSUER = r"does not hold under this context's trust \(unable to get (local )?issuer certificate"


def verified(session: Session) -> bool:
    assert session.cert_data is not None
    return session.cert_data.verified


class TestClientCertificates:
    def test_a_session_is_for_the_certificate_it_was_earned_with(
        self, ca: Authority, server_identity: Identity, client_identity: Identity, tls_version: str
    ) -> None:
        server = server_context(server_identity, client_ca=ca)
        client = client_context(ca, version=tls_version, identity=client_identity)
        session = take(client, server)
        assert resumes(client, server, session)
        for copy in (take(client, server), Session.from_bytes(take(client, server).to_bytes())):
            other = client_context(
                ca, version=tls_version, identity=ca.issue("somebody.example", client=True)
            )
            none = client_context(ca, version=tls_version)
            for ctx in (other, none):
                with pytest.raises(SessionMismatch, match="another client certificate"):
                    resumes(ctx, server, copy)
            assert resumes(other, server, copy, force=True)

    def test_a_certificate_loaded_later(
        self, ca: Authority, server_identity: Identity, client_identity: Identity, tls_version: str
    ) -> None:
        server = server_context(server_identity)
        client = client_context(ca, version=tls_version)
        session = take(client, server)
        client_identity.load(client)
        with pytest.raises(SessionMismatch, match="another client certificate"):
            resumes(client, server, session)

    def test_der_alone_does_not_say(
        self, ca: Authority, server: ssl.SSLContext, client_identity: Identity, tls_version: str
    ) -> None:
        session = Session.from_der(take(client_context(ca, version=tls_version), server).to_der())
        assert resumes(client_context(ca, version=tls_version, identity=client_identity), server, session)


class TestLineage:
    def test_a_session_that_ssl_resumed_from_an_unverified_one(
        self, other_ca: Authority, impostor: ssl.SSLContext, ca: Authority, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version, verify=False)
        unverified = connect(client, impostor).client.session
        client.verify_mode, client.check_hostname = ssl.CERT_REQUIRED, True
        pair = connect(client, impostor, session=unverified)
        assert pair.client.session_reused
        session = session_of(pair.client)
        pair.close()
        assert not verified(session)
        with pytest.raises(SessionMismatch, match=UNKNOWN_ISSUER):
            resumes(client, impostor, session)

    def test_a_session_that_ssl_put_in_the_place_of_a_verified_one(
        self, ca: Authority, server: ssl.SSLContext, impostor: ssl.SSLContext, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version)
        good = take(client, server)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        unverified = connect(client, impostor).client.session
        client.verify_mode, client.check_hostname = ssl.CERT_REQUIRED, True

        def prepare(conn: Any) -> None:
            set_session(conn, good)
            conn.session = unverified

        pair = connect(client, impostor, prepare=prepare)
        assert pair.client.session_reused
        session = session_of(pair.client)
        pair.close()
        assert not verified(session)
        assert session.peer_certificate_chain != good.peer_certificate_chain
        with pytest.raises(SessionMismatch, match=UNKNOWN_ISSUER):
            resumes(client, impostor, session)

    def test_a_resumed_session_counts_as_its_first_one_did(
        self, strict: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        session = take(strict, server)
        for _ in range(2):
            assert verified(session)
            pair = connect(strict, server, prepare=offering(session))
            assert pair.client.session_reused
            session = session_of(pair.client)
            pair.close()

    def test_a_full_handshake_after_a_declined_offer_is_judged_by_itself(
        self, strict: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity
    ) -> None:
        session = take(strict, server)
        pair = connect(strict, server_context(server_identity), prepare=offering(session))
        assert not pair.client.session_reused
        assert verified(session_of(pair.client))
