"""A session whose connection died of a fatal alert is not resumed, here or from the store; its honest twin is."""

from __future__ import annotations

import ssl

import pytest

from helpers.certs import Authority
from helpers.clients import Clock, Home, not_offered
from helpers.peers import client_context, connect, server_context
from helpers.sessions import die_of_a_fatal_alert, session_of
from sslsession import Reason

pytestmark = pytest.mark.binding
MINUTE, HOUR = 60, 3600


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestFatalAlerts:
    @pytest.mark.parametrize("sent_by_client", [True, False])
    @pytest.mark.parametrize("resumed", [True, False])
    def test_a_session_after_a_fatal_alert(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext, sent_by_client: bool, resumed: bool
    ) -> None:
        if resumed:
            home.earn(client, server)
        home.attach(client)
        pair = connect(client, server)
        assert pair.client.session_reused is resumed
        die_of_a_fatal_alert(pair, sent_by_client=sent_by_client)
        assert home.cache.stats()["withdrawn"] == 1
        pair.drop()
        home.restart()
        assert home.holds == 0, "in the store neither"
        assert not_offered(home.visit(client, server))

    def test_a_connection_that_is_merely_dropped(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """Fact 10: OpenSSL marks its session; what was kept is a copy."""
        home.visit(client, server, drop=True)
        home.restart()
        assert home.visit(client, server, drop=True).reused
        home.restart()
        assert home.visit(client, server, drop=True).reused

    def test_it_ends_copies_of_that_session_that_were_not_in_the_cache(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home, dead = Home(), connect(client, server)
        session = session_of(dead.client)
        die_of_a_fatal_alert(dead)
        home.cache.add(session, "localhost")
        done = home.visit(client, server)
        assert not_offered(done)
        assert done.reason is Reason.WITHDRAWN
        home.close()

    def test_another_peer_s_sessions_stay(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home()
        home.earn(client, server, "a.example")
        pair = connect(client, server, "b.example")
        die_of_a_fatal_alert(pair)
        assert home.visit(client, server, "a.example").reused
        home.close()

    def test_a_handshake_that_failed_leaves_nothing(
        self, home: Home, ca: Authority, other_ca: Authority, tls_version: str, server: ssl.SSLContext
    ) -> None:
        client = client_context(ca, version=tls_version)
        for _ in range(2):
            with pytest.raises(ssl.SSLCertVerificationError):
                home.visit(client, server_context(other_ca.issue("localhost")))
        assert home.holds == 0
        home.earn(client, server)
