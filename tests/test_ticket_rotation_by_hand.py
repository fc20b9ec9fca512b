"""``rotate()`` as often as one likes: each call moves on, no living ticket loses its key, and others can follow."""

from __future__ import annotations

import re
import ssl

import pytest

from helpers.certs import Identity
from helpers.peers import server_context
from helpers.rings import (
    HOUR,
    LIFETIME,
    ROTATE_EVERY,
    SECRET,
    Hand,
    again,
    attached,
    coming,
    current,
    key_of,
    names,
    needs_ring,
    states,
)
from helpers.sessions import resumes, take
from sslsession import SessionError, TicketKeyRing
from sslsession._libssl import lib
from sslsession._schedules import AHEAD, SKEW, Ratchet
from sslsession._sharing import GRACE
from sslsession._sources import Local
from sslsession.stores import MemoryStore

pytestmark = needs_ring
FREE = ["random", "shared"]
CHAIN = bytes(range(32))


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def twin(server_identity: Identity) -> ssl.SSLContext:
    """A context like `server`: another worker's."""
    return server_context(server_identity)


def made(kind: str, hand: Hand) -> TicketKeyRing:
    if kind == "shared":
        return TicketKeyRing.shared(MemoryStore(clock=hand), clock=hand)
    return TicketKeyRing.random(clock=hand)


def refused(ring: TicketKeyRing) -> float:
    """The seconds to wait, as the error says."""
    with pytest.raises(SessionError) as caught:
        ring.rotate()
    found = re.search(r"rotate again in (\d+) seconds", str(caught.value))
    assert found is not None
    return float(found[1])


# Again and again


@pytest.mark.parametrize("kind", FREE)
def test_fifty_calls_in_a_minute_move_on_and_lose_nothing(
    client12: ssl.SSLContext, server: ssl.SSLContext, hand: Hand, kind: str
) -> None:
    """A session of each key resumes at once and until the end of its life; then the ring is as small as ever."""
    ring = attached(made(kind, hand), server)
    sessions, seen = [take(client12, server)], {current(ring).name}
    for _ in range(50):
        ring.rotate()
        hand.move(1.2 if kind == "random" else GRACE, ring)
        seen.add(key_of(take(client12, server)))
        sessions.append(take(client12, server))
    assert len(seen) == 51
    assert len(names(ring)) <= lib.RING_KEYS_MOST
    assert states(ring).count("next") >= 1
    hand.move(LIFETIME - 150, ring)
    for session in sessions:
        assert key_of(again(client12, server, session)) == current(ring).name
    hand.move(5 * ROTATE_EVERY, ring)
    assert len(names(ring)) <= 2 * AHEAD + 2


@pytest.mark.parametrize("kind", FREE)
def test_who_rotates_more_often_than_a_ring_has_room_for_is_told_when_to_come_again(
    client12: ssl.SSLContext, server: ssl.SSLContext, hand: Hand, kind: str
) -> None:
    """And each ticket is good until its last second all the same."""
    ring = attached(made(kind, hand), server)
    waiting, refusals = [], 0

    def passes(seconds: float) -> None:
        until = hand.now + seconds
        while waiting and waiting[0][0] + LIFETIME - 1 <= until:
            issued, session = waiting.pop(0)
            hand.move(max(0, issued + LIFETIME - 1 - hand.now), ring)
            again(client12, server, session)
        hand.move(until - hand.now, ring)

    for _ in range(200):
        waiting.append((hand.now, take(client12, server)))
        rotated = False
        while not rotated:
            try:
                ring.rotate()
                rotated = True
            except SessionError:
                refusals += 1
                passes(refused(ring))
        passes(100)
        assert len(names(ring)) <= lib.RING_KEYS_MOST
        assert states(ring).count("next") >= 1
    assert 0 < refusals < 200


def test_a_full_ring_says_so(client12: ssl.SSLContext, server: ssl.SSLContext, hand: Hand) -> None:
    ring = made("random", hand)
    while len(names(ring)) < lib.RING_KEYS_MOST:
        ring.rotate()
    ring.rotate()  # in the place of the key after the next
    with pytest.raises(
        SessionError, match=r"rotated too often: a ring holds 64 keys.* rotate again in \d+ sec"
    ):
        ring.rotate()
    before = names(ring)
    assert refused(ring) == LIFETIME + SKEW
    assert names(ring) == before


