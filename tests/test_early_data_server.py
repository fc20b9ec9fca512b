"""When a server accepts early data, and when not: off by default, what its own code is asked, and what it counts."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.clients import Home
from helpers.early import (
    ACCEPTED,
    MOST,
    NOT_SENT,
    REJECTED,
    REQUEST,
    Site,
    each_way,
    replay,
    site_of_each_way,
    speak,
)
from helpers.memory import Pair
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context
from helpers.servers import Way, context_facts
from sslsession import (
    ServerSessionCache,
    Session,
    TicketKeyRing,
    early_data_status,
    get_session,
    write_early_data,
)

pytestmark = pytest.mark.binding
way = each_way
site = site_of_each_way


class TestOffByDefault:
    def test_a_cache_that_was_not_asked(self, way: Way, ca: Authority, server_identity: Identity) -> None:
        site = Site(ca, server_identity, way, most=0)
        session = get_session(Pair(site.client, site.server).client)
        assert session is None or session.max_early_data == 0
        assert [site.speak().status for _ in range(3)] == [NOT_SENT] * 3
        site.close()

    def test_a_ring_alone_has_nobody_to_see_to_it_that_it_comes_once(
        self, ca: Authority, server: ssl.SSLContext
    ) -> None:
        pytest.importorskip("sslsession.tickets")
        ring, home, client = TicketKeyRing.random(), Home(early_data=True), client_context(ca, version="1.3")
        ring.attach(server)
        home.attach(client)
        assert [speak(client, server).status for _ in range(3)] == [NOT_SENT] * 3
        home.close()

    def test_a_server_that_never_reads_it(self, site: Site) -> None:
        pair = Pair(site.client, site.server)
        assert write_early_data(pair.client, REQUEST)
        pair.handshake().exchange()
        assert pair.server.session_reused
        assert early_data_status(pair.client) is REJECTED
        assert site.counts == (0, 0)

    def test_detached(self, site: Site) -> None:
        """Tickets from before are still there, and are nothing to go by."""
        flight = site.record()
        site.serving.cache.detach(site.server)
        assert replay(flight, site.server) is None
        site.visit()
        assert site.speak().status in (REJECTED, NOT_SENT)

    def test_a_server_that_allows_none_any_more(self, site: Site) -> None:
        """OpenSSL's clients take what the ticket before allowed for what the new one does: it is rejected each time."""
        server = site.twin(max_early_data=0)
        told = [site.speak(server=server) for _ in range(3)]
        assert [(each.status, each.reused) for each in told] == [(REJECTED, True)] * 3

    def test_a_context_is_left_as_it_was(self, server: ssl.SSLContext) -> None:
        before = context_facts(server)
        cache = ServerSessionCache(max_early_data=5)
        cache.attach(server)
        assert context_facts(server) != before
        cache.detach(server)
        assert context_facts(server) == before
        cache.close()


class TestArguments:
    @pytest.mark.parametrize("most", [-1, 2**32, 1.5, "5", True, None])
    def test_max_early_data(self, most: Any) -> None:
        with pytest.raises(ValueError, match="max_early_data"):
            ServerSessionCache(max_early_data=most)

    def test_accept_early_data(self) -> None:
        async def later(*_: Any) -> bool:
            return True

        for accept in ("yes", later):
            with pytest.raises(TypeError, match="accept_early_data"):
                ServerSessionCache(max_early_data=5, accept_early_data=accept)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="never asked"):
            ServerSessionCache(accept_early_data=lambda *_: True)


class TestItsOwnCode:
    def site(self, ca: Authority, identity: Identity, way: Way, answer: Any) -> Site:
        self.asked: list[tuple[Any, Session]] = []

        def accept(conn: Any, session: Session) -> Any:
            self.asked.append((conn, session))
            if isinstance(answer, BaseException):
                raise answer
            return answer() if callable(answer) else answer

        return Site(ca, identity, way, accept_early_data=accept)

    def test_it_sees_the_connection_and_the_session(
        self, way: Way, ca: Authority, server_identity: Identity
    ) -> None:
        site = self.site(ca, server_identity, way, True)
        pairs: list[Pair] = []
        assert site.speak(then=pairs.append).status is ACCEPTED
        ((conn, session),) = self.asked
        assert isinstance(conn, ssl.SSLObject)
        assert isinstance(session, Session)
        assert session.max_early_data == MOST
        assert session.is_resumable
        assert session.ticket_appdata
        assert sslsession.get_session(conn) is not None
        site.close()

    @pytest.mark.parametrize("answer", [False, None])
    def test_it_says_no(self, way: Way, ca: Authority, server_identity: Identity, answer: Any) -> None:
        """The handshake goes on, and the ticket's one time is over."""
        site = self.site(ca, server_identity, way, answer)
        flight = site.record()
        told = site.speak() if site.home.cache.stats()["sessions"] else None
        assert told is None or (told.status is REJECTED and told.reused)
        assert replay(flight, site.server) is None
        assert site.counts[0] == 0
        site.close()

    @pytest.mark.parametrize(
        "answer", [1, "yes", b"", 0, object(), [True], ssl, ValueError("mine"), SystemExit(3), MemoryError()]
    )
    def test_what_is_neither_is_no_and_is_told(
        self, way: Way, ca: Authority, server_identity: Identity, answer: Any, unraisables: Unraisables
    ) -> None:
        site = self.site(ca, server_identity, way, answer)
        told = site.speak()
        assert (told.status, told.reused) == (REJECTED, True)
        (error,) = unraisables.errors
        assert error is answer or isinstance(error, TypeError)
        assert site.counts == (0, 1)
        site.close()

    def test_a_coroutine_is_not_taken_for_yes(
        self, ca: Authority, server_identity: Identity, way: Way, unraisables: Unraisables
    ) -> None:
        async def later() -> bool:
            return True

        site = self.site(ca, server_identity, way, later)
        assert site.speak().status is REJECTED
        assert [type(error) for error in unraisables.errors] == [TypeError]
        site.close()

    def test_it_is_not_asked_of_what_is_no_early_data(
        self, ca: Authority, server_identity: Identity, way: Way
    ) -> None:
        site = self.site(ca, server_identity, way, True)
        for _ in range(2):
            site.visit()
        assert self.asked == []
        site.close()

    def test_it_cannot_be_asked_again_by_the_same_flight(
        self, ca: Authority, server_identity: Identity, way: Way
    ) -> None:
        """It may be: what it says is one thing, and what the store has is another."""
        site = self.site(ca, server_identity, way, True)
        flight = site.record()
        assert [replay(flight, site.server) for _ in range(5)] == [REQUEST, None, None, None, None]
        site.close()


class TestCounting:
    def test_accepted_and_refused(self, site: Site) -> None:
        assert site.counts == (0, 0)
        flight = site.record()
        for _ in range(3):
            replay(flight, site.server)
        # A ticket that is an id is not in the store any longer: nothing is resumed that could be asked about.
        assert site.counts == (1, 2 if site.serving.way.ring else 0)

    def test_who_replays_has_resumed_nothing(self, site: Site) -> None:
        flight = site.record()
        for _ in range(3):
            replay(flight, site.server)
        assert site.serving.cache.stats()["resumed"] == 0

    def test_a_visit_is_counted_once(self, site: Site) -> None:
        site.speak()
        told = site.serving.cache.stats()
        assert (told["resumed"], told["renewed"], told["cut"]) == (1, 1, 0)
