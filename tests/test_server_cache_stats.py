"""What `ServerSessionCache.stats` counts, beside an account kept by the test and OpenSSL's own counters."""

from __future__ import annotations

import random
import ssl
from collections import Counter

import pytest

from helpers.bad_days import FakeStore
from helpers.certs import Authority, Identity
from helpers.clients import Clock
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
from helpers.servers import (
    CACHES,
    FAILED,
    FULL,
    IDS,
    RESUMED,
    STATEFUL,
    Hosts,
    Serving,
    Way,
    earn,
    host,
    offer,
    params,
    renew,
)
from sslsession import ServerSessionCache, StoreError

pytestmark = pytest.mark.binding

OURS = (
    "hits misses stored store_errors dropped evicted resumed renewed expired refused revoked cut"
    " early_data early_data_refused".split()
)
OPENSSLS = (
    "openssl_accept openssl_accept_good openssl_hits openssl_cb_hits openssl_misses openssl_timeouts".split()
)


@pytest.fixture(params=params(*CACHES))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


def moved(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What changed, and by how much."""
    return {name: after[name] - before[name] for name in before if after[name] != before[name]}


def test_nothing_has_happened() -> None:
    with ServerSessionCache() as cache:
        assert cache.stats() == dict.fromkeys([*OURS, *OPENSSLS], 0)


def test_a_long_day(way: Way, serving: Serving, client: ssl.SSLContext, server_identity: Identity) -> None:
    """Hundreds of connections at two servers of one store, some full, some resumed, some with what is used up."""
    chance, account = random.Random(7), Counter[str]()
    twin = serving.twin()
    servers = [each.attach(server_context(server_identity)) for each in (serving, twin)]
    sessions: list[ssl.SSLSession] = []
    spent: set[int] = set()
    for _ in range(300):
        session = chance.choice(sessions) if sessions and chance.random() < 0.7 else None
        account["connections"] += 1
        if session is None:
            sessions.append(earn(client, chance.choice(servers)))
            continue
        outcome, newer = renew(client, chance.choice(servers), session, drop=chance.random() < 0.5)
        expected = FULL if way.once and id(session) in spent else RESUMED
        assert outcome == expected
        account[outcome] += 1
        spent.add(id(session))
        sessions.append(newer)
    stats = Counter(serving.cache.stats())
    stats.update(twin.cache.stats())
    assert stats["resumed"] == account[RESUMED] == stats["openssl_hits"]
    assert stats["openssl_accept"] == stats["openssl_accept_good"] == account["connections"]
    if way.in_store:
        assert stats["hits"] == account[RESUMED] == stats["openssl_cb_hits"]
        assert stats["misses"] == account[FULL]
    else:
        assert stats["hits"] == stats["misses"] == stats["stored"] == 0
    full = account["connections"] - account[RESUMED]
    if way == IDS:
        assert stats["stored"] == full
    if way == STATEFUL:
        assert stats["stored"] == 2 * full + account[RESUMED]
    if way.version == "1.3":
        assert stats["renewed"] == account[RESUMED]
    for (
        name
    ) in "store_errors dropped evicted expired refused revoked cut openssl_misses openssl_timeouts".split():
        assert stats[name] == 0, name
    twin.close()


def test_openssl_s_counters_are_of_the_attached_contexts(
    serving: Serving, client: ssl.SSLContext, server_identity: Identity
) -> None:
    servers = [serving.attach(server_context(server_identity)) for _ in range(3)]
    for server in servers:
        earn(client, server)
    assert serving.cache.stats()["openssl_accept"] == 3
    serving.cache.detach(servers[0])
    assert serving.cache.stats()["openssl_accept"] == 2


class TestWhyNot:
    """Each reason is counted once, and under its own name."""

    def test_settings_changed(
        self,
        way: Way,
        serving: Serving,
        ca: Authority,
        other_ca: Authority,
        client_identity: Identity,
        server_identity: Identity,
    ) -> None:
        client = way.client(ca, client_identity)
        home = serving.attach(host(server_identity, ca))
        hosts = Hosts(home, a=host(server_identity, ca))
        session, other = (earn(client, home, "a.example") for _ in range(2))
        hosts.of["a"] = host(server_identity, ca, other_ca)
        before = serving.cache.stats()
        assert offer(client, home, session, "a.example") == FAILED
        assert offer(client, home, other, "a.example") == FULL
        found = moved(before, serving.cache.stats())
        assert (found["cut"], found["refused"]) == (1, 1)
        assert "resumed" not in found

    def test_withdrawn(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        serving.attach(server)
        session = earn(client, server)
        serving.cache.revoke(server_name="localhost")
        before = serving.cache.stats()
        assert offer(client, server, session) == FULL
        found = moved(before, serving.cache.stats())
        assert found["revoked"] == 1
        assert not found.keys() & {"resumed", "refused", "expired", "cut"}

    def test_too_long_ago(
        self, way: Way, ca: Authority, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        clock = Clock()
        serving = Serving(way, authentication_limit=50, clock=clock)
        serving.attach(server)
        session = earn(client, server)
        clock.ahead = 51
        serving.pass_time()
        assert offer(client, server, session) == FULL
        assert serving.cache.stats()["expired"] == 1
        serving.close()


@pytest.mark.parametrize("way", params(IDS, STATEFUL))
def test_errors_of_the_store(
    way: Way, ca: Authority, server: ssl.SSLContext, unraisables: Unraisables
) -> None:
    store, client = FakeStore(), way.client(ca)
    store.timeout = None
    serving = Serving(way, store)
    serving.attach(server)
    session = earn(client, server)
    store.state = "down"
    assert offer(client, server, session) == FULL
    stats = serving.cache.stats()
    tickets = 2 if way == STATEFUL else 1
    assert stats["store_errors"] == 1 + tickets, "looking it up, and keeping what is new"
    assert (stats["misses"], stats["stored"]) == (1, tickets)
    assert [type(error) for error in unraisables.errors] == [StoreError] * 2, "told once for each"
    store.state = "well"
    serving.close()
