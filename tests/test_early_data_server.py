"""When a server accepts early data, and when not: off by default, what its own code is asked, and what it counts."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.clients import Clock, Home
from helpers.early import ACCEPTED, MOST, NOT_SENT, REJECTED, REQUEST, Site, meet, read_all, replay, speak
from helpers.memory import Pair
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context, server_context
from helpers.servers import STATEFUL, TICKETS13, Hosts, Serving, Way, context_facts, params
from sslsession import (
    ServerSessionCache,
    Session,
    TicketKeyRing,
    early_data_status,
    get_session,
    read_early_data,
    write_early_data,
)
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture(params=params(STATEFUL, TICKETS13))
def way(request: pytest.FixtureRequest) -> Way:
    way: Way = request.param
    return way


@pytest.fixture
def site(way: Way, ca: Authority, server_identity: Identity) -> Iterator[Site]:
    site = Site(ca, server_identity, way)
    yield site
    site.close()


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

    @pytest.mark.xfail(reason="OpenSSL says that the handshake is done as it pauses for early data")
    def test_who_replays_has_resumed_nothing(self, site: Site) -> None:
        flight = site.record()
        for _ in range(3):
            replay(flight, site.server)
        assert site.serving.cache.stats()["resumed"] == 0

    def test_a_visit_is_counted_once(self, site: Site) -> None:
        site.speak()
        told = site.serving.cache.stats()
        assert (told["resumed"], told["renewed"], told["cut"]) == (1, 1, 0)


class TestSettings:
    def test_a_server_that_was_made_anew(self, site: Site) -> None:
        assert site.speak(server=site.twin()).status is ACCEPTED

    @pytest.mark.parametrize(
        "changed", [{"context_id": "another"}, {"authentication_limit": 1, "clock": lambda: 0}]
    )
    def test_of_another_kind(self, site: Site, changed: dict[str, Any]) -> None:
        if "clock" in changed:
            clock = Clock()
            clock.ahead = 5
            changed["clock"] = clock
        told = site.speak(server=site.twin(**changed))
        assert (told.status, told.reused) == (REJECTED, False)

    def test_with_another_certificate(self, site: Site, ca: Authority) -> None:
        other = server_context(ca.issue("localhost"))
        site.serving.attach(other)
        told = site.speak(server=other)
        assert (told.status, told.reused) == (REJECTED, False)

    def test_that_wants_a_certificate_now(self, site: Site, ca: Authority) -> None:
        site.server.verify_mode = ssl.CERT_OPTIONAL
        ca.trust(site.server)
        told = site.speak()
        assert (told.status, told.reused) == (REJECTED, False)

    def test_with_another_key(self, ca: Authority, server_identity: Identity) -> None:
        site = Site(ca, server_identity, TICKETS13)
        site.serving.ring.detach(site.server)
        TicketKeyRing.random().attach(site.server)
        told = site.speak()
        assert (told.status, told.reused) == (REJECTED, False)
        assert site.speak().status is ACCEPTED
        site.close()

    def test_with_a_key_that_was_revoked(self, ca: Authority, server_identity: Identity) -> None:
        site = Site(ca, server_identity, TICKETS13)
        ring = TicketKeyRing.random()
        site.serving.ring.detach(site.server)
        ring.attach(site.server)
        site.speak()
        ring.revoke(next(info.name for info in ring.key_info() if info.state == "current"))
        assert site.speak().status is REJECTED
        site.close()

    def test_with_a_key_that_was_rotated(self, ca: Authority, server_identity: Identity) -> None:
        """It still opens tickets, and does so once for early data."""
        site = Site(ca, server_identity, TICKETS13)
        ring = TicketKeyRing.random()
        site.serving.ring.detach(site.server)
        ring.attach(site.server)
        site.speak()
        flight = site.record()
        ring.rotate()
        assert [replay(flight, site.server) for _ in range(3)] == [REQUEST, None, None]
        site.close()

    @pytest.mark.parametrize("what", ["session", "name"])
    def test_revoked(self, site: Site, what: str) -> None:
        flight = site.record()
        if what == "name":
            site.serving.cache.revoke(server_name="localhost")
        else:
            pair = Pair(site.client, site.server)
            meet(pair)
            site.serving.cache.revoke(server_name="localhost", session_id=get_session(pair.server))
        assert replay(flight, site.server) is None

    def test_expired(self, ca: Authority, server_identity: Identity, way: Way) -> None:
        clock = Clock()
        site = Site(ca, server_identity, way, store=MemoryStore(clock=clock), clock=clock, lifetime=100)
        flight, late = site.record(), 101
        clock.ahead = late
        site.serving.pass_time()
        assert replay(flight, site.server) is None
        site.close()

    def test_hello_retry_request(self, site: Site) -> None:
        site.server.set_ecdh_curve("prime256v1")
        told = site.speak()
        assert told.status is REJECTED
        assert site.counts[0] == 0

    def test_a_server_of_two_names(self, ca: Authority, server_identity: Identity, way: Way) -> None:
        """sni_callback that leaves the context as it is, or chooses another, or goes back."""
        site = Site(ca, server_identity, way, name="a.example")
        other = server_context(server_identity)
        hosts = Hosts(site.server, a=site.server, b=other)
        assert site.speak().status is ACCEPTED
        for attached in (False, True):
            if attached:
                site.serving.attach(other)
            site.name = "b.example"
            told = [site.speak() for _ in range(3)]
            assert [each.status for each in told][1:] == [REJECTED] * 2, "which context it is to be is open"
        hosts.of["b"] = site.server
        assert site.speak().status in (ACCEPTED, REJECTED)
        assert site.speak().status is ACCEPTED
        site.close()


def test_half_a_second_round_trip_is_not_for_who_cannot_prove_it(site: Site) -> None:
    """What a server answers early nobody can read who replays: he has not the session's secret."""
    flight = site.record()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(flight)
    conn = site.server.wrap_bio(incoming, outgoing, server_side=True)
    assert read_all(conn) == REQUEST
    assert write_early_data(conn, b"an answer in clear") == 18
    assert b"an answer in clear" not in outgoing.read()
    with pytest.raises(ssl.SSLWantReadError):
        conn.do_handshake()


