"""Many worker processes on one port resume what any of them made, after a restart too; plain ssl resumes one in N."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.contexts import client_context
from helpers.workers import Workers
from sslsession import ClientSessionCache

pytestmark = pytest.mark.skipif(
    not hasattr(__import__("socket"), "SO_REUSEPORT"), reason="no SO_REUSEPORT here"
)

SECRET = "0123456789abcdef" * 4
EQUIPMENT = {
    "ids": "cache = sslsession.ServerSessionCache('sqlite://{path}?timeout=20'); cache.attach(context)",
    "shared": "ring = sslsession.TicketKeyRing.shared('sqlite://{path}'); ring.attach(context)",
    "derived": f"ring = sslsession.TicketKeyRing.from_secret({SECRET!r}); ring.attach(context)",
}


@pytest.fixture
def crowd(
    request: pytest.FixtureRequest, ca: Authority, server_identity: Identity, tmp_path: Path
) -> Iterator[Workers]:
    equip, count = request.param
    workers = Workers(
        ca, server_identity, EQUIPMENT.get(equip, "").format(path=tmp_path / "own" / "s.db"), count
    )
    yield workers
    workers.close()


def resumed(workers: Workers, client: ssl.SSLContext, connections: int) -> int:
    """Of so many reconnects after a first connection."""
    cache = ClientSessionCache()
    cache.attach(client)
    workers.visit(client)
    found = sum(workers.visit(client) for _ in range(connections))
    cache.close()
    return found


def client_of(ca: Authority, version: str, tickets: bool) -> ssl.SSLContext:
    client = client_context(ca, version=version)
    if not tickets:
        client.options |= ssl.OP_NO_TICKET
    return client


KINDS = [("ids", "1.2", False), ("ids", "1.3", True), ("shared", "1.2", True), ("shared", "1.3", True)]
KINDS += [("derived", "1.2", True), ("derived", "1.3", True)]


def both_times(workers: Workers, ca: Authority, version: str, tickets: bool, connections: int) -> None:
    """Before and after a restart of all; a session from before goes on after it."""
    client = client_of(ca, version, tickets)
    with workers.running():
        assert resumed(workers, client, connections) == connections
        cache = ClientSessionCache()
        cache.attach(client)
        workers.visit(client)
    with workers.running():
        assert workers.visit(client), "the session is of a process that is gone"
        cache.close()
        assert resumed(workers, client, connections) == connections


@pytest.mark.parametrize(
    ("crowd", "version", "tickets"),
    [((kind, 4), version, tickets) for kind, version, tickets in KINDS],
    indirect=["crowd"],
)
def test_every_reconnect_resumes(crowd: Workers, ca: Authority, version: str, tickets: bool) -> None:
    both_times(crowd, ca, version, tickets, 25)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("crowd", "version", "tickets"),
    [((kind, 8), version, tickets) for kind, version, tickets in KINDS],
    indirect=["crowd"],
)
def test_soak_a_thousand_reconnects_to_eight(
    crowd: Workers, ca: Authority, version: str, tickets: bool
) -> None:
    both_times(crowd, ca, version, tickets, 1000)


@pytest.mark.parametrize("crowd", [("plain", 4)], indirect=True)
def test_plain_ssl_resumes_a_part(crowd: Workers, ca: Authority, tls_version: str) -> None:
    with crowd.running():
        found = resumed(crowd, client_of(ca, tls_version, True), 60)
    assert 0 < found < 40, "about one in four"
    with crowd.running():
        assert not crowd.visit(client_of(ca, tls_version, True))


@pytest.mark.soak
@pytest.mark.parametrize("crowd", [("plain", 8)], indirect=True)
@pytest.mark.parametrize("tickets", [True, False])
def test_soak_plain_ssl_among_eight(crowd: Workers, ca: Authority, tls_version: str, tickets: bool) -> None:
    with crowd.running():
        found = resumed(crowd, client_of(ca, tls_version, tickets), 1000)
    print(f"plain ssl, TLS {tls_version}, tickets {tickets}: {found} of 1000")
    assert found < 300
