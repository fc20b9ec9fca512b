"""A store that is down for days: the keys of its rings go on, the same in all, and are random again when it is back."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from helpers.bad_days import FakeStore
from helpers.certs import Identity
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
from helpers.rings import (
    HOUR,
    LIFETIME,
    ROTATE_EVERY,
    Hand,
    again,
    attached,
    coming,
    current,
    key_of,
    names,
    needs_ring,
)
from helpers.sessions import resumes, take
from sslsession import TicketKeyRing
from sslsession._schedules import AHEAD
from sslsession._sharing import GRACE
from sslsession._sources import TELL_EVERY
from sslsession.stores import Store

pytestmark = needs_ring
Worker = tuple[ssl.SSLContext, TicketKeyRing]
DAY = 24 * HOUR


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def worker(server_identity: Identity, hand: Hand) -> Callable[[Store], Worker]:
    """Makes one: its context, and its ring of the store."""

    def made(store: Store) -> Worker:
        context = server_context(server_identity)
        return context, attached(TicketKeyRing.shared(store, clock=hand), context)

    return made


def look(*workers: Worker) -> None:
    for _ in range(2):
        for _, ring in workers:
            ring.refresh()


def derived(ring: TicketKeyRing, name: bytes) -> list[bytes]:
    """The keys that somebody who has the one of this name can compute."""
    found: list[bytes] = ring._source._agreed.heirs(name)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("state", ["down", "full"])
def test_for_days_every_session_goes_on_at_every_worker(
    client: ssl.SSLContext,
    worker: Callable[[Store], Worker],
    hand: Hand,
    unraisables: Unraisables,
    state: str,
) -> None:
    """Also where the store can be read and takes nothing; and one that slept for a day has the keys of today."""
    store = FakeStore()
    workers = [worker(store) for _ in range(3)]
    look(*workers)
    store.state = state
    session, seen = take(client, workers[0][0]), set()
    for step in range(5 * DAY // 3000):
        hand.move(3000)
        for _, ring in workers[: 2 if step % 40 else 3]:
            ring.refresh()
        seen.add(current(workers[0][1]).name)
        session = again(client, workers[step % 2][0], session)
        if step % 40 == 0:
            assert len({current(ring).name for _, ring in workers}) == 1
            assert resumes(client, workers[2][0], take(client, workers[step % 2][0]))
    assert len(seen) >= 5 * DAY // ROTATE_EVERY
    assert len(names(workers[0][1])) <= 6
    assert len(unraisables.errors) == 3


def test_keys_are_shared_when_the_store_is_back_and_soon_random_again(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, unraisables: Unraisables
) -> None:
    store = FakeStore()
    one, ring = worker(store)
    store.state = "down"
    for _ in range(3 * AHEAD):
        hand.move(ROTATE_EVERY, ring)
    session, old = take(client, one), current(ring).name
    assert derived(ring, old) == [coming(ring).name]
    store.state = "well"
    ring.refresh()
    late = worker(store)
    assert names(late[1]) == names(ring)
    session = again(client, late[0], session)
    newest = coming(ring).name
    for _ in range(AHEAD):
        hand.move(ROTATE_EVERY, ring, late[1])
        session = again(client, late[0], session)
    assert current(ring).name not in {old, newest}
    assert derived(ring, newest) == []


def test_workers_that_come_back_one_after_the_other_agree_all_the_time(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, unraisables: Unraisables
) -> None:
    """The store answers some of them, and others, whose network is down, derive on."""
    store, broken = FakeStore(), FakeStore("down")
    workers = [worker(store) for _ in range(3)]
    look(*workers)
    for _, ring in workers:
        ring._source._store = broken  # type: ignore[attr-defined]
    session = take(client, workers[0][0])
    for step in range(3 * DAY // 3000):
        if step in (20, 21, 22):
            workers[step - 20][1]._source._store = store  # type: ignore[attr-defined]
        hand.move(3000, *(ring for _, ring in workers))
        session = again(client, workers[step % 3][0], session)
        assert len({current(ring).name for _, ring in workers}) == 1


def test_a_key_that_is_withdrawn_meanwhile_takes_those_with_it_that_were_derived_from_it(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, unraisables: Unraisables
) -> None:
    """Here at once; everywhere when the store is back."""
    store = FakeStore()
    workers = [worker(store) for _ in range(2)]
    look(*workers)
    (one, ring), (other, its_ring) = workers
    store.state = "down"
    for _ in range(AHEAD + 1):
        hand.move(ROTATE_EVERY, ring, its_ring)
    hand.move(-1, ring, its_ring)
    stolen = current(ring).name
    lost = {stolen, *derived(ring, stolen)}
    assert coming(ring).name in lost
    session = take(client, one)
    ring.revoke(stolen)
    assert not lost & names(ring)
    assert not resumes(client, one, session)
    assert resumes(client, one, take(client, one))
    hand.move(1, ring, its_ring)
    assert current(ring).name not in lost
    assert current(its_ring).name in lost, "it has not heard of it"
    store.state = "well"
    look(*workers)
    assert not lost & (names(ring) | names(its_ring))
    assert current(ring).name == current(its_ring).name
    assert resumes(client, other, take(client, one))


# Alone from the start


def test_who_never_reached_the_store_rotates_and_withdraws_his_own_keys(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, unraisables: Unraisables
) -> None:
    store = FakeStore("down")
    one, ring = worker(store)
    session, first = take(client, one), current(ring).name
    ring.rotate()
    assert current(ring).name != first
    session = again(client, one, session)
    kept, withdrawn = take(client, one), current(ring).name
    hand.move(ROTATE_EVERY * AHEAD, ring)
    kept = take(client, one)
    ring.revoke(withdrawn)
    assert withdrawn not in names(ring)
    assert not resumes(client, one, session)
    store.state = "well"
    ring.refresh()
    assert withdrawn not in names(ring)
    kept_again = take(client, one)
    name = key_of(kept)
    assert key_of(again(client, one, kept)) == current(ring).name == key_of(kept_again) != name
    ring.revoke(name)
    assert name not in names(ring)
    ring.refresh()
    assert name not in names(ring)


def test_own_keys_live_as_long_as_the_ring_s_tickets(hand: Hand, unraisables: Unraisables) -> None:
    ring = TicketKeyRing.shared(FakeStore("down"), rotate_every=600, lifetime=6000, clock=hand)
    info = current(ring)
    assert info.decrypts_until == info.encrypts_from + 6600
    assert coming(ring).encrypts_from == info.encrypts_from + 600


# What is told


def test_a_store_that_comes_and_goes_is_told_of_once_a_minute(hand: Hand, unraisables: Unraisables) -> None:
    """Whether it fails at each second look, or once and for all in a minute in which it was told of already."""
    store = FakeStore()
    ring = TicketKeyRing.shared(store, clock=hand)
    for _ in range(4 * 60 * 5):
        store.state = "down" if store.state == "well" else "well"
        hand.move(0.25, ring)
    assert len(unraisables.errors) == 5
    assert ring.stats()["errors"] == 4 * 60 * 5 // 2
    assert store.state == "well"
    store.state = "down"
    for _ in range(4 * 60 * 5):
        hand.move(0.25, ring)
    assert len(unraisables.errors) == 6


def test_a_clock_that_goes_back_keeps_nobody_quiet(hand: Hand, unraisables: Unraisables) -> None:
    store = FakeStore("down")
    ring = TicketKeyRing.shared(store, clock=hand)
    store.state = "well"
    ring.refresh()
    store.state = "down"
    hand.move(TELL_EVERY - 1, ring)
    assert len(unraisables.errors) == 1
    hand.move(-HOUR, ring)
    assert len(unraisables.errors) == 2


def test_what_a_ring_has_is_told_without_asking_the_store(hand: Hand) -> None:
    store = FakeStore()
    ring = TicketKeyRing.shared(store, clock=hand)
    store.asked.clear()
    for _ in range(3):
        hand.move(LIFETIME)
        assert repr(ring) == "<TicketKeyRing of 3 keys>"
        assert ring.stats()["keys"] == len(ring.key_info()) == 3
    assert not store.asked
    ring.rotate()
    hand.move(GRACE)
    assert len(ring.key_info()) > 3
