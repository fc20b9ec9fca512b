"""A session ends by its age, its certificate's, its one use; and its honest twin resumes."""

from __future__ import annotations

import ssl

import pytest

from helpers.certs import Authority
from helpers.clients import Clock, Home, begin, copied, entries, not_offered, refill, visit
from helpers.peers import Pair, client_context, connect, server_context
from helpers.sessions import aged, session_of, take
from sslsession import Reason, SessionExpired
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding
MINUTE, HOUR = 60, 3600


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestAge:
    def test_an_expired_session(
        self, home: Home, clock: Clock, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """OpenSSL's servers give sessions two hours."""
        home.earn(client, server)
        clock.ahead = HOUR
        assert home.visit(client, server).reused
        home.restart()
        clock.ahead = 2 * HOUR + MINUTE
        done = home.visit(client, server)
        assert not_offered(done)
        assert done.reason is Reason.EXPIRED

    def test_one_that_was_added(self, clock: Clock, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home(clock=clock)
        with pytest.raises(SessionExpired):
            home.cache.add(aged(take(client, server), 3 * HOUR), "localhost")
        home.cache.add(take(client, server), "localhost")
        clock.ahead = 3 * HOUR
        assert home.visit(client, server).reason is Reason.EXPIRED
        clock.ahead = 0
        home.cache.add(take(client, server), "localhost")
        assert home.visit(client, server).reused
        home.close()

    def test_one_from_the_future(
        self, home: Home, clock: Clock, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """Where the clock was set back, nobody knows how old a session is."""
        home.earn(client, server)
        clock.ahead = -HOUR
        assert home.visit(client, server).reason is Reason.EXPIRED
        clock.ahead = 0
        home.earn(client, server)


class TestCertificates:
    @pytest.fixture(params=[True, False])
    def verifying(self, request: pytest.FixtureRequest, ca: Authority, tls_version: str) -> ssl.SSLContext:
        return client_context(ca, version=tls_version, verify=request.param)

    def test_a_leaf_that_expired_since(
        self, home: Home, clock: Clock, ca: Authority, verifying: ssl.SSLContext
    ) -> None:
        short = server_context(ca.issue("localhost", days=1 / 48))
        home.earn(verifying, short)
        clock.ahead = 45 * MINUTE
        done = home.visit(verifying, short)
        assert not_offered(done)
        assert done.reason is Reason.EXPIRED
        long = server_context(ca.issue("a.example"))
        clock.ahead = 0
        home.visit(verifying, long, "a.example")
        home.restart()
        clock.ahead = 45 * MINUTE
        assert home.visit(verifying, long, "a.example").reused, "its certificate is in date"


class TestSingleUse:
    """RFC 8446 C.4."""

    def test_tickets_that_come_back_into_the_store(self, ca: Authority, server: ssl.SSLContext) -> None:
        """An old copy of a store brings taken tickets back: a process that used them still knows."""
        store = MemoryStore()
        home, client = Home(store), client_context(ca, version="1.3")
        home.visit(client, server)
        home.restart()
        backup = entries(copied(store))
        assert len(backup) == 2
        used = [home.visit(client, server) for _ in range(2)]
        assert all(done.reused for done in used)
        home.close()
        refill(store, backup)
        home.restart()
        done = home.visit(client, server)
        assert not set(done.offered) & {each for one in used for each in one.offered}
        assert not done.reused
        assert done.reason is Reason.TICKET_USED
        home.close()

    def test_two_caches_of_one_context_share_no_ticket(self, ca: Authority, server: ssl.SSLContext) -> None:
        one, other, client = Home(), Home(), client_context(ca, version="1.3")
        one.attach(client)
        other.attach(client)
        offered = [visit(client, server).offered for _ in range(3)]
        other.cache.detach(client)
        offered += [visit(client, server).offered for _ in range(3)]
        other.cache.attach(client)
        one.cache.detach(client)
        offered += [visit(client, server).offered for _ in range(3)]
        used = [each[0] for each in offered if each]
        assert len(used) == len(set(used)) == 7, "all but the first of each cache"
        one.close()
        other.close()

    def test_a_ticket_that_the_user_took_as_well(self, ca: Authority, server: ssl.SSLContext) -> None:
        home, client = Home(tickets_per_peer=1), client_context(ca, version="1.3")
        home.attach(client)
        pair = connect(client, server)
        session = session_of(pair.client)
        pair.close()
        offered = home.visit(client, server).offered
        assert offered
        home.cache.clear()
        home.cache.add(session, "localhost")
        done = home.visit(client, server)
        assert not_offered(done)
        assert done.reason is Reason.TICKET_USED
        home.close()

    def test_two_handshakes_that_begin_before_either_ends(
        self, ca: Authority, server: ssl.SSLContext
    ) -> None:
        home, client = Home(), client_context(ca, version="1.3")
        home.visit(client, server)
        pairs = [Pair(client, server) for _ in range(4)]
        offered = [begin(pair) for pair in pairs]
        for pair in pairs:
            pair.handshake().exchange()
        assert [pair.client.session_reused for pair in pairs] == [True, True, False, False]
        assert len(set(offered[:2])) == 2
        assert offered[2:] == [(), ()]
        home.close()

    def test_tls_1_2_sessions_are_for_many(self, ca: Authority, server: ssl.SSLContext) -> None:
        home, client = Home(), client_context(ca, version="1.2")
        home.visit(client, server)
        pairs = [Pair(client, server) for _ in range(4)]
        assert all(pair.handshake().client.session_reused for pair in pairs)
        home.close()
