"""`ServerSessionCache` and its contexts: attached, detached, and shared with hooks and a ring."""

from __future__ import annotations

import ssl
import threading
import warnings
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.memory import Pair
from helpers.openssl_calls import cached
from helpers.peers import server_context
from helpers.servers import (
    CACHES,
    FULL,
    IDS,
    RESUMED,
    STATEFUL,
    Serving,
    Way,
    context_facts,
    earn,
    offer,
    params,
)
from helpers.sessions import session_of
from sslsession import ServerSessionCache, SessionError, SessionHooks, TicketKeyRing

pytestmark = pytest.mark.binding


@pytest.fixture(params=params(*CACHES))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


class TestDetaching:
    @pytest.mark.parametrize("how", ["detach", "close"])
    @pytest.mark.parametrize("settings", [{}, {"tickets": 4, "session_tickets": False}])
    def test_all_is_as_it_was(
        self, serving: Serving, server_identity: Identity, how: str, settings: dict[str, Any]
    ) -> None:
        """Cache mode, timeout, tickets, options and callbacks, whatever the context had."""
        server = server_context(server_identity, **settings)
        before = context_facts(server)
        serving.attach(server)
        assert context_facts(server) != before
        if how == "detach":
            serving.cache.detach(server)
        serving.close()
        assert context_facts(server) == before

    def test_the_session_id_context_is_ssl_s_again(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """CPython gives each connection the constant one."""
        serving.attach(server)
        pair = Pair(client, server).handshake()
        assert len(session_of(pair.server).id_context) == 32
        pair.close()
        serving.close()
        pair = Pair(client, server).handshake()
        assert session_of(pair.server).id_context.startswith(b"Python")
        pair.close()

    def test_openssl_resumes_its_own_again_and_ours_no_more(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        own = earn(client, server)
        serving.attach(server)
        ours = earn(client, server)
        assert offer(client, server, own) == FULL, "what was made without any rules"
        serving.close()
        assert offer(client, server, ours) == FULL
        assert offer(client, server, earn(client, server)) == RESUMED

    def test_what_was_kept_stays_in_the_store(
        self, serving: Serving, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server, other = server_context(server_identity), server_context(server_identity)
        serving.attach(server)
        session = earn(client, server)
        twin = serving.twin()
        twin.attach(other)
        serving.close()
        assert offer(client, other, session) == RESUMED
        twin.close()

    def test_connections_go_on(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        serving.attach(server)
        done, begun = Pair(client, server).handshake(), Pair(client, server)
        with pytest.raises(ssl.SSLWantReadError):
            begun.client.do_handshake()
        with pytest.raises(ssl.SSLWantReadError):
            begun.server.do_handshake()
        serving.close()
        done.exchange()
        begun.handshake().exchange()
        for each in (done, begun):
            each.close()

    def test_one_that_never_was_attached(self, serving: Serving, server: ssl.SSLContext) -> None:
        before = context_facts(server)
        serving.cache.detach(server)
        assert context_facts(server) == before


class TestAttaching:
    def test_twice_is_once(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        before = context_facts(server)
        serving.attach(server)
        serving.cache.attach(server)
        assert offer(client, server, earn(client, server)) == RESUMED
        assert serving.cache.stats()["resumed"] == 1
        serving.close()
        assert context_facts(server) == before

    def test_again_after_detaching(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        serving.attach(server)
        session = earn(client, server)
        for _ in range(3):
            serving.cache.detach(server)
            serving.cache.attach(server)
        assert offer(client, server, session) == RESUMED

    def test_a_second_cache_is_refused(self, serving: Serving, server: ssl.SSLContext) -> None:
        serving.attach(server)
        other = ServerSessionCache()
        with pytest.raises(SessionError, match="ServerSessionCache already"):
            other.attach(server)
        other.close()

    def test_of_many_at_once_one_succeeds(self, server_identity: Identity) -> None:
        for _ in range(20):
            server, caches = server_context(server_identity), [ServerSessionCache() for _ in range(8)]
            refused: list[SessionError] = []
            together = threading.Barrier(len(caches))

            def attach(cache: ServerSessionCache, server=server, refused=refused, together=together) -> None:
                together.wait(20)
                try:
                    cache.attach(server)
                except SessionError as error:
                    refused.append(error)

            threads = [threading.Thread(target=attach, args=[cache]) for cache in caches]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert len(refused) == len(caches) - 1
            for cache in caches:
                cache.close()

    def test_a_client_s_context(self, serving: Serving, client: ssl.SSLContext) -> None:
        with pytest.raises(ValueError, match="client's"):
            serving.cache.attach(client)

    @pytest.mark.parametrize("what", [None, "context", object()])
    def test_no_context(self, what: Any) -> None:
        with ServerSessionCache() as cache, pytest.raises(TypeError):
            cache.attach(what)

    def test_a_context_of_both_sides(
        self, serving: Serving, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        """`PROTOCOL_TLS`: OpenSSL's internal cache must not resume behind the rules' back there either."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            server = ssl.SSLContext(ssl.PROTOCOL_TLS)
        server_identity.load(server)
        before = context_facts(server)
        serving.attach(server)
        session = earn(client, server)
        assert cached(server) == 0
        assert offer(client, server, session) == RESUMED
        assert serving.cache.stats()["resumed"] == 1
        serving.close()
        assert context_facts(server) == before

    def test_a_connection_made_before(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """Its options are of then, its session is for the store's servers all the same, or for nobody."""
        pair = Pair(client, server)
        serving.attach(server)
        pair.handshake().exchange()
        session = pair.client.session
        pair.close()
        assert session is not None
        assert offer(client, server, session) in (RESUMED, FULL)
        assert offer(client, server, earn(client, server)) == RESUMED


class TestOthersOnTheContext:
    def test_hooks_hear_of_sessions(self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """Of those that OpenSSL tells of: a TLS 1.2 server never tells of tickets (fact 20)."""
        heard: list[bytes] = []
        hooks = SessionHooks(server, new=lambda conn, session: heard.append(session.id))
        serving = Serving(way)
        serving.attach(server)
        assert offer(client, server, earn(client, server)) == RESUMED
        assert len(heard) == {"1.2": 0 if way.ring else 1, "1.3": 3}[way.version]
        serving.close()
        hooks.close()

    def test_a_get_hook_is_asked_first(self, ca: Authority, server: ssl.SSLContext) -> None:
        client, asked = IDS.client(ca), []
        serving = Serving(IDS)
        serving.attach(server)
        hooks = SessionHooks(server, get=lambda conn, session_id: asked.append(session_id))
        assert offer(client, server, earn(client, server)) == RESUMED
        assert len(asked) == 1
        hooks.close()
        serving.close()

    @pytest.mark.parametrize("rules", ["made under them", "made before"])
    def test_what_a_get_hook_returns_is_under_the_cache_s_rules(
        self, ca: Authority, server: ssl.SSLContext, rules: str
    ) -> None:
        client, kept = IDS.client(ca), {}
        hooks = SessionHooks(
            server,
            new=lambda conn, session: kept.__setitem__(session.id, session),
            get=lambda conn, session_id: kept.get(session_id),
        )
        serving = Serving(IDS)
        if rules == "made before":
            session = earn(client, server)
            serving.attach(server)
        else:
            serving.attach(server)
            session = earn(client, server)
            serving.store.clear()
        assert offer(client, server, session) == (FULL if rules == "made before" else RESUMED)
        serving.close()
        hooks.close()

    @pytest.mark.parametrize("way", params(STATEFUL))
    def test_a_ring_that_comes_and_goes(self, way: Way, ca: Authority, server: ssl.SSLContext) -> None:
        """With one, tickets hold the session; without it, they are ids again; each kind resumes while it can."""
        serving, ring, client = Serving(way), TicketKeyRing.random(), way.client(ca)
        serving.attach(server)
        before = context_facts(server)
        stateful = earn(client, server)
        ring.attach(server)
        stateless = earn(client, server)
        assert offer(client, server, stateless) == RESUMED
        assert offer(client, server, stateful) == FULL
        ring.detach(server)
        assert context_facts(server) == before
        assert offer(client, server, stateful) == RESUMED
        assert offer(client, server, stateless) == FULL
        serving.close()
