"""Rings that share their keys through a store: any of them opens what any issued, and a store that fails is no end."""

from __future__ import annotations

import gc
import random
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.bad_days import FakeStore
from helpers.certs import Identity
from helpers.clients import eventually
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
from sslsession import StoreError, TicketKeyRing
from sslsession.stores import MemoryStore, Store

pytestmark = needs_ring
Worker = tuple[ssl.SSLContext, TicketKeyRing]
REPORT = "Exception ignored in sslsession's sharing of ticket keys; the ring goes on with the keys it has"


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


def look(*rings: TicketKeyRing) -> None:
    """All see what all have, as they do by themselves within a second."""
    for _ in range(2):
        for ring in rings:
            ring.refresh()


def told_once(unraisables: Unraisables, times: int = 1) -> None:
    """What went wrong was told of so many times, however often it did."""
    assert unraisables.messages == [REPORT] * times
    assert all(isinstance(error, StoreError) for error in unraisables.errors)


# Well


@pytest.mark.parametrize("count", [2, 10])
def test_any_ring_opens_what_any_other_issued(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, count: int
) -> None:
    """Two days, each connection to another worker than the one before; those that come late have the same keys."""
    store, chance = MemoryStore(clock=hand), random.Random(count)
    workers = [worker(store)]
    session = take(client, workers[0][0])
    for step in range(2 * 24 * HOUR // 3000):
        if len(workers) < count:
            workers.append(worker(store))
        context, _ = chance.choice(workers)
        session = again(client, context, session)
        hand.move(3000)
        # Not all look at once, but all before the next key's time.
        for _, ring in chance.sample(workers, len(workers)):
            ring.refresh()
        if step % 10 == 9:
            look(*(ring for _, ring in workers))
            assert len({current(ring).name for _, ring in workers}) == 1
            assert len({frozenset(names(ring)) for _, ring in workers}) == 1
    assert len(names(workers[0][1])) <= 6
    assert all(ring.stats()["errors"] == 0 for _, ring in workers)


def test_rings_that_begin_at_once_come_to_one_key_and_open_what_was_issued_before(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand
) -> None:
    """Each finds the store empty and makes all keys: what one wrote over the other's is written again."""
    stores = [MemoryStore(clock=hand) for _ in range(3)]
    workers = [worker(store) for store in stores]
    issued = [take(client, context) for context, _ in workers]
    assert len({key_of(session) for session in issued}) == 3
    for _, ring in workers:
        ring._source._store = stores[0]  # type: ignore[attr-defined]
    look(*(ring for _, ring in workers))
    assert len({current(ring).name for _, ring in workers}) == 1
    for number, session in enumerate(issued):
        renewed = again(client, workers[number - 1][0], session)
        assert key_of(renewed) == current(workers[0][1]).name


def test_a_key_made_by_hand_encrypts_when_all_have_it(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand
) -> None:
    store = MemoryStore(clock=hand)
    (one, ring), (other, its_ring) = worker(store), worker(store)
    session, before = take(client, one), current(ring).name
    ring.rotate()
    assert current(ring).name == before
    its_ring.refresh()
    hand.move(2, ring, its_ring)
    assert current(ring).name == current(its_ring).name != before
    assert key_of(again(client, other, session)) == current(ring).name


@pytest.mark.parametrize("which", ["current", "next", "retired"])
def test_a_withdrawn_key_is_withdrawn_everywhere(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, which: str
) -> None:
    """Those that begin later, and those whose store was emptied, hear of it too."""
    store = MemoryStore(clock=hand)
    (one, ring), (other, its_ring) = worker(store), worker(store)
    old = take(client, one)
    hand.move(ROTATE_EVERY, ring, its_ring)
    new = take(client, one)
    name = {"current": key_of(new), "retired": key_of(old), "next": coming(ring).name}[which]
    ring.revoke(name)
    its_ring.refresh()
    store.clear()
    look(its_ring)
    _, late = worker(store)
    for each in (ring, its_ring, late):
        assert name not in names(each)
        assert current(each).name == current(ring).name
    assert resumes(client, other, old) == (which != "retired")
    assert resumes(client, other, new) == (which != "current")
    for _ in range(20):
        hand.move(HOUR, ring, its_ring, late)
        assert not [each for each in (ring, its_ring, late) if name in names(each)]


def test_rings_of_other_names_share_nothing(client: ssl.SSLContext, hand: Hand) -> None:
    store = MemoryStore(clock=hand)
    rings = [TicketKeyRing.shared(store, name=name, clock=hand) for name in ("a", "b", "", "a")]
    assert len({current(ring).name for ring in rings}) == 3
    assert names(rings[0]) == names(rings[3])


def test_a_url_will_do_and_rings_hear_of_each_other_by_themselves(
    client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path
) -> None:
    url = f"sqlite:{tmp_path}/private/keys.db"
    ring, other = attached(TicketKeyRing.shared(url), server), TicketKeyRing.shared(url)
    other.revoke(current(other).name)
    eventually(lambda: key_of(take(client, server)) == current(other).name)
    assert ring.stats()["errors"] == 0


def test_a_ring_closes_the_store_that_it_opened_and_no_other(tmp_path: Path, hand: Hand) -> None:
    given = MemoryStore(clock=hand)
    stores = [
        ring._source._store  # type: ignore[attr-defined]
        for ring in (TicketKeyRing.shared(f"sqlite:{tmp_path}/private/keys.db"), TicketKeyRing.shared(given))
    ]
    gc.collect()

    def is_closed(store: Store) -> bool:
        try:
            store.peek(b"")
        except StoreError as error:
            return "closed" in str(error)
        return False

    eventually(lambda: is_closed(stores[0]))
    assert stores[1] is given
    assert not is_closed(given)


def test_all_that_slept_for_a_day_resume_with_keys_of_today(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand
) -> None:
    store = MemoryStore(clock=hand)
    workers = [worker(store) for _ in range(3)]
    for _, ring in workers:
        ring.refresh()
    hand.move(24 * HOUR)
    look(*(ring for _, ring in workers))
    assert {current(ring).encrypts_from for _, ring in workers} == {hand.now}
    assert resumes(client, workers[1][0], take(client, workers[2][0]))


# Bad days


def test_a_store_that_fails_for_hours_costs_nothing(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, unraisables: Unraisables
) -> None:
    """The keys to come are there already, and the same in all; it is counted each time, and told once."""
    store = FakeStore()
    workers = [worker(store) for _ in range(3)]
    look(*(ring for _, ring in workers))
    store.state = "down"
    session = take(client, workers[0][0])
    for step in range(3 * ROTATE_EVERY // 2000):
        hand.move(2000)
        for _, ring in workers:
            ring.refresh()
        session = again(client, workers[step % 3][0], session)
    errors = [ring.stats()["errors"] for _, ring in workers]
    assert min(errors) >= 3 * ROTATE_EVERY // 2000
    told_once(unraisables, 3)
    store.state = "well"
    look(*(ring for _, ring in workers))
    assert again(client, workers[0][0], session)
    assert all(ring.stats()["errors"] >= count for count, (_, ring) in zip(errors, workers))


def test_a_store_that_is_down_from_the_start_makes_a_ring_of_one(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, unraisables: Unraisables
) -> None:
    """It resumes its own; once the store works, keys are shared, and what was issued before still opens here."""
    store = FakeStore("down")
    (one, ring), (other, its_ring) = worker(store), worker(store)
    alone = [take(client, one) for _ in range(3)]
    assert resumes(client, one, alone.pop())
    assert not resumes(client, other, take(client, one))
    told_once(unraisables, 2)
    store.state = "well"
    look(ring, its_ring)
    assert current(ring).name == current(its_ring).name
    assert resumes(client, other, take(client, one))
    session = again(client, one, alone.pop())
    assert key_of(session) == current(ring).name
    hand.move(ROTATE_EVERY + LIFETIME, ring, its_ring)
    assert not resumes(client, one, alone.pop()), "for as long as its ticket lives"
    assert names(ring) == names(its_ring)


def test_a_store_that_takes_nothing_is_read_all_the_same(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], unraisables: Unraisables
) -> None:
    store = FakeStore()
    one, ring = worker(store)
    store.state = "full"
    other, its_ring = worker(store)
    assert resumes(client, other, take(client, one))
    assert unraisables.errors == [], "there was nothing to write"
    ring.revoke(current(ring).name)
    told_once(unraisables)
    assert ring.stats()["errors"] > 0
    store.state = "well"
    look(ring, its_ring)
    assert names(ring) == names(its_ring)
    assert resumes(client, other, take(client, one))


def test_what_others_put_into_the_store_is_no_key(
    client: ssl.SSLContext, worker: Callable[[Store], Worker], hand: Hand, unraisables: Unraisables
) -> None:
    """Until it is cleared; then it is all there again."""
    store = MemoryStore(clock=hand)
    one, ring = worker(store)
    session, before = take(client, one), names(ring)
    (entry,) = store.entries()
    for value in (b"something else", entry.value[:-1]):
        store.add(entry.key, value, expires_at=entry.expires_at)
        ring.refresh()
        assert names(ring) == before
    told_once(unraisables)
    session = again(client, one, session)
    store.clear()
    assert names(TicketKeyRing.shared(store, clock=hand)) != before
    ring.refresh()
    assert before < names(ring)
    assert resumes(client, one, session)
