"""What a server must not resume, each beside its honest twin: sessions of other virtual hosts and other demands.

A resumed handshake looks at no certificate. With client certificates, a session carries its client's identity to
wherever it is resumed (CVE-2025-23419, CVE-2025-23048).
"""

from __future__ import annotations

import ssl
from typing import NamedTuple

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import server_context
from helpers.servers import (
    FAILED,
    FULL,
    RESUMED,
    Hosts,
    Serving,
    Way,
    earn,
    host,
    offer,
    renew,
)

pytestmark = pytest.mark.binding


class World(NamedTuple):
    """Hosts a (clients of `ca`) and b (of `other_ca`), a client of `ca`, and what the server makes of sessions."""

    client: ssl.SSLContext
    hosts: Hosts
    serving: Serving

    @property
    def home(self) -> ssl.SSLContext:
        return self.hosts.home


@pytest.fixture
def world(
    way: Way,
    serving: Serving,
    ca: Authority,
    other_ca: Authority,
    server_identity: Identity,
    client_identity: Identity,
) -> World:
    home = host(server_identity, ca, other_ca)
    hosts = Hosts(home, a=host(server_identity, ca), b=host(server_identity, other_ca))
    serving.attach(home)
    return World(way.client(ca, client_identity), hosts, serving)


class TestVirtualHosts:
    def test_ssl_by_itself_resumes_at_the_other_host(self, world: World, way: Way) -> None:
        """The twin that is not honest (fact 38)."""
        world.serving.close()
        session = earn(world.client, world.home, "a.example")
        assert offer(world.client, world.home, session, "b.example") == RESUMED
        asked = "b.example" if way.version == "1.3" else "a.example"
        assert world.hosts.asked[-1] == asked, "in TLS 1.2 a session brings its name along"

    def test_the_same_host_resumes(self, world: World) -> None:
        session = earn(world.client, world.home, "a.example")
        for _ in range(3):
            outcome, session = renew(world.client, world.home, session, "a.example")
            assert outcome == RESUMED

    def test_another_host_that_trusts_others(self, world: World) -> None:
        session = earn(world.client, world.home, "a.example")
        for _ in range(3):
            assert offer(world.client, world.home, session, "b.example") == FAILED

    @pytest.mark.parametrize("name", ["localhost", "c.example", "b.example", None])
    def test_another_name_with_the_same_demands(self, world: World, name: str | None) -> None:
        world.hosts.of["b"] = world.hosts.of["a"]
        session = earn(world.client, world.home, "a.example")
        assert offer(world.client, world.home, session, name) == FULL
        back = earn(world.client, world.home, name)
        assert offer(world.client, world.home, back, "a.example") == FULL

    def test_names_are_compared_without_case(self, world: World) -> None:
        session = earn(world.client, world.home, "a.example")
        for name in ("A.example", "a.EXAMPLE", "A.ExAmPlE"):
            outcome, session = renew(world.client, world.home, session, name)
            assert outcome == RESUMED

    def test_no_name_at_all(self, world: World) -> None:
        session = earn(world.client, world.home, None)
        outcome, session = renew(world.client, world.home, session, None)
        assert outcome == RESUMED
        assert offer(world.client, world.home, session, "a.example") == FULL

    def test_hosts_that_are_attached_themselves(self, world: World) -> None:
        """Whoever is attached to what sni_callback chooses as well: the first context's rules count (fact 38)."""
        world.serving.attach(world.hosts.of["a"], world.hosts.of["b"])
        session = earn(world.client, world.home, "a.example")
        assert offer(world.client, world.home, session, "b.example") == FAILED
        assert (
            offer(world.client, world.home, earn(world.client, world.home, "a.example"), "a.example")
            == RESUMED
        )

    def test_a_host_s_own_session_at_the_first_context(self, world: World) -> None:
        """Made without sni_callback in between, in a context of a server of its own."""
        world.serving.attach(world.hosts.of["a"])
        session = earn(world.client, world.hosts.of["a"], "b.example")
        assert offer(world.client, world.hosts.of["a"], session, "b.example") == RESUMED
        session = earn(world.client, world.hosts.of["a"], "b.example")
        assert offer(world.client, world.home, session, "b.example") == FAILED


