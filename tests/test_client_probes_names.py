"""A session is for one name and one port: what must not resume at another, and its honest twin that does.

Fact 39: `ssl` itself resumes a session of one name at another, checking on.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from helpers.certs import Authority
from helpers.clients import Account, Home, not_offered, visit
from helpers.peers import EchoServer, client_context, connect, dial, server_context
from helpers.sessions import ssl_resumes
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


class TestNames:
    def test_another_host_name_on_the_same_context(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home.earn(client, server, "a.example")
        assert not_offered(home.visit(client, server, "b.example"))
        assert home.visit(client, server, "a.example").reused
        assert home.visit(client, server, "b.example").reused, "each name has its own"

    def test_fact_39_ssl_resumes_at_a_name_that_the_certificate_lacks(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        pair = connect(client, server)
        assert ssl_resumes(client, server, pair.client.session, "evil.example"), "the danger"
        with pytest.raises(ssl.SSLCertVerificationError):
            visit(client, server, "evil.example")
        home.earn(client, server)
        with pytest.raises(ssl.SSLCertVerificationError):
            home.visit(client, server, "evil.example")
        assert home.visit(client, server).reused

    def test_fact_48_case_is_no_other_name(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home.earn(client, server, "a.example")
        assert home.visit(client, server, "A.ExAmple").reused

    def test_a_trailing_dot_is_another_name(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """No certificate is for `a.example.`: the full handshake fails, and nothing may get around that."""
        home.earn(client, server, "a.example")
        with pytest.raises(ssl.SSLCertVerificationError):
            home.visit(client, server, "a.example.")
        assert home.visit(client, server, "a.example").reused

    def test_an_international_name_and_its_ascii_form_are_one(
        self, home: Home, ca: Authority, client: ssl.SSLContext
    ) -> None:
        server = server_context(ca.issue("xn--bcher-kva.example", "xn--bcher-zva.example"))
        home.earn(client, server, "bücher.example")
        assert home.visit(client, server, "xn--bcher-kva.example").reused
        assert not_offered(home.visit(client, server, "xn--bcher-zva.example"))

    def test_an_address_is_not_the_name_that_resolves_to_it(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home.earn(client, server, "localhost")
        assert not_offered(home.visit(client, server, "127.0.0.1"))
        assert home.visit(client, server, "127.0.0.1").reused

    def test_a_wildcard_certificate_makes_no_names_one(
        self, home: Home, ca: Authority, client: ssl.SSLContext
    ) -> None:
        server = server_context(ca.issue("*.wild.example"))
        home.earn(client, server, "a.wild.example")
        assert not_offered(home.visit(client, server, "b.wild.example"))
        assert home.visit(client, server, "a.wild.example").reused

    @pytest.mark.parametrize("name", ["a.example/443", "a.example%2F443", "a.example//", "@127.0.0.1"])
    def test_a_name_that_looks_like_a_part_of_a_key(
        self, home: Home, ca: Authority, server: ssl.SSLContext, tls_version: str, name: str
    ) -> None:
        client = client_context(ca, version=tls_version, verify=False)
        home.earn(client, server, "a.example")
        try:
            assert not_offered(home.visit(client, server, name))
        except ValueError:
            pass  # ssl knows better than to connect to it
        assert home.visit(client, server, "a.example").reused

    def test_no_name_and_no_address_keeps_nothing(
        self, home: Home, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version, check_hostname=False)
        for _ in range(2):
            assert not_offered(home.visit(client, server, None))
        assert home.holds == 0
        assert home.cache.stats()["kept"] == 0
        home.earn(client, server, "localhost")
        assert not_offered(home.visit(client, server, None)), "nor is it given what has a name"


class Ports:
    """Two servers that would resume each other's sessions, and what each was offered."""

    def __init__(self, server: ssl.SSLContext, stack: ExitStack) -> None:
        self.accounts = Account(), Account()
        self.servers = [stack.enter_context(EchoServer(server, prepare=each.look)) for each in self.accounts]

    def visit(self, which: int, client: ssl.SSLContext, name: str | None = "localhost") -> bool:
        """Whether a connection to one of them resumed."""
        with dial(self.servers[which].port, client, name) as conn:
            conn.sendall(b"ping")
            assert conn.recv(4) == b"ping"
            reused = bool(conn.session_reused)
            conn.unwrap().close()
        return reused

    @property
    def offered(self) -> tuple[int, int]:
        """How many sessions each was offered."""
        return sum(self.accounts[0].offered.values()), sum(self.accounts[1].offered.values())


@pytest.fixture
def ports(server: ssl.SSLContext) -> Iterator[Ports]:
    with ExitStack() as stack:
        yield Ports(server, stack)


@pytest.mark.parametrize("stored", [False, True])
class TestPorts:
    @pytest.mark.parametrize("name", ["localhost", None])
    def test_one_port_s_session_is_not_offered_at_another(
        self, ca: Authority, ports: Ports, tls_version: str, stored: bool, name: str | None
    ) -> None:
        client = client_context(ca, version=tls_version, check_hostname=name is not None)
        home = Home(MemoryStore() if stored else None)
        home.attach(client)
        try:
            assert [ports.visit(0, client, name), ports.visit(0, client, name)] == [False, True]
            home.restart()
            assert not ports.visit(1, client, name)
            assert ports.offered == (1, 0)
            assert ports.visit(0, client, name)
            assert ports.visit(1, client, name), "each port has its own"
        finally:
            home.close()

    def test_unless_any_port_is_said_to_be_the_same(
        self, ca: Authority, ports: Ports, tls_version: str, stored: bool
    ) -> None:
        client = client_context(ca, version=tls_version)
        home = Home(MemoryStore() if stored else None, same_host_any_port=True)
        home.attach(client)
        try:
            assert not ports.visit(0, client)
            home.restart()
            assert ports.visit(1, client)
            assert not ports.visit(1, client, "a.example"), "the host is still another"
            assert ports.offered == (0, 1)
        finally:
            home.close()

    def test_a_port_that_is_not_known_is_none_in_particular(
        self, ca: Authority, ports: Ports, server: ssl.SSLContext, tls_version: str, stored: bool
    ) -> None:
        """Fact 67: over memory there is no port, and such connections share with no port's."""
        client = client_context(ca, version=tls_version)
        home = Home(MemoryStore() if stored else None)
        try:
            home.earn(client, server)
            assert not ports.visit(0, client)
            assert ports.offered == (0, 0)
            assert ports.visit(0, client)
            home.restart()
            assert home.visit(client, server).reused
        finally:
            home.close()
