"""What C lets come back to a server is what resumption.py allows: the two texts, held against each other.

Each case is a real handshake. What the rules are given is read from the session's own stamp, as C wrote it.
"""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import _with_peer, entries, refill
from helpers.memory import Pair
from helpers.rings import Hand
from helpers.servers import CACHES, FAILED, FULL, RESUMED, Hosts, Serving, Way, host, offer, params
from helpers.sessions import session_of
from sslsession import Session, _revocations
from sslsession.resumption import CLOCK_SKEW, Objection, Returning, objection

pytestmark = pytest.mark.binding

LIMIT, HOUR = 5000, 3600
BINDING, NUMBER = 16, 6
SAME = Returning(
    stamped=True,
    same_settings=True,
    goes_elsewhere=False,
    authenticated_at=0,
    chain_ends=0,
    leaf_in_date=True,
    has_certificate=True,
    certificate_demanded=True,
    chain_holds=True,
    withdrawn=False,
    withdrawn_until=None,
)


class World:
    """A server whose clock stands, and that demands certificates; a client of it; and the session that it has."""

    def __init__(
        self, way: Way, ca: Authority, other_ca: Authority, server: Identity, client: Identity
    ) -> None:
        self.way, self._ca, self.leaf = way, ca, client
        self.hand = Hand(int(time.time()))
        self.serving = Serving(way, clock=self.hand, authentication_limit=LIMIT)
        self.here = self.home = self.serving.attach(host(server, ca))
        self.others = {"apart": host(server, ca), "another certificate": host(ca.issue("localhost"), ca)}
        self.hosts = Hosts(self.home)
        self.stricter = host(server, ca, other_ca)
        self.client = way.client(ca, client)
        self.name = "localhost"
        self.session: ssl.SSLSession | None = None
        self.kept: Session | None = None

    def move(self, seconds: float) -> None:
        """Later, or earlier, by the server's clock."""
        self.hand.now += seconds
        self.serving.pass_time()

    def earn(self) -> None:
        """The client's session, and what the server has of it."""
        pair = Pair(self.client, self.home, self.name).handshake()
        pair.exchange()
        self.session, self.kept = pair.client.session, session_of(pair.server)
        pair.close()

    def revoke(self, **what: Any) -> None:
        """As a server that does not have the session in its hands: what the store has of it stays."""
        before = entries(self.serving.store)
        self.serving.cache.revoke(**what)
        refill(self.serving.store, before)

    def replant(self, change: Callable[[bytes], bytes]) -> None:
        """The store has something else under the session's id."""
        found = entries(self.serving.store)
        refill(self.serving.store, [each._replace(value=change(each.value)) for each in found])

    @property
    def stamp(self) -> bytes:
        """What the session brings along: its binding, two times of six bytes, and which handshake it was."""
        assert self.kept is not None
        stamp = self.kept.ticket_appdata
        assert stamp is not None
        return stamp

    def returning(self, **known: Any) -> Returning:
        """What the rules are given."""
        times = self.stamp[1 + BINDING :]
        authenticated, ends = (int.from_bytes(times[at : at + NUMBER], "big") for at in (0, NUMBER))
        return SAME._replace(authenticated_at=authenticated, chain_ends=ends, **known)

    def comes_back(self) -> tuple[str, dict[str, int]]:
        """What becomes of the session, and what was counted."""
        assert self.session is not None
        before = self.serving.cache.stats()
        outcome = offer(self.client, self.here, self.session, self.name)
        after = self.serving.cache.stats()
        names = ["resumed", *(each.value for each in Objection)]
        return outcome, {name: after[name] - before[name] for name in names if after[name] != before[name]}


@pytest.fixture(params=params(*CACHES))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def world(
    way: Way, ca: Authority, other_ca: Authority, server_identity: Identity, client_identity: Identity
) -> Any:
    world = World(way, ca, other_ca, server_identity, client_identity)
    yield world
    world.serving.close()


def agree(world: World, expected: Objection | None, *, final: bool = False, **known: Any) -> None:
    """The rules and the server say the same of the session, and that is what was expected."""
    said = objection(world.returning(**known), LIMIT, int(world.hand.now), final=final)
    assert said is expected
    outcome, counted = world.comes_back()
    if said is None:
        assert (outcome, counted) == (RESUMED, {"resumed": 1})
    else:
        assert (outcome, counted) == (FAILED if said is Objection.CUT else FULL, {said.value: 1})


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, None),
        (LIMIT - 1, None),
        (LIMIT, Objection.EXPIRED),
        (-CLOCK_SKEW, None),
        (-CLOCK_SKEW - 1, Objection.EXPIRED),
    ],
)
def test_it_comes_back_so_many_seconds_after_its_client_was_authenticated(
    world: World, seconds: int, expected: Objection | None
) -> None:
    world.earn()
    world.move(seconds)
    agree(world, expected)


