"""What is offered: TLS 1.3 tickets newest first and once each, TLS 1.2 sessions again and again."""

from __future__ import annotations

import ssl

import pytest

from helpers.bad_days import FakeStore
from helpers.certs import Authority, Identity
from helpers.clients import Clock, Home, begin, entries, not_offered, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import Pair, client_context, connect, server_context
from sslsession import (
    Reason,
    SessionHooks,
)
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tickets_of(client: ssl.SSLContext, server: ssl.SSLContext, count: int) -> list[bytes]:
    """The ids of the tickets of one connection, as they came."""
    came: list[bytes] = []
    server.num_tickets = count
    with SessionHooks(client, new=lambda conn, session: came.append(session.id)):
        connect(client, server).close()
    server.num_tickets = 0
    assert len(came) == count
    return came


def offers(client: ssl.SSLContext, server: ssl.SSLContext) -> bytes | None:
    """The id of the session that a connection offers; OpenSSL makes it of the ticket, as the account does."""
    pair = Pair(client, server)
    offered = begin(pair)
    pair.drop()
    return offered[0] if offered else None


class TestTickets:
    def test_newest_first_and_once_each(self, client13: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home()
        home.attach(client13)
        came = tickets_of(client13, server, 5)
        assert [offers(client13, server) for _ in range(6)] == [*reversed(came), None]
        home.close()

    @pytest.mark.parametrize("most", [1, 3])
    def test_the_newest_are_kept(self, client13: ssl.SSLContext, server: ssl.SSLContext, most: int) -> None:
        home = Home(tickets_per_peer=most)
        home.attach(client13)
        came = tickets_of(client13, server, 5)
        assert home.cache.stats()["sessions"] == most
        assert home.cache.stats()["dropped"] == 5 - most
        assert [offers(client13, server) for _ in range(most + 1)] == [*reversed(came[-most:]), None]
        home.close()

    def test_as_many_for_each_peer(self, client13: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home(tickets_per_peer=2)
        for name in ("localhost", "a.example", "b.example"):
            home.visit(client13, server, name)
        assert home.cache.stats()["sessions"] == 6
        home.close()

    def test_one_is_near_and_the_others_are_in_the_store_at_once(
        self, client13: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home = Home(MemoryStore())
        home.attach(client13)
        came = tickets_of(client13, server, 4)
        home.cache.flush()
        assert home.cache.stats()["sessions"] == 1
        assert len(entries(home.store)) == 3
        assert offers(client13, server) == came[-1], "the newest is the near one"
        home.restart()
        assert [offers(client13, server) for _ in range(4)] == [came[2], came[1], came[0], None]
        home.close()

    def test_what_still_waits_to_be_written_is_taken_back(
        self, client13: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """Nobody else has it yet: a handshake need not wait for the store."""
        store = FakeStore("stalled")
        home = Home(store)
        home.attach(client13)
        with Unraisables():
            came = tickets_of(client13, server, 4)
            offered = [offers(client13, server) for _ in range(3)]
            assert offered == [came[3], came[2], came[1]]
            assert store.lookups <= 1
            store.state = "well"
            home.close()

    def test_in_the_store_there_are_no_more_than_for_a_peer(
        self, client13: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home = Home(MemoryStore(), tickets_per_peer=3)
        home.attach(client13)
        came = tickets_of(client13, server, 9)
        home.close()
        assert len(entries(home.store)) == 3
        home.restart()
        assert [offers(client13, server) for _ in range(4)] == [*reversed(came[-3:]), None]
        home.close()

    def test_fact_49_siblings_of_a_ticket_that_was_declined_are_dropped(
        self, home: Home, client13: ssl.SSLContext, server_identity: Identity
    ) -> None:
        """RFC 9149: the server has most likely lost its key, and another has the same name."""
        old, new = server_context(server_identity), server_context(server_identity)
        home.attach(client13)
        tickets_of(client13, old, 5)
        new.num_tickets = 0
        done = home.visit(client13, new)
        assert done.offered
        assert not done.reused
        assert done.reason is Reason.SERVER_DECLINED
        assert home.cache.stats()["declined"] == 1
        assert home.holds == 0
        assert not_offered(home.visit(client13, old))

    def test_a_tls_1_2_session_that_was_declined_is_replaced(
        self, home: Home, client12: ssl.SSLContext, server_identity: Identity
    ) -> None:
        old, new = server_context(server_identity), server_context(server_identity)
        home.visit(client12, old)
        assert home.visit(client12, new).reason is Reason.SERVER_DECLINED
        assert home.visit(client12, new).reused


class TestSessions:
    def test_tls_1_2_again_and_again_as_dups(
        self, home: Home, client12: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home.visit(client12, server)
        home.restart()
        offered = [home.visit(client12, server, drop=True).offered for _ in range(5)]
        assert len(set(offered)) == 1
        assert home.cache.stats()["resumed"] == 5

    def test_a_tls_1_2_session_is_in_both_places(
        self, client12: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home = Home(MemoryStore())
        home.visit(client12, server)
        home.cache.flush()
        assert home.cache.stats()["sessions"] == len(entries(home.store)) == 1
        other = Home(home.store)
        home.cache.detach(client12)
        assert other.visit(client12, server).reused
        other.cache.detach(client12)
        home.cache.attach(client12)
        assert visit(client12, server).reused
        home.close()
        other.close()

    def test_fact_47_urllib3_sets_op_no_ticket(
        self, home: Home, ca: Authority, server_identity: Identity
    ) -> None:
        client = client_context(ca, version="1.2", tickets=False)
        server = server_context(server_identity, session_tickets=False)
        home.earn(client, server)

    def test_stateful_tls_1_3_tickets(
        self, home: Home, client13: ssl.SSLContext, server_identity: Identity
    ) -> None:
        home.earn(client13, server_context(server_identity, session_tickets=False))

    def test_a_server_that_gives_none(
        self, home: Home, client13: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server = server_context(server_identity, tickets=0)
        for _ in range(2):
            assert not_offered(home.visit(client13, server))
        assert home.cache.stats()["kept"] == 0
