"""When a client sends early data: only where it was allowed, and under the very settings of the session.

OpenSSL itself looks at no settings, and over a name or an ALPN that differs it ends the connection: none may.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.clients import Home
from helpers.early import ACCEPTED, NOT_SENT, REJECTED, Site, earned, meet, speak
from helpers.memory import Pair
from helpers.peers import client_context, server_context
from helpers.sessions import offering
from sslsession import ClientSessionCache, Session
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture
def site(ca: Authority, server_identity: Identity) -> Iterator[Site]:
    site = Site(ca, server_identity)
    yield site
    site.close()


class TestOffByDefault:
    @pytest.mark.parametrize("store", [False, True])
    def test_a_cache_that_was_not_asked(self, site: Site, ca: Authority, store: bool) -> None:
        home, client = Home(MemoryStore() if store else None), client_context(ca, version="1.3")
        home.attach(client)
        told = [site.speak(client=client) for _ in range(3)]
        assert [each.status for each in told] == [NOT_SENT] * 3
        assert [each.reused for each in told] == [False, True, True]
        home.close()

    @pytest.mark.parametrize("permits_last", [False, True])
    def test_two_caches_on_a_context(self, site: Site, ca: Authority, permits_last: bool) -> None:
        """The last to join has the tickets, and so its word counts."""
        client = client_context(ca, version="1.3")
        caches = [
            ClientSessionCache(early_data=not permits_last),
            ClientSessionCache(early_data=permits_last),
        ]
        for cache in caches:
            cache.attach(client)
        told = [site.speak(client=client) for _ in range(3)]
        assert [each.reused for each in told] == [False, True, True]
        assert told[2].status is (ACCEPTED if permits_last else NOT_SENT)
        for cache in caches:
            cache.close()

    def test_one_cache_allows_nothing_for_another(self, site: Site, ca: Authority) -> None:
        """Contexts of the same policy, caches of one store: each uses what it was allowed."""
        store = MemoryStore()
        for early in (False, True, False, True):
            client, home = client_context(ca, version="1.3"), Home(store, early_data=early)
            home.attach(client)
            home.visit(client, site.server)
            assert site.speak(client=client).status is (ACCEPTED if early else NOT_SENT)
            home.close()

    def test_a_cache_that_is_gone_allows_nothing(self, ca: Authority, site: Site) -> None:
        """Its number is nobody else's."""
        client = client_context(ca, version="1.3")
        cache = ClientSessionCache(early_data=True)
        cache.attach(client)
        site.speak(client=client)
        cache.close()
        assert site.speak(client=client).status is NOT_SENT

    def test_a_server_that_allows_none(self, ca: Authority, server: ssl.SSLContext) -> None:
        home, client = Home(early_data=True), client_context(ca, version="1.3")
        home.attach(client)
        assert [speak(client, server).status for _ in range(3)] == [NOT_SENT] * 3
        home.close()

    def test_who_has_no_session(self, site: Site, ca: Authority) -> None:
        told = site.speak(client=client_context(ca, version="1.3"))
        assert told.status is NOT_SENT
        assert not told.reused

    def test_whoever_sets_a_session_himself_allows_it(self, site: Site, ca: Authority) -> None:
        client = client_context(ca, version="1.3")
        session = earned(client, site.server)
        assert site.speak(client=client, prepare=offering(session)).status is ACCEPTED

    def test_ssl_s_own_session_is_of_unknown_settings(self, site: Site, ca: Authority) -> None:
        client = client_context(ca, version="1.3")
        pair = Pair(client, site.server)
        meet(pair)
        pair.exchange()
        session = pair.client.session
        told = site.speak(client=client, session=session)
        assert told.reused
        assert told.status is NOT_SENT

    def test_also_where_it_is_set_after_another(self, site: Site, ca: Authority) -> None:
        """What is known of the one says nothing of the other."""
        client = client_context(ca, version="1.3")
        pair = Pair(client, site.server)
        meet(pair)
        pair.exchange()
        other, mine = pair.client.session, earned(client, site.server)

        def prepare(conn: Any) -> None:
            sslsession.set_session(conn, mine)
            conn.session = other

        told = site.speak(client=client, prepare=prepare)
        assert told.reused
        assert told.status is NOT_SENT


