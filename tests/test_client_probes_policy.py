"""A session is for the settings it was earned under: each that lets fewer peers in, or shows another identity, ends it.

The honest twin is the same connection without the change. A cache keeps what belongs to the settings of before, so
that they find it again.
"""

from __future__ import annotations

import ssl
from typing import Callable

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Home, not_offered, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context, server_context
from helpers.sessions import take
from sslsession import Reason
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding
Change = Callable[[ssl.SSLContext], object]


class TestIdentities:
    """The client's certificate is part of what a session stands for (CVE-2016-5419, CVE-2026-8932)."""

    @pytest.fixture
    def asking(self, ca: Authority, server_identity: Identity) -> ssl.SSLContext:
        return server_context(server_identity, client_ca=ca, require_client=False)

    @pytest.mark.parametrize(("first", "then"), [(None, 0), (0, None), (0, 1)])
    def test_another_client_certificate(
        self,
        home: Home,
        ca: Authority,
        asking: ssl.SSLContext,
        tls_version: str,
        first: int | None,
        then: int | None,
    ) -> None:
        identities = [ca.issue(f"client{number}.example", client=True) for number in range(2)]
        before, after, twin = (
            client_context(ca, version=tls_version, identity=None if who is None else identities[who])
            for who in (first, then, first)
        )
        home.earn(before, asking)
        assert not_offered(home.visit(after, asking))
        home.restart()
        assert home.visit(twin, asking).reused, "another context of the same identity may"

    def test_another_client_certificate_on_the_same_context(
        self, home: Home, ca: Authority, asking: ssl.SSLContext, tls_version: str
    ) -> None:
        one, other = (ca.issue(f"client{number}.example", client=True) for number in range(2))
        client = client_context(ca, version=tls_version, identity=one)
        home.earn(client, asking)
        other.load(client)
        assert not_offered(home.visit(client, asking))
        one.load(client)
        assert home.visit(client, asking).reused

    def test_a_session_that_was_added_under_another_certificate(
        self, ca: Authority, asking: ssl.SSLContext, tls_version: str
    ) -> None:
        one, other = (ca.issue(f"client{number}.example", client=True) for number in range(2))
        home, client = Home(), client_context(ca, version=tls_version, identity=one)
        stranger = client_context(ca, version=tls_version, identity=other)
        home.cache.add(take(client, asking), "localhost")
        done = home.visit(stranger, asking)
        assert not_offered(done)
        assert done.reason is Reason.CERTIFICATE_CHANGED
        home.cache.add(take(client, asking), "localhost")
        assert home.visit(client, asking).reused
        home.close()


