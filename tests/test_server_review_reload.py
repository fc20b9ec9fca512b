"""Sessions that outlive what they were made under, each beside its twin: suites, authorities, hosts that moved."""

from __future__ import annotations

import datetime
import hashlib
import itertools
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Clock
from helpers.memory import Pair
from helpers.servers import (
    BARE12,
    FAILED,
    FULL,
    IDS,
    RESUMED,
    TICKETS12,
    Hosts,
    Serving,
    Way,
    earn,
    host,
    offer,
    params,
    step,
)

pytestmark = pytest.mark.binding

HOUR = 3600
OLD, NEW = "ECDHE-ECDSA-AES128-SHA", "ECDHE+AESGCM"
NAMES_MOST = 1024
"""How many names a server remembers (rules.c)."""


@pytest.mark.parametrize("way", params(IDS, TICKETS12, BARE12))
class TestSuites:
    """In TLS 1.2 a resumed connection has its session's suite, and OpenSSL asks the client alone whether it has it."""

    def check(self, serving: Serving, ca: Authority, server_identity: Identity, suites: str) -> str:
        """What becomes of a session of the old suite once a server has these."""
        client = serving.way.client(ca)
        server = serving.attach(host(server_identity, ciphers=f"{OLD}:{NEW}"))
        client.set_ciphers(OLD)
        session = earn(client, server)
        client.set_ciphers(f"{OLD}:{NEW}")
        server.set_ciphers(suites)
        return offer(client, server, session)

    def test_a_suite_that_stays(self, serving: Serving, ca: Authority, server_identity: Identity) -> None:
        assert self.check(serving, ca, server_identity, f"{NEW}:{OLD}") == RESUMED

    def test_a_suite_that_was_taken_away(
        self, serving: Serving, ca: Authority, server_identity: Identity
    ) -> None:
        assert self.check(serving, ca, server_identity, NEW) == FULL


@pytest.mark.parametrize("way", params(BARE12))
class TestAuthoritiesThatEnd:
    """The leaf lasts for a year, and who signed it for an hour."""

    def check(
        self, way: Way, server_identity: Identity, directory: Path, ahead: float, *, tickets: bool
    ) -> str:
        ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        brief = pytest.importorskip("helpers.brief").BriefAuthority(directory, ends)
        clock = Clock()
        serving = Serving(way, clock=clock)
        server = serving.attach(host(server_identity, brief))
        client = way.client(brief, brief.client, tickets=tickets, verify=False)
        session = earn(client, server)
        clock.ahead = ahead
        serving.pass_time()
        found = offer(client, server, session)
        serving.close()
        return found

    @pytest.mark.parametrize("tickets", [False, True])
    def test_in_time(self, way: Way, server_identity: Identity, tmp_path: Path, tickets: bool) -> None:
        assert self.check(way, server_identity, tmp_path, HOUR - 60, tickets=tickets) == RESUMED

    def test_late_with_a_ticket(self, way: Way, server_identity: Identity, tmp_path: Path) -> None:
        assert self.check(way, server_identity, tmp_path, HOUR + 60, tickets=True) == FULL

    def test_late_with_an_id_that_openssl_keeps(
        self, way: Way, server_identity: Identity, tmp_path: Path
    ) -> None:
        assert self.check(way, server_identity, tmp_path, HOUR + 60, tickets=False) in (FULL, FAILED)


def neighbour_of(name: str) -> str:
    """Another name that is remembered in the same place."""

    def place(text: str) -> int:
        digest = hashlib.sha256(text.encode()).digest()
        return (digest[0] << 8 | digest[1]) % NAMES_MOST

    others = (f"x{number}.example" for number in itertools.count())
    return next(other for other in others if place(other) == place(name))


@pytest.mark.parametrize("way", params(IDS, TICKETS12))
class TestAHostThatMoved:
    """To another certificate: one connection with a session from before is ended, and the next one starts full."""

    def check(
        self,
        serving: Serving,
        ca: Authority,
        other_ca: Authority,
        server_identity: Identity,
        client_identity: Identity,
        stranger: str,
    ) -> list[str]:
        """What becomes of a session each time that it is proposed, with a stranger's ClientHello before each."""
        hosts = Hosts(host(server_identity, ca, other_ca), a=host(server_identity, ca))
        hosts.of[stranger.partition(".")[0]] = host(server_identity, other_ca)
        serving.attach(hosts.home)
        client = serving.way.client(ca, client_identity)
        session = earn(client, hosts.home, "a.example")
        hosts.of["a"] = host(ca.issue("a.example"), ca)
        found = []
        for _ in range(3):
            pair = Pair(serving.way.client(ca), hosts.home, stranger)
            step(pair.client, pair.server)
            found.append(offer(client, hosts.home, session, "a.example"))
        return found

    def test_others_are_visited_meanwhile(
        self,
        serving: Serving,
        ca: Authority,
        other_ca: Authority,
        server_identity: Identity,
        client_identity: Identity,
    ) -> None:
        found = self.check(serving, ca, other_ca, server_identity, client_identity, "y.example")
        assert found == [FAILED, FULL, FULL]

    def test_one_that_is_remembered_in_the_same_place_is_visited_meanwhile(
        self,
        serving: Serving,
        ca: Authority,
        other_ca: Authority,
        server_identity: Identity,
        client_identity: Identity,
    ) -> None:
        name = neighbour_of("a.example")
        found = self.check(serving, ca, other_ca, server_identity, client_identity, name)
        assert found == [FAILED, FULL, FULL]
