"""What becomes of early data by resumption.py, and what C and Python do: the two texts, held against each other."""

from __future__ import annotations

import itertools
import ssl
from typing import Any, NamedTuple

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Home
from helpers.early import ACCEPTED, MOST, REJECTED, REQUEST, Site, meet
from helpers.memory import Pair
from helpers.peers import client_context, server_context
from helpers.servers import STATEFUL, TICKETS13, Way, params
from helpers.sessions import offering, session_of
from sslsession import (
    EarlyReason,
    SessionError,
    resumption,
    send_replayable,
    set_session,
    why_not_early,
    write_early_data,
)
from sslsession.resumption import Arriving, Sending

pytestmark = pytest.mark.binding

PROTOCOL = "http/1.1"


class TestClients:
    """Every combination of what a client knows."""

    @pytest.fixture
    def server(self, ca: Authority, server_identity: Identity) -> Any:
        """It allows early data, or none."""
        made: dict[bool, Site] = {}

        def of(allows: bool) -> ssl.SSLContext:
            if allows not in made:
                server = server_context(server_identity)
                server.set_alpn_protocols([PROTOCOL])
                server.sni_callback = lambda *_: None  # or OpenSSL's client does not write the name down
                made[allows] = Site(ca, server_identity, TICKETS13, most=MOST if allows else 0, server=server)
            return made[allows].server

        yield of
        for site in made.values():
            site.close()

    @pytest.mark.parametrize(
        ("offered", "allows", "named", "same", "alpn", "permitted", "fits"),
        [each for each in itertools.product([True, False], repeat=7) if each[0] or all(each[1:])],
    )
    def test_early_objection(
        self,
        ca: Authority,
        server: Any,
        offered: bool,
        allows: bool,
        named: bool,
        same: bool,
        alpn: bool,
        permitted: bool,
        fits: bool,
    ) -> None:
        home, client = Home(early_data=permitted), client_context(ca, version="1.3")
        client.check_hostname = False
        client.set_alpn_protocols([PROTOCOL])
        first = Pair(client, server(allows), "a.example")
        meet(first)
        first.exchange()
        session = session_of(first.client)
        first.close()
        other = client_context(ca, version="1.3")
        other.check_hostname = False
        if not same:
            other.minimum_version = ssl.TLSVersion.TLSv1_2
        other.set_alpn_protocols([PROTOCOL] if alpn else ["h2"])
        home.attach(other)
        name = "a.example" if named else "b.example"
        pair = Pair(other, server(allows), name)
        if offered and (permitted or not (named and same)):
            set_session(pair.client, session, force=not (named and same))
            permitted = True
        elif offered:
            home.cache.add(session, name)
        size = MOST if fits else MOST + 1
        sending = Sending(
            offered=offered,
            allowed=MOST if allows else 0,
            name="a.example",
            name_here=name,
            same_settings=same and named,
            alpn_offered=alpn,
            permitted=permitted,
            valid=True,
            size=size,
        )
        expected = resumption.early_objection(sending)
        written = write_early_data(pair.client, b"x" * size)
        assert written == (0 if expected else size)
        assert why_not_early(pair.client) == (expected or EarlyReason.SENT)
        pair.drop()
        home.close()


class Moved(NamedTuple):
    """What happened to a server between a ticket and its use."""

    elsewhere: bool
    lowered: bool
    spent: bool
    unwanted: bool


@pytest.mark.parametrize("way", params(STATEFUL, TICKETS13))
@pytest.mark.parametrize(
    "moved", [Moved(*each) for each in itertools.product([False, True], repeat=4)], ids=str
)
def test_accepts_early(ca: Authority, server_identity: Identity, way: Way, moved: Moved) -> None:
    """Every combination of what a server knows of early data that comes with a session it resumes."""
    site = Site(ca, server_identity, way, accept_early_data=lambda *_: not moved.unwanted)
    server = site.twin(max_early_data=MOST - 1) if moved.lowered else site.server
    if moved.elsewhere:
        twin = server_context(server_identity)
        server.sni_callback = lambda conn, *_: setattr(conn, "context", twin)
    first = Pair(site.client, site.server)
    meet(first)
    first.exchange()
    session = session_of(first.client)
    first.close()
    if moved.spent:
        for each in list(site.serving.store.entries()):
            site.serving.store.discard(each.key)
    expected = resumption.accepts_early(
        Arriving(
            same_context=not moved.elsewhere,
            allowed=MOST,
            allows=MOST - 1 if moved.lowered else MOST,
            taken=not moved.spent,
            wanted=not moved.unwanted,
        )
    )
    told = site.speak(client=client_context(ca, version="1.3"), server=server, prepare=offering(session))
    assert told.status is (ACCEPTED if expected else REJECTED)
    site.close()


class TestWhyNotEarly:
    def test_on_the_way(self, ca: Authority, server_identity: Identity) -> None:
        site = Site(ca, server_identity)
        pair = Pair(site.client, site.server)
        assert why_not_early(pair.client) is EarlyReason.NOT_ASKED
        write_early_data(pair.client, REQUEST)
        assert why_not_early(pair.client) is EarlyReason.SENT
        meet(pair)
        assert why_not_early(pair.client) is EarlyReason.ACCEPTED
        pair.close()
        site.close()

    def test_a_server_that_does_not_read_it(self, ca: Authority, server_identity: Identity) -> None:
        site = Site(ca, server_identity)
        pair = Pair(site.client, site.server)
        write_early_data(pair.client, REQUEST)
        pair.handshake()
        assert why_not_early(pair.client) is EarlyReason.REJECTED
        pair.close()
        site.close()

    def test_the_first_connection(self, ca: Authority, server_identity: Identity) -> None:
        site, home, client = (
            Site(ca, server_identity),
            Home(early_data=True),
            client_context(ca, version="1.3"),
        )
        home.attach(client)
        pair = Pair(client, site.server)
        with pytest.raises(ssl.SSLWantReadError):
            send_replayable(pair.client, REQUEST)
        assert why_not_early(pair.client) is EarlyReason.NO_SESSION
        assert "why_not_resumed" in str(why_not_early(pair.client))
        pair.drop()
        home.close()
        site.close()

    def test_a_context_that_was_exchanged(self, ca: Authority, server_identity: Identity) -> None:
        site = Site(ca, server_identity)
        pair = Pair(site.client, site.server)
        assert write_early_data(pair.client, b"x" * (MOST + 1)) == 0
        assert why_not_early(pair.client) is EarlyReason.TOO_LARGE
        pair.client.context = client_context(ca, version="1.3")
        assert write_early_data(pair.client, REQUEST) == 0
        assert why_not_early(pair.client) is EarlyReason.POLICY_CHANGED
        pair.drop()
        site.close()

    def test_a_server_has_stats(self, ca: Authority, server_identity: Identity) -> None:
        pair = Pair(client_context(ca), server_context(server_identity))
        with pytest.raises(SessionError, match="stats"):
            why_not_early(pair.server)
        pair.drop()

    def test_each_reason_is_a_sentence(self) -> None:
        assert len({str(each) for each in EarlyReason}) == len(EarlyReason)