CHANGES: dict[str, Change] = {
    "checks of the name": lambda client: setattr(client, "hostname_checks_common_name", False),
    "revocation": lambda client: setattr(
        client, "verify_flags", client.verify_flags | ssl.VERIFY_X509_STRICT
    ),
    "security level": lambda client: client.set_ciphers("DEFAULT@SECLEVEL=2"),
    "suites": lambda client: client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384"),
    "options": lambda client: setattr(client, "options", client.options ^ ssl.OP_NO_COMPRESSION),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_setting_that_lets_other_peers_in(
    home: Home, ca: Authority, server: ssl.SSLContext, tls_version: str, what: str
) -> None:
    client, changed = (client_context(ca, version=tls_version) for _ in range(2))
    for context in (client, changed):
        context.set_ciphers("ALL@SECLEVEL=1")
    CHANGES[what](changed)
    home.earn(client, server)
    assert not_offered(home.visit(changed, server))
    assert home.visit(client, server).reused
    home.restart()
    CHANGES[what](client)
    assert home.visit(client, server).reused, "what the other context earned is for these settings"


class TestVersions:
    def test_a_higher_minimum_version(self, home: Home, ca: Authority, server_identity: Identity) -> None:
        old, new = server_context(server_identity, version="1.2"), server_context(server_identity)
        client = client_context(ca)
        home.earn(client, old)
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        assert not_offered(home.visit(client, new))
        with pytest.raises(ssl.SSLError):
            home.visit(client, old)
        client.minimum_version = ssl.TLSVersion.TLSv1_2
        assert home.visit(client, old).reused

    def test_a_lower_maximum_version(self, home: Home, ca: Authority, server: ssl.SSLContext) -> None:
        client = client_context(ca)
        home.earn(client, server)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        assert not_offered(home.visit(client, server))
        client.maximum_version = ssl.TLSVersion.TLSv1_3
        assert home.visit(client, server).version == "TLSv1.3"

    def test_a_session_of_an_old_version_that_was_added(
        self, ca: Authority, server_identity: Identity
    ) -> None:
        """A user's own session finds connections of any settings: the version still has to be allowed there."""
        old, new = server_context(server_identity, version="1.2"), server_context(server_identity)
        home = Home()
        home.cache.add(take(client_context(ca, version="1.2"), old), "localhost")
        with Unraisables() as unraisables:
            done = home.visit(client_context(ca, version="1.3"), new)
        assert not_offered(done)
        assert done.version == "TLSv1.3"
        assert unraisables.errors == []
        assert home.visit(client_context(ca, version="1.2"), old).reused
        home.close()


class TestProtocols:
    """ALPN: what nothing shows is seen as it is set, on an attached context."""

    def test_another_protocol_on_the_same_context(
        self, home: Home, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        server = server_context(server_identity, alpn=["h2", "http/1.1"])
        client = client_context(ca, version=tls_version)
        home.attach(client)
        client.set_alpn_protocols(["h2"])
        home.visit(client, server)
        assert home.visit(client, server).reused
        client.set_alpn_protocols(["http/1.1"])
        assert not_offered(home.visit(client, server))
        client.set_alpn_protocols(["h2"])
        assert home.visit(client, server).reused

    def test_contexts_of_different_protocols(
        self, home: Home, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        server = server_context(server_identity, alpn=["h2", "http/1.1"])
        one, other, twin = (client_context(ca, version=tls_version) for _ in range(3))
        home.attach(one, other, twin)
        for context, protocol in ((one, "h2"), (other, "http/1.1"), (twin, "h2")):
            context.set_alpn_protocols([protocol])
        home.visit(one, server)
        assert not_offered(home.visit(other, server))
        assert home.visit(twin, server).reused

    def test_the_protocol_is_agreed_anew_where_it_could_not_be_seen(
        self, home: Home, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        """Set before attaching, it is not known; without early data a resumed handshake negotiates it again."""
        server = server_context(server_identity, alpn=["h2", "http/1.1"])
        one, other = (
            client_context(ca, version=tls_version, alpn=[protocol]) for protocol in ("h2", "http/1.1")
        )
        home.earn(one, server)
        selected: list[ssl.SSLObject] = []
        home.visit(other, server, prepare=selected.append)
        assert selected[0].selected_alpn_protocol() == "http/1.1"


class TestPartitions:
    @pytest.mark.parametrize("stored", [False, True])
    def test_another_partition_s(
        self, ca: Authority, server: ssl.SSLContext, tls_version: str, stored: bool
    ) -> None:
        store = MemoryStore() if stored else None
        tenants = [Home(store, partition=name) for name in ("one", "other", "", "one")]
        client = client_context(ca, version=tls_version)
        tenants[0].earn(client, server)
        for number, tenant in enumerate(tenants[1:], 1):
            tenants[number - 1].cache.detach(client)
            done = tenant.visit(client, server)
            assert done.reused is (stored and number == 3), (
                "its honest twin is of the same partition and store"
            )
            tenant.restart()
        for tenant in tenants:
            tenant.close()

    def test_several_caches_of_one_context(
        self, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        """Each is told of a session, and a ticket is used by one of them."""
        homes = [Home(partition=name) for name in ("one", "other")]
        client = client_context(ca, version=tls_version)
        for home in homes:
            home.attach(client)
        visit(client, server)
        offered = [visit(client, server).offered for _ in range(4)]
        assert all(offered)
        if tls_version == "1.3":
            assert len(set(offered)) == 4
        for home in homes:
            home.close()