def test_client_certificates(
    ca: Authority, server_identity: Identity, client_identity: Identity, way: Way
) -> None:
    """The session brings the client's along, and a client that replays has not its key."""
    server = server_context(server_identity, client_ca=ca)
    site = Site(
        ca,
        server_identity,
        way,
        server=server,
        client=client_context(ca, version="1.3", identity=client_identity),
    )
    seen: list[Any] = []
    assert site.speak(then=lambda pair: seen.append(pair.server.getpeercert(True))).status is ACCEPTED
    assert seen == [client_identity.chain[0]]
    ca_again = client_context(ca, version="1.3")
    home = Home(early_data=True)
    home.attach(ca_again)
    site.close()
    home.close()


def test_two_caches_of_a_process_keep_apart(ca: Authority, server_identity: Identity, way: Way) -> None:
    """Each has its own memory: the other does not know the ticket's token, or the session."""
    site = Site(ca, server_identity, way)
    other = Serving(way, MemoryStore(), max_early_data=MOST)
    context = other.attach(server_context(server_identity))
    flight = site.record()
    assert replay(flight, context) is None
    assert replay(flight, site.server) == REQUEST
    site.close()
    other.close()


def test_the_cache_closes_while_a_client_waits(site: Site) -> None:
    pair = Pair(site.client, site.server)
    write_early_data(pair.client, REQUEST)
    site.serving.cache.close()
    assert read_early_data(pair.server) == b""
    assert early_data_status(pair.server) is REJECTED
    meet(pair)