class TestNames:
    @pytest.mark.parametrize("acknowledged", [True, False])
    @pytest.mark.parametrize("name", ["LOCALHOST", "LocalHost"])
    def test_in_another_case(self, site: Site, name: str, acknowledged: bool) -> None:
        """It is the same peer; but OpenSSL ends the handshake over another spelling, where it remembers the name."""
        if acknowledged:
            site.server.sni_callback = lambda *_: None
            assert not site.speak(name="a.example").reused
        first, second = ("A.EXAMPLE", "a.Example") if acknowledged else (name, name.lower())
        told = site.speak(name=first)
        assert told.reused
        assert told.status is (NOT_SENT if acknowledged else ACCEPTED)
        assert site.speak(name=second).reused

    def test_of_another_peer(self, site: Site) -> None:
        told = site.speak(name="a.example")
        assert not told.reused
        assert told.status is NOT_SENT

    @pytest.mark.parametrize(
        "acknowledged",
        [
            True,
            pytest.param(False),
        ],
    )
    def test_of_another_peer_by_force(self, ca: Authority, site: Site, acknowledged: bool) -> None:
        """Where the server does not acknowledge names, OpenSSL does not remember them, and would see no difference."""
        client = client_context(ca, version="1.3")
        if acknowledged:
            site.server.sni_callback = lambda *_: None
        session = earned(client, site.server)
        told = site.speak(name="a.example", client=client, prepare=offering(session, force=True))
        assert told.status is NOT_SENT

    def test_addresses(self, ca: Authority, server_identity: Identity) -> None:
        """They are no SNI."""
        site = Site(ca, server_identity, name="127.0.0.1")
        assert site.speak().status is ACCEPTED
        site.close()


class TestALPN:
    @pytest.fixture
    def site(self, ca: Authority, server_identity: Identity) -> Iterator[Site]:
        client = client_context(ca, version="1.3", alpn=["h2", "http/1.1"])
        site = Site(ca, server_identity, client=client, server=server_context(server_identity, alpn=["h2"]))
        yield site
        site.close()

    def test_the_same(self, site: Site) -> None:
        for _ in range(3):
            assert site.speak().status is ACCEPTED

    @pytest.mark.parametrize("protocols", [["http/1.1"], ["http/1.1", "h2"], ["h2"], []])
    def test_changed_meanwhile(self, site: Site, protocols: list[str]) -> None:
        site.client.set_alpn_protocols(protocols)
        for status in (NOT_SENT, ACCEPTED):
            told = site.speak()
            assert told.status is status

    def test_set_before_the_cache_is_attached(self, ca: Authority, server_identity: Identity) -> None:
        server = server_context(server_identity, alpn=["h2"])
        client = client_context(ca, version="1.3")
        site = Site(ca, server_identity, client=client, server=server)
        client.set_alpn_protocols(["h2"])
        for status in (NOT_SENT, ACCEPTED, ACCEPTED):
            assert site.speak().status is status
        site.close()

    def test_another_context_offers_something_else(self, site: Site, ca: Authority) -> None:
        """What a context offers no function tells."""
        session = earned(site.client, site.server)
        for protocols, status in ((["h2", "http/1.1"], NOT_SENT), (["http/1.1"], NOT_SENT), ([], NOT_SENT)):
            other = client_context(ca, version="1.3", alpn=protocols)
            copy = Session.from_bytes(session.to_bytes())
            told = site.speak(client=other, prepare=offering(copy))
            assert told.status is status or told.status is ACCEPTED
            assert told.status is NOT_SENT or "h2" in protocols
            session = earned(site.client, site.server)

    def test_the_server_chooses_another_one(self, site: Site) -> None:
        site.server.set_alpn_protocols(["http/1.1"])
        told = site.speak()
        assert told.reused
        assert told.status is REJECTED

    def test_the_server_chooses_none(self, site: Site) -> None:
        site.server.set_alpn_protocols([])
        assert site.speak().status is REJECTED
