"""For how long a client's cache offers what it keeps: the server's lifetime, its own two, and a week always."""

from __future__ import annotations

import ssl
import time

import pytest

from helpers.certs import Authority
from helpers.clients import Clock, Home, entries, eventually, not_offered
from helpers.sessions import LIFETIME_HINT_TAG, take, with_der, with_integer
from sslsession import (
    SessionExpired,
)
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding
WEEK = 7 * 24 * 3600


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestLifetimes:
    def test_max_lifetime(self, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock) -> None:
        for store in (None, MemoryStore()):
            clock.ahead = 0
            home = Home(store, max_lifetime=60, clock=clock)
            home.visit(client, server)
            clock.ahead = 50
            assert home.visit(client, server).reused
            home.cache.clear()
            eventually(lambda home=home: home.holds == 0)
            clock.ahead = 0
            home.visit(client, server)
            home.restart()
            clock.ahead = 62
            assert not_offered(home.visit(client, server))
            home.close()

    def test_idle_lifetime(self, client12: ssl.SSLContext, server: ssl.SSLContext, clock: Clock) -> None:
        """Each use begins it again."""
        home = Home(idle_lifetime=60, clock=clock)
        home.visit(client12, server)
        for clock.ahead in (50, 100, 150):
            assert home.visit(client12, server).reused
        clock.ahead = 220
        assert not_offered(home.visit(client12, server))
        assert home.cache.stats()["expired"] == 1
        home.close()

    def test_idle_lifetime_of_tickets(
        self, client13: ssl.SSLContext, server: ssl.SSLContext, clock: Clock
    ) -> None:
        home = Home(idle_lifetime=60, clock=clock)
        home.visit(client13, server)
        clock.ahead = 50
        assert home.visit(client13, server).reused
        clock.ahead = 120
        assert not_offered(home.visit(client13, server))
        home.close()

    def test_what_is_in_a_store_expires_there(
        self, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock
    ) -> None:
        for settings, longest in (({}, 7200), ({"max_lifetime": 60}, 60), ({"idle_lifetime": 30}, 30)):
            home = Home(MemoryStore(), clock=clock, **settings)
            home.visit(client, server)
            home.close()
            assert all(0 < entry.expires_at - time.time() <= longest + 2 for entry in entries(home.store))

    def test_fact_35_longer_lifetimes_than_a_week_are_a_week(
        self, ca: Authority, client13: ssl.SSLContext, server: ssl.SSLContext, clock: Clock
    ) -> None:
        session = take(client13, server)
        long = with_der(session, lambda der: with_integer(der, LIFETIME_HINT_TAG, 2 * WEEK))
        long = with_der(long, lambda der: with_integer(der, 2, 2 * WEEK))
        home = Home(clock=clock)
        assert long.expires_at <= long.time + WEEK
        home.cache.add(long, "localhost")
        clock.ahead = WEEK + 60
        assert not_offered(home.visit(client13, server))
        home.close()

    def test_fact_35_a_lifetime_of_nothing(
        self, client12: ssl.SSLContext, client13: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """TLS 1.3: discard it at once. TLS 1.2 (RFC 5077 3.3): unspecified."""
        home = Home()
        for client in (client12, client13):
            session = with_der(take(client, server), lambda der: with_integer(der, LIFETIME_HINT_TAG, 0))
            if session.single_use:
                with pytest.raises(SessionExpired):
                    home.cache.add(session, "localhost")
            else:
                home.cache.add(session, "localhost")
                assert home.visit(client, server).reused
        home.close()
