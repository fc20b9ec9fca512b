"""`ServerSessionCache`: servers with the same store resume each other's sessions, each for as long as it may."""

from __future__ import annotations

import ssl
import time

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Clock
from helpers.memory import Pair
from helpers.peers import client_context, server_context
from helpers.servers import (
    CACHES,
    FULL,
    IDS,
    RESUMED,
    STATEFUL,
    Serving,
    Way,
    earn,
    host,
    offer,
    params,
    renew,
)
from helpers.sessions import session_of
from sslsession import ServerSessionCache
from sslsession.stores import MemoryStore, SQLiteStore

pytestmark = pytest.mark.binding

MOST_BYTES = 210
"""Of a session in a store, where clients have no certificates."""


@pytest.fixture(params=params(*CACHES))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


class TestWhoResumes:
    def test_any_context_with_the_same_store(
        self, serving: Serving, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        """Another context, another cache: as in another process."""
        first, second = server_context(server_identity), server_context(server_identity)
        serving.attach(first)
        twin = serving.twin()
        twin.attach(second)
        for made, used in ((first, second), (second, first), (first, first)):
            assert offer(client, used, earn(client, made)) == RESUMED
        assert twin.cache.stats()["resumed"] == 1
        assert serving.cache.stats()["resumed"] == 2
        twin.close()

    def test_its_twin_without_a_cache_does_not(
        self, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        first, second = server_context(server_identity), server_context(server_identity)
        assert offer(client, second, earn(client, first)) == FULL

    def test_through_a_file(
        self, way: Way, client: ssl.SSLContext, server_identity: Identity, tmp_path: object
    ) -> None:
        """A store that may keep one waiting is written to by another thread: `flush` waits for that."""
        url = f"sqlite://{tmp_path}/private/sessions.db"
        store = SQLiteStore(f"{tmp_path}/private/sessions.db")
        first, second = Serving(way, url), Serving(way, store)
        made, used = (each.attach(server_context(server_identity)) for each in (first, second))
        session = earn(client, made)
        first.cache.flush()
        assert offer(client, used, session) == RESUMED
        first.close()
        second.close()
        store.close()

    def test_a_client_that_dropped(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """No close_notify: OpenSSL's own cache forgets such a session, and most clients end like that (fact 66)."""
        serving.attach(server)
        session = earn(client, server)
        for _ in range(5):
            outcome, session = renew(client, server, session, drop=True)
            assert outcome == RESUMED

    def test_with_another_context_id_not(
        self, serving: Serving, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server, other = serving.attach(server_context(server_identity)), server_context(server_identity)
        apart = serving.twin(context_id="shop")
        apart.attach(other)
        assert offer(client, other, earn(client, server)) == FULL
        assert offer(client, server, earn(client, other)) == FULL
        same, third = serving.twin(context_id=b"shop"), server_context(server_identity)
        same.attach(third)
        assert offer(client, third, earn(client, other)) == RESUMED
        for each in (apart, same):
            each.close()


class TestOnce:
    @pytest.fixture(params=params(STATEFUL))
    def way(self, request: pytest.FixtureRequest) -> Way:
        return request.param

    def test_each_ticket_once_whoever_asks(
        self, serving: Serving, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server, other = serving.attach(server_context(server_identity)), server_context(server_identity)
        twin = serving.twin()
        twin.attach(other)
        session = earn(client, server)
        assert [offer(client, each, session) for each in (other, server, other)] == [RESUMED, FULL, FULL]
        twin.close()

    def test_a_chain_of_renewals(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        serving.attach(server)
        session = earn(client, server)
        for _ in range(20):
            outcome, session = renew(client, server, session)
            assert outcome == RESUMED
        stats = serving.cache.stats()
        assert (stats["resumed"], stats["renewed"], stats["misses"]) == (20, 20, 0)

    @pytest.mark.parametrize("tickets", [1, 2, 5])
    def test_as_many_tickets_as_wished(self, ca: Authority, server: ssl.SSLContext, tickets: int) -> None:
        client = client_context(ca, version="1.3")
        with ServerSessionCache(tickets=tickets) as cache:
            cache.attach(server)
            session = earn(client, server)
            assert cache.stats()["stored"] == tickets
            renew(client, server, session)
            assert cache.stats()["stored"] == tickets + 1, "one for the one that was used"

    def test_a_small_der(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        serving.attach(server)
        earn(client, server)
        assert all(150 < len(each.value) <= MOST_BYTES for each in serving.store.entries())


def test_a_small_der_of_tls_1_2(ca: Authority, server: ssl.SSLContext) -> None:
    """No certificate is in it, and no name that the client did not send."""
    serving = Serving(IDS)
    serving.attach(server)
    earn(IDS.client(ca), server)
    (entry,) = serving.store.entries()
    assert 150 < len(entry.value) <= MOST_BYTES
    serving.close()


def test_with_client_certificates_theirs_is_in_it(
    ca: Authority, client_identity: Identity, server_identity: Identity
) -> None:
    """The whole chain is not: what resumes it shows the application the client's own."""
    serving, (leaf,) = Serving(STATEFUL), client_identity.chain
    server = serving.attach(host(server_identity, ca))
    client = STATEFUL.client(ca, client_identity)
    session = earn(client, server)
    values = [each.value for each in serving.store.entries()]
    assert [leaf in value for value in values] == [True, True]
    assert all(len(value) <= len(leaf) + MOST_BYTES + 10 for value in values)
    seen: list[bytes | None] = []
    assert (
        renew(client, server, session, then=lambda pair: seen.append(pair.server.getpeercert(True)))[0]
        == RESUMED
    )
    assert seen == [leaf]
    serving.close()


class TestHowLong:
    @pytest.fixture(params=params(IDS, STATEFUL))
    def way(self, request: pytest.FixtureRequest) -> Way:
        return request.param

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    def test_for_its_lifetime(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock
    ) -> None:
        serving = Serving(way, lifetime=100, clock=clock)
        serving.attach(server)
        session, late = earn(client, server), earn(client, server)
        clock.ahead = 98
        assert offer(client, server, session) == RESUMED
        clock.ahead = 101
        assert offer(client, server, late) == FULL
        serving.close()

    def test_openssl_is_told_the_lifetime(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """So are clients, by the ticket's hint."""
        with ServerSessionCache(lifetime=1234) as cache:
            cache.attach(server)
            pair = Pair(client, server, "localhost").handshake()
            pair.exchange()
            assert session_of(pair.server).timeout == 1234
            if way.version == "1.3":
                assert session_of(pair.client).lifetime_hint == 1234

    def test_until_it_was_idle_for_too_long(
        self, ca: Authority, server: ssl.SSLContext, clock: Clock
    ) -> None:
        """Of TLS 1.2: each resumption counts anew, but never beyond the lifetime."""
        serving = Serving(IDS, lifetime=100, idle_lifetime=30, clock=clock)
        serving.attach(server)
        client = IDS.client(ca)
        session, idle = earn(client, server), earn(client, server)
        for ahead in (20, 40, 60, 80, 98):
            clock.ahead = ahead
            assert offer(client, server, session) == RESUMED
        assert offer(client, server, idle) == FULL
        clock.ahead = 101
        assert offer(client, server, session) == FULL
        serving.close()

    def test_servers_with_and_without_an_idle_lifetime_understand_each_other(
        self, ca: Authority, server_identity: Identity
    ) -> None:
        client = IDS.client(ca)
        strict = Serving(IDS, idle_lifetime=30)
        lenient = Serving(IDS, strict.store)
        one, other = (each.attach(server_context(server_identity)) for each in (strict, lenient))
        for made, used in ((one, other), (other, one), (one, one)):
            session = earn(client, made)
            assert [offer(client, used, session) for _ in range(2)] == [RESUMED, RESUMED]
        strict.close()
        lenient.close()


class TestHowMany:
    def test_the_size_holds_and_the_least_used_go(self, ca: Authority, server: ssl.SSLContext) -> None:
        client = client_context(ca, version="1.2", check_hostname=False)
        with ServerSessionCache(size=50) as cache:
            cache.attach(server)
            sessions = [earn(client, server) for _ in range(50)]
            assert offer(client, server, sessions[0]) == RESUMED, "it was used last"
            sessions += [earn(client, server) for _ in range(10)]
            assert cache.stats()["evicted"] == 10
            assert [offer(client, server, each) for each in sessions[11:] + sessions[:1]] == [RESUMED] * 50
            assert [offer(client, server, each) for each in sessions[1:11]] == [FULL] * 10

    def test_a_store_of_ones_own_has_its_own_size(self, ca: Authority, server: ssl.SSLContext) -> None:
        store, client = MemoryStore(3), client_context(ca, version="1.2", check_hostname=False)
        with ServerSessionCache(store, size=1000) as cache:
            cache.attach(server)
            for _ in range(5):
                earn(client, server)
        assert len(list(store.entries())) == 3

    def test_a_closed_cache_leaves_a_store_of_ones_own_open(
        self, ca: Authority, server: ssl.SSLContext
    ) -> None:
        store, client = MemoryStore(), client_context(ca, version="1.2", check_hostname=False)
        with ServerSessionCache(store) as cache:
            cache.attach(server)
            session = earn(client, server)
        with ServerSessionCache(store) as cache:
            cache.attach(server)
            assert offer(client, server, session) == RESUMED
        store.add(b"key", b"value", expires_at=time.time() + 10)
