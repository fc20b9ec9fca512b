"""What a server must not resume, each beside its honest twin: sessions past their time."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Clock
from helpers.servers import (
    CACHES,
    FULL,
    IDS,
    RESUMED,
    STATEFUL,
    TICKETS12,
    TICKETS13,
    Serving,
    Way,
    earn,
    host,
    offer,
    params,
    renew,
)

pytestmark = pytest.mark.binding

HOUR, DAY = 3600, 24 * 3600


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(way: Way, ca: Authority, client_identity: Identity) -> ssl.SSLContext:
    return way.client(ca, client_identity)


@pytest.fixture
def server(ca: Authority, server_identity: Identity) -> ssl.SSLContext:
    return host(server_identity, ca)


class TestAuthenticationLimit:
    """However often a session is renewed: some time its client has to show who it is."""

    def renewals(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock, step: float
    ) -> float:
        """For how long a client that comes back every `step` seconds is resumed."""
        began, session = clock.ahead, earn(client, server)
        while True:
            clock.ahead += step
            serving.pass_time()
            outcome, session = renew(client, server, session)
            if outcome != RESUMED:
                assert outcome == FULL
                return clock.ahead - began

    def test_of_seven_days(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock
    ) -> None:
        """By default, and from each full handshake anew. TLS 1.2 renews tickets as keys change, and ids never."""
        serving = Serving(way, clock=clock)
        serving.attach(server)
        for _ in range(2):
            lasted = self.renewals(serving, client, server, clock, step=1.9 * HOUR)
            if way == IDS:
                assert lasted == pytest.approx(2 * 1.9 * HOUR), "its lifetime"
            else:
                assert 7 * DAY - 10 <= lasted <= 7 * DAY + 2 * HOUR
        serving.close()

    @pytest.mark.parametrize("way", params(TICKETS12, STATEFUL, TICKETS13))
    def test_of_ones_own(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock
    ) -> None:
        serving = Serving(way, authentication_limit=HOUR, clock=clock)
        serving.attach(server)
        assert HOUR - 10 <= self.renewals(serving, client, server, clock, step=600) <= HOUR + 600
        assert serving.cache.stats()["expired"] == 1
        serving.close()

    @pytest.mark.parametrize("way", params(*CACHES))
    def test_a_full_handshake_begins_it_anew(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock
    ) -> None:
        """Also one at which a session was offered that was looked at, and then not used for another reason."""
        serving = Serving(way, authentication_limit=3000, clock=clock)
        serving.attach(server)
        session, old = earn(client, server), earn(client, server)
        clock.ahead = 2000
        serving.pass_time()
        outcome, newer = renew(client, server, session, "a.example")
        assert outcome == FULL, "made for another name"
        clock.ahead = 4000
        serving.pass_time()
        assert offer(client, server, newer, "a.example") == RESUMED
        assert offer(client, server, old) == FULL
        serving.close()

    def test_a_session_of_the_future(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock
    ) -> None:
        """Clocks of hosts differ a little; more than five minutes are too much."""
        serving = Serving(way, clock=clock)
        serving.attach(server)
        clock.ahead = 200
        serving.pass_time()
        near = earn(client, server)
        clock.ahead = 400
        serving.pass_time()
        far = earn(client, server)
        clock.ahead = 0
        serving.pass_time()
        assert offer(client, server, near) == RESUMED
        assert offer(client, server, far) == FULL
        serving.close()


class TestCertificatesThatEnd:
    """OpenSSL's own clock is the system's, so what starts full here is let in."""

    @pytest.fixture
    def ends(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)

    def check(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, clock: Clock) -> None:
        """It is in time for an hour less a minute, and late a minute after the hour."""
        serving.attach(server)
        session, late = earn(client, server), earn(client, server)
        clock.ahead = HOUR - 60
        serving.pass_time()
        outcome, session = renew(client, server, session)
        assert outcome == RESUMED
        clock.ahead = HOUR + 60
        serving.pass_time()
        assert [offer(client, server, each) for each in (session, late)] == [FULL, FULL]
        serving.close()

    def test_the_client_s(
        self, way: Way, ca: Authority, server: ssl.SSLContext, clock: Clock, ends: datetime.datetime
    ) -> None:
        leaf = ca.issue("brief.example", client=True, not_after=ends)
        self.check(Serving(way, clock=clock), way.client(ca, leaf), server, clock)

    def test_its_authority_s(
        self,
        way: Way,
        ca: Authority,
        server_identity: Identity,
        clock: Clock,
        ends: datetime.datetime,
        tmp_path: Path,
    ) -> None:
        """What signed the client's certificate is not in the session: when it ends is."""
        brief = pytest.importorskip("helpers.brief").BriefAuthority(tmp_path, ends)
        self.check(
            Serving(way, clock=clock), way.client(ca, brief.client), host(server_identity, brief), clock
        )
