"""Withdrawn sessions that come back, each beside its honest twin: where servers come, go, or have other settings."""

from __future__ import annotations

import ssl

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Clock
from helpers.openssl_calls import Unraisables
from helpers.servers import (
    CACHES,
    FULL,
    RESUMED,
    TICKETS12,
    TICKETS13,
    Serving,
    Way,
    earn,
    host,
    offer,
    params,
)
from sslsession import server as server_module
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding

HOUR, WEEK = 3600, 7 * 24 * 3600


@pytest.fixture(params=params(*CACHES))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority, client_identity: Identity) -> ssl.SSLContext:
    return way.client(ca, client_identity)


@pytest.fixture
def server(ca: Authority, server_identity: Identity) -> ssl.SSLContext:
    return host(server_identity, ca)


@pytest.fixture
def other(ca: Authority, server_identity: Identity) -> ssl.SSLContext:
    return host(server_identity, ca)


class Deaf(MemoryStore):
    """One that is down."""

    def peek(self, key: bytes) -> bytes | None:
        raise OSError("the store is down")


class TestAuthenticationLimits:
    """Two servers of one store of which one allows for an hour, and the other for a week."""

    def check(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        other: ssl.SSLContext,
        client_identity: Identity,
        limits: tuple[int, int],
    ) -> list[str]:
        """What the one resumes, at once and after an hour and a quarter, of what the other withdrew."""
        clock = Clock()
        one = serving.twin(clock=clock, authentication_limit=limits[0], lifetime=4 * HOUR)
        two = one.twin(authentication_limit=limits[1])
        one.attach(server)
        two.attach(other)
        early, late = earn(client, other), earn(client, other)
        one.cache.revoke(client_certificate=client_identity.leaf_der)
        two.pass_time()
        found = [offer(client, other, early)]
        clock.ahead = 1.25 * HOUR
        for each in (one, two):
            each.pass_time()
        found.append(offer(client, other, late))
        for each in (one, two):
            each.close()
        return found

    def test_alike(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        other: ssl.SSLContext,
        client_identity: Identity,
    ) -> None:
        assert self.check(serving, client, server, other, client_identity, (WEEK, WEEK)) == [FULL, FULL]

    def test_the_withdrawing_server_s_is_shorter(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        other: ssl.SSLContext,
        client_identity: Identity,
    ) -> None:
        assert self.check(serving, client, server, other, client_identity, (HOUR, WEEK)) == [FULL, FULL]


class TestNewcomers:
    """A server that is started after something was withdrawn, and has not looked at the store by itself yet."""

    def test_one_that_has_looked(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        other: ssl.SSLContext,
        client_identity: Identity,
    ) -> None:
        serving.attach(server)
        session = earn(client, server)
        serving.cache.revoke(client_certificate=client_identity.leaf_der)
        twin = serving.twin()
        twin.attach(other)
        twin.cache._poll()
        assert offer(client, other, session) == FULL
        twin.close()

    def test_one_that_serves_at_once(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        other: ssl.SSLContext,
        client_identity: Identity,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(server_module, "POLL_EVERY", 3600)
        serving.attach(server)
        session = earn(client, server)
        serving.cache.revoke(client_certificate=client_identity.leaf_der)
        twin = serving.twin()
        twin.attach(other)
        assert offer(client, other, session) == FULL
        twin.close()

    @pytest.mark.parametrize("way", params(TICKETS12, TICKETS13))
    def test_one_whose_store_is_down(
        self,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        other: ssl.SSLContext,
        client_identity: Identity,
        way: Way,
        unraisables: Unraisables,
    ) -> None:
        later = Clock()
        later.ahead = 2
        serving, twin = Serving(way), Serving(way, Deaf(), clock=later)
        serving.attach(server)
        session = earn(client, server)
        serving.cache.revoke(client_certificate=client_identity.leaf_der)
        twin.attach(other)
        twin.cache._poll()
        found = offer(client, other, session)
        for each in (serving, twin):
            each.close()
        assert len(unraisables.errors) == 1
        assert found == FULL


@pytest.mark.parametrize("way", params(TICKETS12, TICKETS13))
class TestARingThatStays:
    """The ring's own rules know of no withdrawal: those are of the cache on the same context."""

    def check(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, leaf: bytes
    ) -> list[str]:
        serving.attach(server)
        sessions = [earn(client, server) for _ in range(2)]
        found = [offer(client, server, earn(client, server))]
        serving.cache.revoke(client_certificate=leaf)
        found.append(offer(client, server, sessions.pop()))
        serving.cache.detach(server)
        return [*found, offer(client, server, sessions.pop())]

    def test_while_the_cache_is_there(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, client_identity: Identity
    ) -> None:
        assert self.check(serving, client, server, client_identity.leaf_der)[:2] == [RESUMED, FULL]

    def test_after_the_cache_was_detached(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, client_identity: Identity
    ) -> None:
        assert self.check(serving, client, server, client_identity.leaf_der) == [RESUMED, FULL, FULL]
