"""Servers that have other settings than when their tickets were made accept no early data; nor do some connections."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Clock
from helpers.early import (
    ACCEPTED,
    MOST,
    REJECTED,
    REQUEST,
    Site,
    each_way,
    meet,
    read_all,
    replay,
    site_of_each_way,
)
from helpers.memory import Pair
from helpers.peers import client_context, server_context
from helpers.servers import TICKETS13, Hosts, Serving, Way
from sslsession import (
    TicketKeyRing,
    early_data_status,
    get_session,
    read_early_data,
    write_early_data,
)
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding
way = each_way
site = site_of_each_way


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
    site.close()


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