class TestCertificatesThatEnd:
    @pytest.fixture
    def ends(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(int(time.time()) + HOUR, datetime.timezone.utc)

    def check(self, world: World, ends: datetime.datetime, *, leaf: bool) -> None:
        """To the second: what OpenSSL's verification calls past, from notAfter itself on."""
        for late, expected in ((-1, None), (0, Objection.EXPIRED)):
            world.earn()
            before, until = world.hand.now, world.returning().chain_ends
            assert until == ends.timestamp()
            world.move(until + late - before)
            agree(world, expected, leaf_in_date=not leaf or late < 0)
            world.move(before - world.hand.now)

    def test_the_client_s(self, world: World, ca: Authority, ends: datetime.datetime) -> None:
        world.client = world.way.client(ca, ca.issue("brief.example", client=True, not_after=ends))
        self.check(world, ends, leaf=True)

    def test_its_authority_s(
        self, world: World, ca: Authority, ends: datetime.datetime, tmp_path: Path
    ) -> None:
        brief = pytest.importorskip("helpers.brief").BriefAuthority(tmp_path, ends)
        brief.trust(world.home)
        world.client = world.way.client(ca, brief.client)
        self.check(world, ends, leaf=False)


@pytest.mark.parametrize("way", [way for way in params(*CACHES) if way.values[0].in_store])
class TestWhatAStoreHasOtherwise:
    """Nobody but who can write to the store makes such a session."""

    def test_as_it_was(self, world: World) -> None:
        world.earn()
        world.replant(lambda der: der)
        agree(world, None)

    def test_no_client_certificate_where_one_is_demanded(self, world: World) -> None:
        world.earn()
        world.replant(lambda der: _with_peer(der, ()))
        agree(world, Objection.REFUSED, has_certificate=False)

    def test_another_version_s_stamp(self, world: World) -> None:
        world.earn()
        world.replant(lambda der: der.replace(world.stamp, b"\x52" + world.stamp[1:]))
        agree(world, Objection.REFUSED, stamped=False)

    def test_no_stamp(self, world: World) -> None:
        world.earn()
        world.replant(lambda der: der.replace(world.stamp, bytes(len(world.stamp))))
        agree(world, Objection.REFUSED, stamped=False)


class TestWithdrawn:
    def test_by_its_full_handshake_whenever_that_was(self, world: World) -> None:
        world.earn()
        world.move(-1000)
        world.revoke(session_id=world.kept)
        world.move(1000)
        agree(world, Objection.REVOKED, withdrawn=True)

    @pytest.mark.parametrize("way", [way for way in params(*CACHES) if way.values[0].in_store])
    def test_by_its_id_whenever_that_was(self, world: World) -> None:
        world.earn()
        assert world.kept is not None
        world.move(-1000)
        world.revoke(session_id=world.kept.id)
        world.move(1000)
        agree(world, Objection.REVOKED, withdrawn=True)

    def test_another_one(self, world: World) -> None:
        world.earn()
        world.revoke(session_id=world.kept)
        world.earn()
        agree(world, None, withdrawn=False)

    @pytest.mark.parametrize("by", ["certificate", "name", "all"])
    @pytest.mark.parametrize(
        ("later", "expected"),
        [
            (-1, Objection.REVOKED),
            (0, Objection.REVOKED),
            (CLOCK_SKEW, Objection.REVOKED),
            (CLOCK_SKEW + 1, None),
        ],
    )
    def test_by_what_many_have_so_many_seconds_before_it_was_made(
        self, world: World, by: str, later: int, expected: Objection | None
    ) -> None:
        until = int(world.hand.now)
        if by == "certificate":
            world.serving.cache.revoke(client_certificate=world.leaf.leaf_der)
        elif by == "name":
            world.serving.cache.revoke(server_name="LocalHost")
        else:  # what many withdrawals become
            world.serving.cache._withdrawn.add([(_revocations.ALL, bytes(16))], until)
        world.move(later)
        world.earn()
        agree(world, expected, withdrawn_until=until)

    def test_by_what_another_has(self, world: World, ca: Authority) -> None:
        world.earn()
        world.serving.cache.revoke(client_certificate=ca.issue("x").leaf_der, server_name="a.example")
        agree(world, None, withdrawn_until=None)


class TestOtherSettings:
    """Of another id context: OpenSSL itself passes over such a session, and the server counts it."""

    def test_another_name(self, world: World) -> None:
        world.earn()
        world.name = "a.example"
        agree(world, Objection.REFUSED, same_settings=False)

    def test_another_certificate_of_the_server(self, world: World) -> None:
        world.earn()
        world.here = world.serving.attach(world.others["another certificate"])
        agree(world, Objection.REFUSED, same_settings=False)

    def test_another_context_id(self, world: World) -> None:
        world.earn()
        first, apart = world.serving, world.serving.twin(context_id="apart")
        world.here, world.serving = apart.attach(world.others["apart"]), apart
        agree(world, Objection.REFUSED, same_settings=False)
        first.close()

    def test_another_context_that_sni_callback_chooses(self, world: World) -> None:
        """The first is resumed before it chooses, and ended; from then on it is known where this name goes."""
        world.earn()
        world.hosts.of["localhost"] = world.stricter
        kept = world.session
        agree(world, Objection.CUT, final=True, same_settings=False)
        if not world.way.once:
            world.session = kept
            agree(world, Objection.REFUSED, goes_elsewhere=True)


def test_what_is_told_first() -> None:
    """A session of others is refused whatever else; then it is too old, then withdrawn."""
    everything = SAME._replace(
        stamped=False, authenticated_at=-LIMIT, has_certificate=False, withdrawn=True, goes_elsewhere=True
    )
    told = []
    for cleared in (
        {"stamped": True},
        {"authenticated_at": 0},
        {"has_certificate": True},
        {"withdrawn": False},
        {"goes_elsewhere": False},
    ):
        told.append(objection(everything, LIMIT, 0))
        everything = everything._replace(**cleared)
    assert told == [
        Objection.REFUSED,
        Objection.EXPIRED,
        Objection.REFUSED,
        Objection.REVOKED,
        Objection.REFUSED,
    ]
    assert objection(everything, LIMIT, 0) is None
    assert objection(everything, LIMIT, 0, final=True) is None
