"""What a server must not resume, each beside its honest twin: what connections earn after their handshake."""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.memory import Pair
from helpers.openssl_calls import unbound
from helpers.servers import (
    BARE12,
    BARE13,
    FAILED,
    FULL,
    IDS,
    RESUMED,
    STATEFUL,
    TICKETS12,
    TICKETS13,
    Hosts,
    Serving,
    Way,
    earn,
    host,
    offer,
    params,
    renew,
    step,
)
from helpers.sessions import context_handle

pytestmark = pytest.mark.binding


class TestAuthenticationAfterTheHandshake:
    @pytest.fixture(params=params(STATEFUL, TICKETS13, BARE13))
    def way(self, request: pytest.FixtureRequest) -> Way:
        return request.param

    def test_a_client_that_was_asked_later(
        self, way: Way, serving: Serving, ca: Authority, client_identity: Identity, server_identity: Identity
    ) -> None:
        """Post-handshake authentication: sessions from before it resume, and are asked again; those from after it
        bring the certificate along, and only to contexts that ask for the same ones."""
        server, other = host(server_identity, ca), host(server_identity, ca)
        server.post_handshake_auth = True
        serving.attach(server, other)
        client = way.client(ca, client_identity)
        client.post_handshake_auth = True
        seen: list[bool] = []

        def ask(pair: Pair) -> None:
            seen.append(pair.server.getpeercert() is not None)
            pair.server.verify_client_post_handshake()
            step(pair.server)
            pair.pump()
            step(pair.server)
            pair.exchange()
            seen.append(bool(pair.server.getpeercert()))

        before = earn(client, server)
        outcome, after = renew(client, server, before, then=ask)
        assert (outcome, seen) == (RESUMED, [False, True])
        outcome, _ = renew(
            client, server, after, then=lambda pair: seen.append(bool(pair.server.getpeercert()))
        )
        assert (outcome, seen[2:]) == (RESUMED, [True])
        assert offer(client, other, earn(client, server)) == FULL

    def test_a_context_that_asks_at_once(
        self, way: Way, serving: Serving, ca: Authority, server_identity: Identity
    ) -> None:
        """A client without a certificate is let in where it is asked later, and not where it is asked at once."""
        later, at_once = host(server_identity, ca), host(server_identity, ca)
        later.post_handshake_auth = True
        serving.attach(later, at_once)
        stranger = way.client(ca)
        stranger.post_handshake_auth = True
        assert offer(stranger, later, earn(stranger, later)) == RESUMED
        assert offer(stranger, at_once, earn(stranger, later)) == FAILED


@pytest.mark.skipif(not hasattr(ssl.SSLContext, "set_psk_server_callback"), reason="new in Python 3.13")
@pytest.mark.parametrize("way", params(STATEFUL, TICKETS13, BARE13))
@pytest.mark.parametrize("verified", [False, True])
def test_an_external_key_is_none_of_ours(
    serving: Serving, ca: Authority, server_identity: Identity, verified: bool
) -> None:
    """OpenSSL says of such a handshake that it was resumed; what it earns is no client certificate."""
    server = serving.attach(host(server_identity, *([ca] if verified else [])))
    client = serving.way.client(ca)
    unbound("SSL_CTX_set_ciphersuites", context_handle(client), b"TLS_AES_128_GCM_SHA256")
    server.set_psk_server_callback(lambda identity: b"k" * 32 if identity == "me" else b"")
    client.set_psk_client_callback(lambda hint: ("me", b"k" * 32))
    pair = Pair(client, server).handshake()
    pair.exchange()
    assert pair.server.session_reused
    session = pair.client.session
    pair.close()
    assert session is not None
    server.set_psk_server_callback(None)
    client.set_psk_client_callback(None)
    assert offer(client, server, session) == (FAILED if verified else RESUMED)


class TestRenegotiation:
    @pytest.fixture(params=params(IDS, TICKETS12, BARE12))
    def way(self, request: pytest.FixtureRequest) -> Way:
        return request.param

    @pytest.mark.parametrize("attached", [False, True])
    def test_the_new_session_is_for_the_same_host(
        self,
        way: Way,
        serving: Serving,
        ca: Authority,
        other_ca: Authority,
        client_identity: Identity,
        server_identity: Identity,
        attached: bool,
    ) -> None:
        home = host(server_identity, ca, other_ca)
        hosts = Hosts(home, a=host(server_identity, ca), b=host(server_identity, other_ca))
        serving.attach(home)
        if attached:
            serving.attach(hosts.of["a"], hosts.of["b"])
        client = way.client(ca, client_identity)
        pair = Pair(client, home, "a.example").handshake()
        pair.exchange()
        sslsession.renegotiate(pair.server)
        for _ in range(4):
            pair.pump()
            step(pair.server)
        pair.exchange()
        session = pair.client.session
        pair.close()
        assert session is not None
        assert offer(client, home, session, "a.example") == RESUMED
        assert offer(client, home, session, "b.example") == FAILED
