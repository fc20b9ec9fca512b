"""A second ClientHello on servers that read early data: none is accepted, and nothing else is let through by it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from helpers.certs import Authority, Identity
from helpers.early import MOST, REJECTED, REQUEST, each_way, read_all
from helpers.memory import Pair
from helpers.servers import Hosts, Serving, Way, host, rename
from sslsession import early_data_status, get_session, read_early_data, set_session, write_early_data

pytestmark = pytest.mark.binding
way = each_way

RESUMED, FULL, FAILED = "resumed", "full", "failed"


@pytest.fixture
def serving(way: Way) -> Iterator[Serving]:
    serving = Serving(way, max_early_data=MOST)
    yield serving
    serving.close()


@pytest.fixture
def hosts(server_identity: Identity, ca: Authority, other_ca: Authority, serving: Serving) -> Hosts:
    def choosy(*trusted: Authority) -> ssl.SSLContext:
        server = host(server_identity, *trusted)
        server.set_ecdh_curve("prime256v1")
        return server

    hosts = Hosts(choosy(ca, other_ca), a=choosy(ca), b=choosy(other_ca))
    serving.attach(hosts.home)
    return hosts


@pytest.fixture
def client(way: Way, ca: Authority, client_identity: Identity) -> ssl.SSLContext:
    return way.client(ca, client_identity)


def visit(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    name: str,
    session: Any = None,
    between: Callable[[Any], object] | None = None,
    early: bytes = b"",
) -> tuple[str, Any]:
    """A connection to a server that reads early data first, as it should; what became of it, and its session."""
    pair = Pair(client, server, name)
    if session is not None:
        set_session(pair.client, session)
    if early:
        assert write_early_data(pair.client, early)
    with contextlib.suppress(ssl.SSLWantReadError):
        pair.client.do_handshake()
    assert read_all(pair.server) == b""
    if between is not None:
        between(pair.client)
    try:
        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.client.do_handshake()
            with contextlib.suppress(ssl.SSLWantReadError):
                if read_early_data(pair.server) == b"":
                    pair.server.do_handshake()
        pair.exchange()
    except ssl.SSLError:
        pair.drop()
        return FAILED, session
    if early:
        assert early_data_status(pair.client) is REJECTED
    found = RESUMED if pair.server.session_reused else FULL, get_session(pair.client)
    pair.close()
    return found


@pytest.mark.parametrize("attached", [False, True])
def test_it_resumes_without_early_data(
    client: ssl.SSLContext, hosts: Hosts, serving: Serving, attached: bool
) -> None:
    if attached:
        serving.attach(hosts.of["a"], hosts.of["b"])
    outcome, session = visit(client, hosts.home, "a.example")
    assert outcome == FULL
    outcome, session = visit(client, hosts.home, "a.example", session)
    assert outcome in (RESUMED, FULL)


def test_a_ticket_that_is_used_once_is_proposed_twice(
    way: Way, client: ssl.SSLContext, hosts: Hosts, serving: Serving
) -> None:
    """What was taken from the store for the first ClientHello is there for the second."""
    _, session = visit(client, hosts.home, "c.example")
    for number in range(1, 4):
        outcome, session = visit(client, hosts.home, "c.example", session, early=REQUEST)
        assert outcome == RESUMED
        told = serving.cache.stats()
        assert (told["resumed"], told["early_data"]) == (number, 0)


@pytest.mark.parametrize("early", [b"", REQUEST])
@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("name", ["b.example", "c.example"])
def test_the_second_asks_for_another_name(
    client: ssl.SSLContext, hosts: Hosts, serving: Serving, attached: bool, name: str, early: bytes
) -> None:
    """The session of one host would resume at another."""
    if attached:
        serving.attach(hosts.of["a"], hosts.of["b"])
    hosts.of["c"] = hosts.of["a"]
    _, session = visit(client, hosts.home, "a.example")
    outcome, _ = visit(client, hosts.home, "a.example", session, rename(name), early)
    assert outcome != RESUMED


def test_what_such_a_client_earns_is_for_no_other_host(
    way: Way, ca: Authority, other_ca: Authority, hosts: Hosts
) -> None:
    """It begins at host a, is let in at host b with a certificate of b's, and proposes that at host a."""
    stranger = way.client(ca, other_ca.issue("stranger.example", client=True))
    outcome, session = visit(stranger, hosts.home, "a.example", None, rename("b.example"))
    if outcome == FAILED:
        assert hosts.asked == ["a.example"], (
            "newer OpenSSLs ask for one name of a connection, and it stays host a"
        )
        return
    assert outcome == FULL
    for _ in range(3):
        assert visit(stranger, hosts.home, "a.example", session)[0] == FAILED
        outcome, session = visit(stranger, hosts.home, "a.example", None, rename("b.example"))
        assert outcome == FULL
