"""Sessions that never left the process take the shortest way, without Python in it: the same rules hold there.

Those of time are in test_client_rules.py, which tells C the time.
"""

from __future__ import annotations

import contextlib
import ssl

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Home, not_offered, visit
from helpers.peers import client_context, connect, server_context
from helpers.sessions import take
from sslsession import SessionError

pytestmark = pytest.mark.binding


class TestNames:
    def test_a_connection_without_a_name_that_was_given_a_session_of_one(
        self, ca: Authority, server_identity: Identity
    ) -> None:
        """OpenSSL tells the session's name where a TLS 1.2 connection has none: what it earns is still nobody's."""
        client = client_context(ca, version="1.2", check_hostname=False)
        old, new = server_context(server_identity), server_context(server_identity)
        own = connect(client, old).client.session
        home = Home()
        home.attach(client)
        done = visit(client, new, None, session=own)
        assert not done.reused
        assert home.cache.stats()["kept"] == 0
        assert not_offered(home.visit(client, new, "localhost"))
        assert home.visit(client, new, "localhost").reused
        home.close()

    @pytest.mark.parametrize("name", ["127.0.0.1", "::1"])
    def test_an_address_has_no_sni_and_is_a_name(self, ca: Authority, tls_version: str, name: str) -> None:
        server = server_context(ca.issue("127.0.0.1", "::1"))
        home, client = Home(), client_context(ca, version=tls_version)
        home.earn(client, server, name)
        other = "::1" if name == "127.0.0.1" else "127.0.0.1"
        assert not_offered(home.visit(client, server, other))
        home.close()

    def test_a_very_long_name(self, ca: Authority, tls_version: str) -> None:
        """253 bytes is the longest that DNS has."""
        name = ".".join(["x" * 61] * 4)
        server, client = (
            server_context(ca.issue("localhost", f"*.{name[62:]}")),
            client_context(ca, version=tls_version),
        )
        home = Home()
        home.earn(client, server, name)
        assert not_offered(home.visit(client, server, "y" + name[1:]))
        home.close()


class TestPolicies:
    def test_two_contexts_that_differ_in_their_trust_alone(
        self, ca: Authority, other_ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        """They find each other's sessions, under one key, and each is verified again before it is offered."""
        ours, theirs = (client_context(each, version=tls_version) for each in (ca, other_ca))
        impostor = server_context(other_ca.issue("localhost"))
        home = Home()
        home.attach(ours, theirs)
        for _ in range(3):
            home.visit(ours, server)
            with pytest.raises(ssl.SSLCertVerificationError):
                home.visit(theirs, server)
            home.visit(theirs, impostor)
            with pytest.raises(ssl.SSLCertVerificationError):
                home.visit(ours, impostor)
        home.close()

    def test_a_cache_that_joins_late(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """What another cache of the context kept is not its own."""
        first, second = Home(partition="one"), Home(partition="two")
        first.earn(client, server)
        first.cache.detach(client)
        second.attach(client)
        assert not_offered(second.visit(client, server))
        first.close()
        second.close()

    def test_a_session_of_the_user_s_own_does_not_come_between(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home = Home()
        home.earn(client, server)
        home.cache.add(take(client, server), "localhost")
        assert all(home.visit(client, server).reused for _ in range(4))
        home.close()


def test_more_caches_than_one_context_takes(
    client: ssl.SSLContext, server: ssl.SSLContext, tls_version: str
) -> None:
    """Whatever the most is, one that was refused leaves nothing half done."""
    homes = [Home(partition=str(number)) for number in range(40)]
    joined = []
    for home in homes:
        with contextlib.suppress(SessionError):
            home.attach(client)
            joined.append(home)
    visit(client, server)
    kept = [home for home in homes if home.cache.stats()["kept"]]
    assert kept == (joined[-1:] if tls_version == "1.3" else joined)
    assert visit(client, server).reused
    for home in homes:
        home.close()
    assert not_offered(visit(client, server))
