"""`why_not_resumed` on connections of a cache's context: each reason that a cache can have, and none guessed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Account, Clock, Home, entries, refill, visit
from helpers.peers import EchoServer, Pair, client_context, connect, server_context
from helpers.sessions import die_of_a_fatal_alert, session_of, take
from sslsession import ClientSessionCache, Reason, why_not_resumed
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(clock: Clock) -> Iterator[Home]:
    home = Home(clock=clock)
    yield home
    home.close()


def test_not_connected(home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    home.attach(client)
    assert why_not_resumed(Pair(client, server).client) is Reason.NOT_CONNECTED


def test_no_session_offered_then_resumed(home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    assert home.visit(client, server).reason is Reason.NO_SESSION_OFFERED
    assert home.visit(client, server).reason is Reason.RESUMED


def test_not_observed(home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Attached too late."""
    pair = connect(client, server)
    home.attach(client)
    assert why_not_resumed(pair.client) is Reason.NOT_OBSERVED
    pair.close()


def test_expired(home: Home, clock: Clock, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    home.visit(client, server)
    clock.ahead = 3 * 3600
    assert home.visit(client, server).reason is Reason.EXPIRED
    assert home.cache.stats()["expired"] >= 1


def test_server_declined(home: Home, client: ssl.SSLContext, server_identity: Identity) -> None:
    home.visit(client, server_context(server_identity))
    assert home.visit(client, server_context(server_identity)).reason is Reason.SERVER_DECLINED


def test_policy_changed(
    home: Home, client: ssl.SSLContext, server: ssl.SSLContext, other_ca: Authority
) -> None:
    home.visit(client, server)
    other_ca.trust(client)
    assert home.visit(client, server).reason is Reason.POLICY_CHANGED
    assert home.cache.stats()["refused"] >= 1


def test_trust_failed(
    home: Home, ca: Authority, server: ssl.SSLContext, other_ca: Authority, tls_version: str
) -> None:
    """Seen while the handshake is under way, which cannot pass."""
    home.visit(client_context(ca, version=tls_version), server)
    stranger = client_context(other_ca, version=tls_version)
    home.attach(stranger)
    with pytest.raises(ssl.SSLCertVerificationError):
        visit(stranger, server)
    assert home.cache.stats()["refused"] >= 1
    assert home.visit(stranger, server_context(other_ca.issue("localhost"))).reason in (
        Reason.NO_SESSION_OFFERED,
        Reason.TRUST_FAILED,
    )


def test_withdrawn(home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    pair = connect(client, server)
    session = session_of(pair.client)
    die_of_a_fatal_alert(pair)
    home.cache.add(session, "localhost")
    assert home.visit(client, server).reason is Reason.WITHDRAWN


def test_ticket_used(ca: Authority, server: ssl.SSLContext) -> None:
    client, store = client_context(ca, version="1.3"), MemoryStore()
    home = Home(store)
    home.visit(client, server)
    home.restart()
    backup = entries(store)
    server.num_tickets = 0
    assert [home.visit(client, server).reason for _ in backup] == [Reason.RESUMED] * len(backup)
    home.restart()
    refill(store, backup)
    assert home.visit(client, server).reason is Reason.TICKET_USED
    home.close()


def test_certificate_changed(
    home: Home, ca: Authority, client_identity: Identity, server_identity: Identity, tls_version: str
) -> None:
    asking = server_context(server_identity, client_ca=ca, require_client=False)
    known = client_context(ca, version=tls_version, identity=client_identity)
    home.cache.add(take(known, asking), "localhost")
    assert home.visit(client_context(ca, version=tls_version), asking).reason is Reason.CERTIFICATE_CHANGED


def test_a_session_that_is_good_clears_the_reason_of_one_that_was_not(
    home: Home, ca: Authority, client_identity: Identity, server_identity: Identity, tls_version: str
) -> None:
    asking = server_context(server_identity, client_ca=ca, require_client=False)
    known = client_context(ca, version=tls_version, identity=client_identity)
    client = client_context(ca, version=tls_version)
    home.cache.add(take(client, asking), "localhost")
    home.cache.add(take(known, asking), "localhost")
    done = home.visit(client, asking)
    if done.reused:
        assert done.reason is Reason.RESUMED
    else:
        assert done.reason is Reason.CERTIFICATE_CHANGED, (
            "a TLS 1.2 session takes the place of the one before"
        )
    assert done.reused is (tls_version == "1.3")


class TestSockets:
    def test_do_handshake_on_connect(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """As most programs do it: wrap, then connect; or wrap what is connected."""
        account = Account()
        with ClientSessionCache() as cache, EchoServer(server, prepare=account.look) as running:
            cache.attach(client)
            seen = []
            for wrap_first in (False, True, False, True):
                raw = socket.socket()
                raw.settimeout(20)
                if not wrap_first:
                    raw.connect(("127.0.0.1", running.port))
                conn = client.wrap_socket(raw, server_hostname="localhost")
                if wrap_first:
                    conn.connect(("127.0.0.1", running.port))
                conn.sendall(b"ping")
                assert conn.recv(4) == b"ping"
                seen.append(why_not_resumed(conn))
                conn.unwrap().close()
            assert seen == [Reason.NO_SESSION_OFFERED, *[Reason.RESUMED] * 3]
            assert running.reused == [False, True, True, True], "the server says so too"
            assert sum(account.offered.values()) == 3
