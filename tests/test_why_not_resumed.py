"""`why_not_resumed`: each reason that can occur, and nothing said that nobody saw."""

from __future__ import annotations

import ssl

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import Pair, SocketPair, client_context, connect, server_context
from helpers.sessions import (
    aged,
    die_of_a_fatal_alert,
    offering,
    resumes,
    session_of,
    take,
)
from sslsession import Reason, SessionError, SessionHooks, set_session, why_not_resumed
from sslsession.resumption import FORCEABLE, SENTENCES

pytestmark = pytest.mark.binding


def watching(ctx: ssl.SSLContext) -> SessionHooks:
    return SessionHooks(ctx, new=lambda conn, session: None)


def refused(
    client: ssl.SSLContext, server: ssl.SSLContext, session: object, name: str = "localhost"
) -> Reason:
    """The reason after `set_session` refused, and the handshake was made without."""
    pair = Pair(client, server, name)
    with pytest.raises(SessionError) as caught:
        set_session(pair.client, session)  # type: ignore[arg-type]
    pair.handshake().exchange()
    reason = why_not_resumed(pair.client)
    assert str(reason) in str(caught.value), "the error says the same"
    pair.close()
    return reason


class TestOnClients:
    def test_resumed(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pair = connect(client, server, prepare=offering(take(client, server)))
        assert why_not_resumed(pair.client) is Reason.RESUMED
        assert why_not_resumed(pair.server) is Reason.RESUMED

    def test_resumed_by_ssl_itself(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = connect(client, server).client.session
        pair = connect(client, server, session=session)
        assert why_not_resumed(pair.client) is Reason.RESUMED
        assert why_not_resumed(pair.server) is Reason.RESUMED

    def test_not_connected(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        for kind in (Pair, SocketPair):
            pair = kind(client, server)
            assert why_not_resumed(pair.client) is Reason.NOT_CONNECTED
            assert why_not_resumed(pair.server) is Reason.NOT_CONNECTED
            pair.drop()

    def test_nobody_watched(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pair = connect(client, server)
        for _ in range(2):
            assert why_not_resumed(pair.client) is Reason.NOT_OBSERVED
            assert why_not_resumed(pair.server) is Reason.NOT_OBSERVED
            session_of(pair.client), session_of(pair.server)

    def test_no_session_was_offered(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        with watching(client):
            assert why_not_resumed(connect(client, server).client) is Reason.NO_SESSION_OFFERED

    def test_ssls_own_session_was_offered(
        self, client: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity
    ) -> None:
        session = connect(client, server).client.session
        with watching(client):
            pair = connect(client, server_context(server_identity), session=session)
        assert why_not_resumed(pair.client) is Reason.SERVER_DECLINED

    def test_the_server_declined(
        self, client: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity
    ) -> None:
        pair = connect(client, server_context(server_identity), prepare=offering(take(client, server)))
        assert not pair.client.session_reused
        assert why_not_resumed(pair.client) is Reason.SERVER_DECLINED

    def test_not_resumable(self, ca: Authority, server_identity: Identity) -> None:
        client, server = client_context(ca, version="1.3"), server_context(server_identity, tickets=0)
        assert refused(client, server, take(client, server)) is Reason.NOT_RESUMABLE

    def test_expired(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        assert refused(client, server, aged(take(client, server), 10_000)) is Reason.EXPIRED

    def test_ticket_used(self, ca: Authority, server: ssl.SSLContext) -> None:
        client = client_context(ca, version="1.3")
        session = take(client, server)
        assert resumes(client, server, session)
        assert refused(client, server, session) is Reason.TICKET_USED

    def test_withdrawn(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pair = connect(client, server)
        session = session_of(pair.client)
        die_of_a_fatal_alert(pair)
        assert refused(client, server, session) is Reason.WITHDRAWN

    def test_another_name(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        assert refused(client, server, take(client, server), "a.example") is Reason.NAME_MISMATCH

    def test_another_certificate(
        self, client: ssl.SSLContext, server: ssl.SSLContext, client_identity: Identity
    ) -> None:
        session = take(client, server)
        client_identity.load(client)
        assert refused(client, server, session) is Reason.CERTIFICATE_CHANGED

    def test_trust_that_does_not_hold(
        self, client: ssl.SSLContext, server: ssl.SSLContext, other_ca: Authority, tls_version: str
    ) -> None:
        lax = client_context(version=tls_version, verify=False)
        planted = take(lax, server_context(other_ca.issue("localhost")))
        assert refused(client, server, planted) is Reason.TRUST_FAILED

    def test_a_better_session_takes_the_reason_away(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        bad, good = aged(take(client, server), 10_000), take(client, server)
        pair = Pair(client, server)
        with pytest.raises(SessionError):
            set_session(pair.client, bad)
        set_session(pair.client, good)
        pair.handshake()
        assert why_not_resumed(pair.client) is Reason.RESUMED
        pair.close()

    def test_a_worse_one_leaves_the_offer_as_it_is(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        bad, good = aged(take(client, server), 10_000), take(client, server)
        pair = Pair(client, server)
        set_session(pair.client, good)
        with pytest.raises(SessionError):
            set_session(pair.client, bad)
        pair.handshake()
        assert why_not_resumed(pair.client) is Reason.RESUMED
        pair.close()


class TestOnServers:
    def test_the_client_offered_nothing(self, ca: Authority, server: ssl.SSLContext) -> None:
        with watching(server):
            pair = connect(client_context(ca, version="1.3"), server)
        assert why_not_resumed(pair.server) is Reason.NO_SESSION_OFFERED

    def test_of_a_tls12_id_nobody_knows(self, ca: Authority, server: ssl.SSLContext) -> None:
        with watching(server):
            pair = connect(client_context(ca, version="1.2"), server)
        assert why_not_resumed(pair.server) is Reason.NOT_OBSERVED

    def test_a_ticket_it_cannot_read(
        self, client: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity
    ) -> None:
        session = take(client, server)
        other = server_context(server_identity)
        with watching(other):
            pair = connect(client, other, prepare=offering(session))
        assert not pair.server.session_reused
        assert why_not_resumed(pair.server) is Reason.SESSION_UNKNOWN


def test_every_reason_is_a_sentence_and_a_number_of_its_own() -> None:
    assert set(SENTENCES) == set(Reason)
    assert len(set(SENTENCES.values())) == len(Reason)
    assert len({int(reason) for reason in Reason}) == len(Reason)
    for reason in Reason:
        assert f"{reason}" == str(reason) == SENTENCES[reason]
        assert 0 < len(str(reason)) < 100


def test_force_passes_name_and_trust_and_nothing_else() -> None:
    named = {Reason.NAME_MISMATCH, Reason.CERTIFICATE_CHANGED, Reason.TRUST_FAILED, Reason.POLICY_CHANGED}
    assert named == FORCEABLE
