"""Contexts that resume without another call: ours, and all of a process's."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.children import run_python
from helpers.clients import visit
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context, server_context
from sslsession import ClientSessionCache
from sslsession.context import default_cache, ssl_class

pytestmark = pytest.mark.binding


@pytest.fixture
def server(server_identity: Identity, tls_version: str) -> ssl.SSLContext:
    return server_context(server_identity, version=tls_version)


@pytest.fixture
def injected() -> Iterator[ClientSessionCache]:
    """ssl with a cache of the test's own in it."""
    own = vars(ssl_class())["__new__"]
    with ClientSessionCache() as cache:
        sslsession.inject_into_ssl(cache)
        try:
            yield cache
        finally:
            sslsession.extract_from_ssl()
    assert vars(ssl_class())["__new__"] is own


@pytest.fixture(autouse=True)
def empty() -> None:
    default_cache().clear()


def resumes(client: ssl.SSLContext, server: ssl.SSLContext) -> list[bool]:
    return [visit(client, server).reused for _ in range(3)]


class TestOurs:
    def test_a_context_of_our_class(self, ca: Authority, server: ssl.SSLContext) -> None:
        client = sslsession.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.trust(client)
        assert isinstance(client, ssl.SSLContext)
        assert client.verify_mode is ssl.CERT_REQUIRED
        assert client.check_hostname
        assert resumes(client, server) == [False, True, True]

    def test_the_default_context(self, ca: Authority, server: ssl.SSLContext) -> None:
        client = sslsession.create_default_context(cafile=str(ca.pem_path))
        plain = ssl.create_default_context(cafile=str(ca.pem_path))
        assert type(client) is type(plain)
        assert (client.options, client.verify_flags) == (plain.options, plain.verify_flags)
        assert resumes(client, server) == [False, True, True]

    def test_two_of_them_share_what_both_verify(
        self, ca: Authority, other_ca: Authority, server: ssl.SSLContext
    ) -> None:
        for expected in (False, True):
            client = sslsession.create_default_context(cafile=str(ca.pem_path))
            assert visit(client, server).reused is expected
        with pytest.raises(ssl.SSLCertVerificationError):
            visit(sslsession.create_default_context(cafile=str(other_ca.pem_path)), server)

    def test_a_server_s_is_ssl_s_own(self, server_identity: Identity, ca: Authority) -> None:
        for server in (
            sslsession.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            sslsession.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ):
            server_identity.load(server)
            assert [visit(client_context(ca), server).reused for _ in range(2)] == [False, False]

    def test_settings_that_ssl_reaches_through_its_own_class(self, server: ssl.SSLContext) -> None:
        """Fact 46: `super(SSLContext, SSLContext)` in ssl breaks where its class is exchanged."""
        client = sslsession.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.options |= ssl.OP_NO_COMPRESSION
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        client.verify_flags |= ssl.VERIFY_X509_TRUSTED_FIRST
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        assert client.minimum_version is ssl.TLSVersion.TLSv1_3


class TestInjected:
    def test_whoever_makes_it(
        self, ca: Authority, server: ssl.SSLContext, injected: ClientSessionCache
    ) -> None:
        class Derived(ssl.SSLContext):
            pass

        made = [
            ssl.create_default_context(),
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            Derived(ssl.PROTOCOL_TLS_CLIENT),
        ]
        for client in made:
            injected.clear()
            ca.trust(client)
            client.options |= ssl.OP_NO_COMPRESSION
            assert resumes(client, server) == [False, True, True]

    def test_one_that_was_there_before_is_left_alone(
        self, ca: Authority, server: ssl.SSLContext, request: pytest.FixtureRequest
    ) -> None:
        before = client_context(ca)
        request.getfixturevalue("injected")
        assert resumes(before, server) == [False, False, False]

    def test_one_that_is_made_after_is_left_alone(self, ca: Authority, server: ssl.SSLContext) -> None:
        with ClientSessionCache() as cache:
            sslsession.inject_into_ssl(cache)
            between = client_context(ca)
            sslsession.extract_from_ssl()
            sslsession.extract_from_ssl()
            assert resumes(client_context(ca), server) == [False, False, False]
            assert resumes(between, server) == [False, True, True]

    def test_again_with_another_cache(
        self, ca: Authority, server: ssl.SSLContext, injected: ClientSessionCache
    ) -> None:
        with ClientSessionCache() as other:
            sslsession.inject_into_ssl(other)
            resumes(client_context(ca), server)
            assert other.stats()["resumed"] == 2
            assert injected.stats()["kept"] == 0

    def test_servers_are_left_alone(
        self, ca: Authority, server_identity: Identity, injected: ClientSessionCache, tls_version: str
    ) -> None:
        made = server_context(server_identity, version=tls_version)
        assert resumes(client_context(ca), made) == [False, True, True]
        assert injected.stats()["offered"] == 2

    def test_a_cache_that_was_closed_stops_nothing(self, ca: Authority, server: ssl.SSLContext) -> None:
        cache = ClientSessionCache()
        sslsession.inject_into_ssl(cache)
        try:
            cache.close()
            with Unraisables() as unraisables:
                assert resumes(client_context(ca), server) == [False, False, False]
            assert unraisables.errors == []
        finally:
            sslsession.extract_from_ssl()

    def test_what_is_no_cache(self) -> None:
        with pytest.raises(TypeError, match="a ClientSessionCache is needed, not str"):
            sslsession.inject_into_ssl("sqlite:x.db")  # type: ignore[arg-type]

    def test_the_process_s_own_cache_is_what_it_takes_by_itself(
        self, ca: Authority, tls_version: str
    ) -> None:
        run_python(
            """
            import ssl, sys
            import sslsession
            from sslsession.context import default_cache
            from helpers import child_contexts
            from helpers.clients import visit

            sslsession.inject_into_ssl()
            client, server = child_contexts.client(), child_contexts.server()
            assert [visit(client, server).reused for _ in range(3)] == [False, True, True]
            assert default_cache().stats()["resumed"] == 2
            """,
            args=_arguments(ca, tls_version),
        )


def _arguments(ca: Authority, tls_version: str) -> list[str]:
    identity = ca.issue("localhost")
    return [str(ca.pem_path), str(identity.cert_pem_path), str(identity.key_path), tls_version]
