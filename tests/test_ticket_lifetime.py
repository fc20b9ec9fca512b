"""For how long tickets live: a ring's lifetime, a cache's where that is shorter, and it is what clients are told."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.key_files import made
from helpers.rings import SECRET, again, needs_ring
from helpers.servers import context_facts
from helpers.sessions import take
from sslsession import ServerSessionCache, SessionError, TicketKeyRing, _keyfiles
from sslsession._borrow import context_pointer
from sslsession._libssl import lib
from sslsession.stores import MemoryStore

pytestmark = needs_ring
OPENSSLS = 7200

RINGS: dict[str, Callable[[float], TicketKeyRing]] = {
    "random": lambda lifetime: TicketKeyRing.random(lifetime=lifetime),
    "secret": lambda lifetime: TicketKeyRing.from_secret(SECRET, lifetime=lifetime),
    "shared": lambda lifetime: TicketKeyRing.shared(MemoryStore(), lifetime=lifetime),
}


def timeout(context: ssl.SSLContext) -> int:
    """Seconds that OpenSSL gives a session of this context."""
    return int(lib.SSL_CTX_get_timeout(context_pointer(context)))


@pytest.mark.parametrize("kind", RINGS)
def test_clients_are_told_the_ring_s_lifetime(
    client: ssl.SSLContext, server: ssl.SSLContext, kind: str, tls_version: str
) -> None:
    """With their first ticket and with each that follows; a detached ring takes it with it."""
    before = context_facts(server)
    ring = RINGS[kind](4321.9)
    ring.attach(server)
    session = take(client, server)
    assert session.lifetime_hint == 4321
    ring.rotate()
    renewed = again(client, server, session)
    if renewed.ticket != session.ticket:  # OpenSSL leaves it open where a TLS 1.2 session was resumed
        assert renewed.lifetime_hint == (4321 if tls_version == "1.3" else 0)
    ring.detach(server)
    assert context_facts(server) == before
    assert take(client, server).lifetime_hint == OPENSSLS


def test_a_file_s_ring_leaves_it_as_it_is(
    client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path
) -> None:
    _keyfiles.write(tmp_path / "key", made(), "nginx")
    lib.SSL_CTX_set_timeout(context_pointer(server), 777)
    ring = TicketKeyRing.from_file(tmp_path / "key")
    ring.attach(server)
    assert take(client, server).lifetime_hint == 777
    ring.detach(server)
    assert timeout(server) == 777


@pytest.mark.parametrize(("of_ring", "of_cache"), [(1000, 3000), (3000, 1000), (2000, 2000)])
@pytest.mark.parametrize("leaves", ["ring", "cache"])
@pytest.mark.parametrize("first", ["ring", "cache"])
def test_of_a_ring_and_a_cache_the_shorter_holds_whoever_came_first_and_goes_first(
    client: ssl.SSLContext, server: ssl.SSLContext, of_ring: float, of_cache: float, first: str, leaves: str
) -> None:
    before = context_facts(server)
    with ServerSessionCache(lifetime=of_cache) as cache:
        lives = {"ring": of_ring, "cache": of_cache}
        users = {"ring": TicketKeyRing.random(lifetime=of_ring), "cache": cache}
        other = {"ring": "cache", "cache": "ring"}
        users[first].attach(server)
        assert timeout(server) == lives[first]
        users[other[first]].attach(server)
        assert timeout(server) == min(of_ring, of_cache)
        assert take(client, server).lifetime_hint == min(of_ring, of_cache)
        users[leaves].detach(server)
        assert timeout(server) == lives[other[leaves]]
        users[other[leaves]].detach(server)
        assert context_facts(server) == before


def test_contexts_of_one_ring_have_each_their_own(
    server: ssl.SSLContext,
) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lib.SSL_CTX_set_timeout(context_pointer(other), 99)
    ring = TicketKeyRing.random(lifetime=500)
    for context in (server, other, server):
        ring.attach(context)
    assert (timeout(server), timeout(other)) == (500, 500)
    ring.detach(server)
    ring.detach(server)
    assert (timeout(server), timeout(other)) == (OPENSSLS, 500)
    ring.detach(other)
    assert timeout(other) == 99


def test_another_ring_that_is_refused_changes_nothing(server: ssl.SSLContext) -> None:
    ring, other = TicketKeyRing.random(lifetime=500), TicketKeyRing.random(lifetime=100)
    ring.attach(server)
    with pytest.raises(SessionError, match="has a TicketKeyRing already"):
        other.attach(server)
    assert timeout(server) == 500
    other.detach(server)
    assert timeout(server) == 500