class TestReload:
    """The same name, and from some moment on another context for it."""

    def test_to_one_that_trusts_others(self, world: World) -> None:
        sessions = [earn(world.client, world.home, "a.example") for _ in range(4)]
        world.hosts.of["a"] = world.hosts.of["b"]
        assert [offer(world.client, world.home, each, "a.example") for each in sessions] == [FAILED] * 4

    def test_to_one_that_trusts_more(
        self, world: World, ca: Authority, other_ca: Authority, server_identity: Identity
    ) -> None:
        sessions = [earn(world.client, world.home, "a.example") for _ in range(4)]
        world.hosts.of["a"] = host(server_identity, ca, other_ca)
        outcomes = [offer(world.client, world.home, each, "a.example") for each in sessions]
        assert outcomes[0] in (FAILED, FULL)
        assert outcomes[1:] == [FULL] * 3, "only the first one may be cut"
        fresh = earn(world.client, world.home, "a.example")
        assert offer(world.client, world.home, fresh, "a.example") == RESUMED

    def test_to_one_of_the_same_settings(
        self, world: World, ca: Authority, server_identity: Identity
    ) -> None:
        session = earn(world.client, world.home, "a.example")
        world.hosts.of["a"] = host(server_identity, ca)
        assert offer(world.client, world.home, session, "a.example") == RESUMED

    def test_to_another_certificate(self, world: World, ca: Authority) -> None:
        sessions = [earn(world.client, world.home, "a.example") for _ in range(2)]
        world.hosts.of["a"] = host(ca.issue("a.example"), ca)
        outcomes = [offer(world.client, world.home, each, "a.example") for each in sessions]
        assert outcomes == [FAILED, FULL]

    def test_to_the_first_context_itself(self, world: World) -> None:
        """And back: each turn cuts one connection at most."""
        sessions = [earn(world.client, world.home, "a.example") for _ in range(2)]
        a = world.hosts.of.pop("a")
        assert [offer(world.client, world.home, each, "a.example") for each in sessions] == [FAILED, FULL]
        sessions = [earn(world.client, world.home, "a.example") for _ in range(2)]
        world.hosts.of["a"] = a
        assert [offer(world.client, world.home, each, "a.example") for each in sessions] == [FAILED, FULL]

    def test_and_back_again(self, world: World, way: Way) -> None:
        """What was made before is good where it was made, unless it is used up."""
        session, used = (earn(world.client, world.home, "a.example") for _ in range(2))
        before = world.hosts.of["a"]
        world.hosts.of["a"] = world.hosts.of["b"]
        assert offer(world.client, world.home, used, "a.example") == FAILED
        world.hosts.of["a"] = before
        assert offer(world.client, world.home, used, "a.example") == FULL
        assert offer(world.client, world.home, session, "a.example") == RESUMED

    def test_in_another_process_that_has_reloaded(
        self,
        world: World,
        ca: Authority,
        other_ca: Authority,
        server_identity: Identity,
    ) -> None:
        twin, home = world.serving.twin(), host(server_identity, ca, other_ca)
        hosts = Hosts(home, a=host(server_identity, other_ca))
        twin.attach(home)
        session = earn(world.client, world.home, "a.example")
        assert [offer(world.client, home, session, "a.example") for _ in range(3)] == [FAILED] * 3
        hosts.of["a"] = host(server_identity, ca)
        session = earn(world.client, world.home, "a.example")
        assert offer(world.client, home, session, "a.example") in (RESUMED, FULL)
        twin.close()

    def test_by_a_callback_that_comes_late(
        self,
        way: Way,
        serving: Serving,
        ca: Authority,
        server_identity: Identity,
        other_ca: Authority,
        client_identity: Identity,
    ) -> None:
        """Sessions of before there were any hosts: in TLS 1.2 `ssl` tells the callback no name for them (none is in the
        session), so it chooses the context where they were made."""
        home, client = host(server_identity, ca), way.client(ca, client_identity)
        serving.attach(home)
        session = earn(client, home, "a.example")
        assert offer(client, home, session, "a.example") == RESUMED
        session = earn(client, home, "a.example")
        hosts = Hosts(home, a=host(server_identity, other_ca))
        expected, asked = (FAILED, "a.example") if way.version == "1.3" else (RESUMED, None)
        assert offer(client, home, session, "a.example") == expected
        assert hosts.asked == [asked]


class TestDemands:
    @pytest.fixture
    def optional(self, ca: Authority, server_identity: Identity) -> ssl.SSLContext:
        return server_context(server_identity, client_ca=ca, require_client=False)

    @pytest.fixture
    def required(self, ca: Authority, server_identity: Identity) -> ssl.SSLContext:
        return server_context(server_identity, client_ca=ca)

    def test_a_client_that_was_not_asked(
        self, way: Way, serving: Serving, ca: Authority, client_identity: Identity, server: ssl.SSLContext,
        optional: ssl.SSLContext, required: ssl.SSLContext,
    ) -> None:  # fmt: skip
        """Nor one that was asked and had nothing to show."""
        serving.attach(server, optional, required)
        stranger, known = way.client(ca), way.client(ca, client_identity)
        for asked in (server, optional):
            session = earn(stranger, asked)
            assert offer(stranger, asked, session) == RESUMED
            assert offer(stranger, required, earn(stranger, asked)) == FAILED
            assert offer(known, required, earn(known, asked)) == FULL
        assert offer(known, required, earn(known, required)) == RESUMED
        assert offer(known, server, earn(known, required)) == FULL

    def test_the_same_context_from_now_on(
        self, way: Way, serving: Serving, ca: Authority, client_identity: Identity, server: ssl.SSLContext
    ) -> None:
        """Without the cache `ssl` lets such clients in (fact 39)."""
        ca.trust(server)
        stranger, known = way.client(ca), way.client(ca, client_identity)
        before = earn(stranger, server)
        server.verify_mode = ssl.CERT_REQUIRED
        assert offer(stranger, server, before) == RESUMED, "the twin that is not honest"
        server.verify_mode = ssl.CERT_NONE
        serving.attach(server)
        session, other = earn(stranger, server), earn(known, server)
        server.verify_mode = ssl.CERT_REQUIRED
        assert offer(stranger, server, session) == FAILED
        assert offer(known, server, other) == FULL
