"""What a server must not resume, each beside its honest twin: sessions that were withdrawn, by whatever they are named.

In the process that withdraws at once, in others after they looked at the store.
"""

from __future__ import annotations

import ssl
import time
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.clients import Clock
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
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
    renew,
)
from helpers.sessions import session_of
from sslsession import TicketKeyRing
from sslsession._gossip import ENTRIES_MOST
from sslsession._revocations import CERTIFICATE
from sslsession.resumption import CLOCK_SKEW
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture(params=params(*CACHES))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority, client_identity: Identity) -> ssl.SSLContext:
    return way.client(ca, client_identity)


@pytest.fixture
def server(ca: Authority, server_identity: Identity) -> ssl.SSLContext:
    return host(server_identity, ca)


def check(
    serving: Serving,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    other: ssl.SSLContext,
    **what: Any,
) -> None:
    """Two servers of one store: none of four sessions made before is resumed, those made later are."""
    twin = serving.twin()
    twin.attach(other)
    before = [earn(client, server) for _ in range(5)]
    assert offer(client, other, before.pop()) == RESUMED
    serving.cache.revoke(**what)
    assert [offer(client, server, each) for each in before[:2]] == [FULL, FULL]
    twin.cache._poll()
    assert [offer(client, other, each) for each in before[2:]] == [FULL, FULL]
    assert twin.cache.stats()["revoked"] == serving.cache.stats()["revoked"] == 2
    twin.close()


def test_by_certificate(
    serving: Serving,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    server_identity: Identity,
    ca: Authority,
    client_identity: Identity,
    way: Way,
) -> None:
    serving.attach(server)
    bystander = way.client(ca, ca.issue("other.example", client=True))
    session = earn(bystander, server)
    check(serving, client, server, host(server_identity, ca), client_certificate=client_identity.leaf_der)
    assert offer(bystander, server, session) == RESUMED


def test_by_certificate_as_pem(
    serving: Serving,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    server_identity: Identity,
    ca: Authority,
    client_identity: Identity,
) -> None:
    serving.attach(server)
    text = client_identity.cert_pem_path.read_text()
    check(serving, client, server, host(server_identity, ca), client_certificate=text)


@pytest.mark.parametrize("name", ["localhost", "LocalHost"])
def test_by_server_name(
    serving: Serving,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    server_identity: Identity,
    ca: Authority,
    name: str,
) -> None:
    serving.attach(server)
    elsewhere, nameless = earn(client, server, "a.example"), earn(client, server, None)
    check(serving, client, server, host(server_identity, ca), server_name=name)
    assert offer(client, server, elsewhere, "a.example") == RESUMED
    assert offer(client, server, nameless, None) == RESUMED


