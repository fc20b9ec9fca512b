"""A server's cache and ring over `EncryptedStore`: who has the store and not the secret can neither resume nor read."""

from __future__ import annotations

import ssl

import pytest

pytest.importorskip("cryptography")

from helpers.certs import Authority, Identity
from helpers.clients import entries, refill
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
from helpers.rings import needs_ring
from helpers.servers import FULL, IDS, RESUMED, STATEFUL, Serving, Way, earn, offer, params
from helpers.stores import OTHER_SECRET, SECRET
from sslsession import Session, StoreError, TicketKeyRing
from sslsession.stores import EncryptedStore, MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture(params=params(IDS, STATEFUL))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def inner() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


def test_servers_with_the_secret_resume_each_other_s(
    way: Way, inner: MemoryStore, client: ssl.SSLContext, server_identity: Identity
) -> None:
    servers = [Serving(way, EncryptedStore(inner, SECRET)) for _ in range(2)]
    one, other = (each.attach(server_context(server_identity)) for each in servers)
    session = earn(client, one)
    assert offer(client, other, session) == RESUMED
    before = earn(client, one)
    servers[0].cache.revoke(server_name="localhost")
    servers[1].pass_time()
    assert offer(client, other, before) == FULL
    assert servers[1].cache.stats()["revoked"] == 1
    for each in servers:
        each.close()


def test_nothing_of_a_session_is_seen_there(
    way: Way, inner: MemoryStore, client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    serving = Serving(way, EncryptedStore(inner, SECRET))
    serving.attach(server)
    earn(client, server)
    kept = list(serving.store.entries())
    assert kept
    seen = b"".join(each.key + each.value for each in entries(inner))
    for each in kept:
        secret = Session.from_der(each.value).master_secret
        assert secret
        assert secret not in seen
        assert each.key not in seen
    serving.close()


def test_what_was_planted_or_altered_is_not_resumed(
    way: Way,
    inner: MemoryStore,
    client: ssl.SSLContext,
    server_identity: Identity,
    unraisables: Unraisables,
) -> None:
    """The twin without a secret resumes what somebody else put there."""
    thief = Serving(way)
    session = earn(client, thief.attach(server_context(server_identity)))
    planted = entries(thief.store)
    bare, sealed = Serving(way, inner), Serving(way, EncryptedStore(inner, SECRET))
    at_bare, at_sealed = (each.attach(server_context(server_identity)) for each in (bare, sealed))
    refill(inner, planted)
    assert offer(client, at_bare, session) == RESUMED
    refill(inner, planted)
    assert offer(client, at_sealed, session) == FULL
    inner.clear()
    session = earn(client, at_sealed)
    refill(inner, [each._replace(value=planted[0].value) for each in entries(inner)])
    assert offer(client, at_sealed, session) == FULL
    assert sealed.cache.stats()["store_errors"] == 1
    assert [type(each) for each in unraisables.errors] == [StoreError]
    for each in (thief, bare, sealed):
        each.close()


def test_another_secret_is_another_store(
    way: Way, inner: MemoryStore, client: ssl.SSLContext, server_identity: Identity
) -> None:
    one, other = (Serving(way, EncryptedStore(inner, secret)) for secret in (SECRET, OTHER_SECRET))
    session = earn(client, one.attach(server_context(server_identity)))
    assert offer(client, other.attach(server_context(server_identity)), session) == FULL
    one.close()
    other.close()


@needs_ring
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_ticket_keys_are_shared_and_not_seen(
    ca: Authority, inner: MemoryStore, server_identity: Identity, version: str
) -> None:
    client, servers = Way(version, False, True).client(ca), [server_context(server_identity) for _ in "12"]
    rings = [TicketKeyRing.shared(EncryptedStore(inner, SECRET)) for _ in servers]
    for ring, context in zip(rings, servers):
        ring.attach(context)
    assert offer(client, servers[1], earn(client, servers[0])) == RESUMED
    seen = b"".join(each.key + each.value for each in entries(inner))
    assert not any(info.name in seen for info in rings[0].key_info())