@pytest.mark.parametrize("kind", FREE)
@pytest.mark.parametrize("how", ["rotated", "withdrawn"])
def test_keys_go_on_changing_by_themselves_afterwards(hand: Hand, kind: str, how: str) -> None:
    ring = made(kind, hand)
    for _ in range(20):
        ring.rotate() if how == "rotated" else ring.revoke(current(ring).name)
        hand.move(GRACE, ring)
    for _ in range(5):
        before = current(ring).name
        hand.move((AHEAD + 1) * ROTATE_EVERY, ring)
        assert current(ring).name != before


def test_calls_within_two_seconds_are_one_in_a_shared_ring(hand: Hand) -> None:
    """They are on their way to the same thing: a key that nobody used yet."""
    store = MemoryStore(clock=hand)
    ring, other = (TicketKeyRing.shared(store, clock=hand) for _ in range(2))
    before, name = len(names(ring)), current(ring).name
    for _ in range(5):
        ring.rotate()
        other.refresh()
        other.rotate()
    assert len(names(ring)) == before + 1
    hand.move(GRACE, ring, other)
    assert current(ring).name == current(other).name != name


# Others that were not told


@pytest.mark.parametrize("skew", [0, 59, -59])
def test_hosts_of_a_secret_follow_as_far_as_they_can_and_the_next_call_is_refused(
    client: ssl.SSLContext, server: ssl.SSLContext, twin: ssl.SSLContext, hand: Hand, skew: float
) -> None:
    """Also where their clocks are a minute apart: in both directions, at each moment of a day."""
    hand.move(61)
    there = Hand(hand.now + skew)
    ring = attached(TicketKeyRing.from_secret(SECRET, clock=hand), server)
    other = attached(TicketKeyRing.from_secret(SECRET, clock=there), twin)
    refusals = 0
    for step in range(30):
        for _ in range(1 if step else AHEAD):
            try:
                ring.rotate()
            except SessionError:
                refusals += 1
            session = take(client, server)
            assert key_of(session) == current(ring).name
            assert key_of(again(client, twin, session)) == current(other).name
            again(client, server, take(client, twin))
        for each in (hand, there):
            each.move(HOUR - 59)
        ring.refresh()
        other.refresh()
    assert 10 <= refusals <= 25


def test_a_ring_of_a_secret_says_when_it_may_rotate_again(hand: Hand) -> None:
    ring = TicketKeyRing.from_secret(SECRET, clock=hand)
    hand.move(1000, ring)
    for _ in range(AHEAD):
        ring.rotate()
    before = ring.key_info()
    with pytest.raises(
        SessionError, match="is 2 keys ahead of its time already, and hosts with the same secret"
    ):
        ring.rotate()
    assert ring.key_info() == before
    wait = refused(ring)
    assert wait == ROTATE_EVERY - 1000
    hand.move(wait - 1, ring)
    assert refused(ring) == 1
    hand.move(1, ring)
    name = coming(ring).name
    ring.rotate()
    assert current(ring).name == name


def test_children_of_a_fork_follow_for_two_calls_and_the_parent_keeps_their_keys(
    client: ssl.SSLContext, server: ssl.SSLContext, twin: ssl.SSLContext, hand: Hand
) -> None:
    """The parent may go on; a child that was not told opens no more of it, and the parent opens all of the child's."""

    def relative() -> TicketKeyRing:
        chain = Ratchet(CHAIN, hand.now, ROTATE_EVERY, LIFETIME)
        return TicketKeyRing._of(Local(chain, ROTATE_EVERY, LIFETIME), hand)

    parent, child = attached(relative(), server), attached(relative(), twin)
    for turn in range(5):
        assert resumes(client, twin, take(client, server)) == (turn <= AHEAD)
        assert resumes(client, server, take(client, twin))
        parent.rotate()
    for _ in range(20):
        hand.move(HOUR, parent, child)
        session = take(client, twin)
        assert resumes(client, server, session)
    assert current(parent).name == current(child).name, "and the schedule is theirs again"