def test_of_those_without_a_name(serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    serving.attach(server)
    named, nameless = earn(client, server), earn(client, server, None)
    serving.cache.revoke(server_name="")
    assert offer(client, server, nameless, None) == FULL
    assert offer(client, server, named) == RESUMED


@pytest.mark.parametrize("as_what", ["Session", "id"])
def test_one_session_and_all_it_was_renewed_to(
    way: Way,
    serving: Serving,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    server_identity: Identity,
    ca: Authority,
    as_what: str,
) -> None:
    """By its id, only what is kept under that id: tickets have none that a server could know."""
    serving.attach(server)
    twin = serving.twin()
    other = twin.attach(host(server_identity, ca))
    seen: list[sslsession.Session] = []
    bystander, session = earn(client, server), earn(client, server)
    session = renew(client, server, session, then=lambda pair: seen.append(session_of(pair.server)))[1]
    newer = renew(client, server, session)[1] if way.version == "1.3" and way.ring else session
    serving.cache.revoke(session_id=seen[0] if as_what == "Session" else seen[0].id or b"none")
    twin.cache._poll()
    if as_what == "Session" or way.in_store:
        assert offer(client, other, newer) == FULL
        assert offer(client, server, session) == FULL
    assert offer(client, other, bystander) == RESUMED
    twin.close()


def test_what_is_made_later_is_not_meant(
    way: Way,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    client_identity: Identity,
) -> None:
    clock = Clock()
    serving = Serving(way, clock=clock)
    serving.attach(server)
    serving.cache.revoke(client_certificate=client_identity.leaf_der)
    clock.ahead = CLOCK_SKEW + 2
    serving.pass_time()
    assert offer(client, server, earn(client, server)) == RESUMED
    serving.close()


def test_by_a_host_whose_clock_is_behind(
    way: Way, client: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity, ca: Authority
) -> None:
    """One session is withdrawn whenever it was made."""
    ahead = Clock()
    ahead.ahead = 100
    serving = Serving(way, clock=ahead)
    twin = Serving(way, serving.store, clock=Clock())
    serving.attach(server)
    other = twin.attach(host(server_identity, ca))
    seen: list[sslsession.Session] = []
    session = earn(client, server)
    newer = renew(client, server, session, then=lambda pair: seen.append(session_of(pair.server)))[1]
    twin.cache.revoke(session_id=seen[0])
    serving.cache._poll()
    assert [offer(client, each, newer) for each in (other, server)] == [FULL, FULL]
    twin.close()
    serving.close()


@pytest.mark.parametrize("ahead", [0, 100, CLOCK_SKEW - 5])
@pytest.mark.parametrize("what", ["client_certificate", "server_name"])
def test_all_of_a_client_or_name_also_where_a_host_s_clock_was_ahead(
    way: Way,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    server_identity: Identity,
    ca: Authority,
    client_identity: Identity,
    ahead: float,
    what: str,
) -> None:
    clock = Clock()
    serving = Serving(way, clock=clock)
    twin = serving.twin(clock=Clock())
    clock.ahead = ahead
    serving.pass_time()
    serving.attach(server)
    other = twin.attach(host(server_identity, ca))
    first, second = earn(client, server), earn(client, server)
    meant = {"client_certificate": client_identity.leaf_der, "server_name": "localhost"}
    twin.cache.revoke(**{what: meant[what]})
    assert offer(client, other, first) == FULL
    serving.pass_time()
    assert offer(client, server, second) == FULL
    twin.close()
    serving.close()


def test_more_than_can_be_remembered_one_by_one_withdraws_all_that_was_there(
    serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity, ca: Authority
) -> None:
    """What was withdrawn does not come back, though others start full as well."""
    twin = serving.twin()
    serving.attach(server)
    other = twin.attach(host(server_identity, ca))
    sessions = [earn(client, server) for _ in range(4)]
    serving.cache.revoke(server_name="localhost")
    serving.cache._withdrawn.add(
        [(CERTIFICATE, number.to_bytes(16, "big")) for number in range(ENTRIES_MOST)], time.time()
    )
    assert len(serving.cache._withdrawn._set.entries) <= ENTRIES_MOST // 2
    serving.cache._poll()
    twin.cache._poll()
    assert [offer(client, each, sessions.pop()) for each in (server, other) * 2] == [FULL] * 4
    twin.close()


def test_with_another_context_id_it_is_somebody_else_s(
    serving: Serving, client: ssl.SSLContext, server_identity: Identity, ca: Authority
) -> None:
    apart = serving.twin(context_id="apart")
    other = apart.attach(host(server_identity, ca))
    session = earn(client, other)
    serving.cache.revoke(server_name="localhost")
    apart.cache._poll()
    assert offer(client, other, session) == RESUMED
    apart.close()


def test_whoever_comes_later_hears_of_it_too(
    serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    serving.attach(server)
    session = earn(client, server)
    serving.cache.revoke(server_name="localhost")
    serving.close()
    twin = serving.twin()
    twin.attach(server)
    twin.cache._poll()
    assert offer(client, server, session) == FULL
    twin.close()


@pytest.mark.parametrize("way", params(TICKETS12, TICKETS13))
def test_all_tickets_under_one_key(
    way: Way, ca: Authority, server_identity: Identity, unraisables: Unraisables
) -> None:
    """Of a ring that is shared, in all processes."""
    store, client = MemoryStore(), way.client(ca)
    first, second = TicketKeyRing.shared(store), TicketKeyRing.shared(store)
    servers = [server_context(server_identity) for _ in range(2)]
    for ring, context in zip((first, second), servers):
        ring.attach(context)
    sessions = [earn(client, servers[0]) for _ in range(3)]
    assert offer(client, servers[1], sessions[0]) == RESUMED
    first.revoke(first.key_info()[0].name)
    second.refresh()
    assert [offer(client, *pair) for pair in zip(servers, sessions[1:])] == [FULL, FULL]
    assert offer(client, servers[1], earn(client, servers[0])) == RESUMED
    assert unraisables.errors == []
