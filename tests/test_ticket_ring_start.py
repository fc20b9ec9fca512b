"""Rings that begin together on an empty store have one key at once, whoever was first and whoever wrote last."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.bad_days import FakeStore
from helpers.children import run_python
from helpers.openssl_calls import Unraisables
from helpers.rings import Hand, current, names, needs_ring
from helpers.stores import new_prefix, redis_server
from sslsession import TicketKeyRing
from sslsession._schedules import LIFETIME, ROTATE_EVERY
from sslsession._sharing import SETTLE, SETTLE_MOST, YOUNG, Shared
from sslsession.stores import MemoryStore, Store

pytestmark = needs_ring
Act = Callable[[], Any]


@pytest.fixture
def hand() -> Hand:
    return Hand()


class Scripted:
    """A store that lets its callers go on in an order that the test says: each call waits for its turn.

    The calls of a thread are numbered by its name: ``a peek``, ``a peek``, ``a add``, ``a pause``, and so on.
    """

    timeout = 0.05

    def __init__(self, store: Store, script: str) -> None:
        self._store = store
        self._left = script.split()
        self._changed = threading.Condition()

    def turn(self, verb: str, act: Act) -> Any:
        me = threading.current_thread().name
        with self._changed:
            assert self._changed.wait_for(lambda: not self._left or self._left[0] == f"{me}.{verb}", 20), (
                f"{me}.{verb} never has its turn: {self._left}"
            )
            found = act()
            del self._left[:1]
            self._changed.notify_all()
        return found

    def peek(self, key: bytes) -> bytes | None:
        found: bytes | None = self.turn("peek", lambda: self._store.peek(key))
        return found

    def add(self, key: bytes, value: bytes, **more: Any) -> None:
        self.turn("add", lambda: self._store.add(key, value, **more))

    def pause(self, seconds: float) -> None:
        self.turn("pause", lambda: None)


def begun_by(hand: Hand, script: str, memory: Store | None = None) -> list[TicketKeyRing]:
    """The rings of the threads that the script names."""
    store = Scripted(memory or MemoryStore(clock=hand), script)
    rings: dict[str, TicketKeyRing] = {}

    def begin(name: str) -> None:
        source = Shared(store, False, "", ROTATE_EVERY, LIFETIME, store.pause)
        rings[name] = TicketKeyRing._of(source, hand)

    who = sorted({step.partition(".")[0] for step in script.split()})
    threads = [threading.Thread(target=begin, args=[name], name=name) for name in who]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not store._left
    return [rings[name] for name in who]


SCRIPTS = {
    "one after the other": "a.peek a.peek a.add a.pause a.peek b.peek b.pause b.peek",
    "both find nothing": "a.peek b.peek a.peek b.peek a.add b.add a.pause b.pause a.peek b.peek",
    "and the first writes last": "a.peek b.peek b.peek b.add a.peek a.add b.pause a.pause b.peek a.peek",
    "and both looked again before they wrote": (
        "a.peek b.peek a.peek b.peek b.add a.add a.pause b.pause b.peek a.peek"
    ),
    "a third hears of what is written over": (
        "a.peek b.peek a.peek b.peek a.add c.peek b.add a.pause b.pause c.pause c.peek b.peek a.peek"
    ),
}


@pytest.mark.parametrize("how", SCRIPTS)
def test_in_whatever_order_they_peek_and_add_all_have_the_same_keys(hand: Hand, how: str) -> None:
    rings = begun_by(hand, SCRIPTS[how])
    assert len({current(ring).name for ring in rings}) == 1
    assert len({frozenset(names(ring)) for ring in rings}) == 1
    assert [ring.stats()["errors"] for ring in rings] == [0] * len(rings)


@pytest.mark.parametrize("how", SCRIPTS)
def test_the_same_where_the_store_has_keys_of_yesterday_and_none_of_today(hand: Hand, how: str) -> None:
    store = MemoryStore(clock=hand)
    before = names(TicketKeyRing.shared(store, clock=hand))
    hand.move(3 * ROTATE_EVERY)
    rings = begun_by(hand, SCRIPTS[how], store)
    assert len({current(ring).name for ring in rings} - before) == 1
    assert len({frozenset(names(ring)) for ring in rings}) == 1
    assert names(rings[0]) & before, "what they sealed is opened still"


def test_keys_that_were_given_up_are_in_nobody_s_ring_later(hand: Hand) -> None:
    rings = begun_by(hand, SCRIPTS["both find nothing"])
    before = names(rings[0])
    assert len(before) == 3
    for ring in (*rings, *rings):
        ring.refresh()
    assert [names(ring) for ring in rings] == [before] * 2


# Who waits, and for how long


def pauses(store: Any, hand: Hand) -> list[float]:
    """For how long a ring waits as it begins."""
    found: list[float] = []
    source = Shared(store, False, "", ROTATE_EVERY, LIFETIME, found.append)
    ring = TicketKeyRing._of(source, hand)
    for _ in range(3):
        ring.refresh()
    return found


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(None, SETTLE), (0.05, SETTLE + 0.2), (5, SETTLE_MOST), (float("inf"), SETTLE_MOST)],
)
def test_one_wait_for_as_long_as_the_store_may_take(
    hand: Hand, timeout: float | None, seconds: float
) -> None:
    store = FakeStore()
    store.timeout = timeout
    assert pauses(store, hand) == [pytest.approx(seconds)]


def test_nobody_waits_for_a_set_that_is_older_than_a_moment(hand: Hand) -> None:
    store = FakeStore()
    assert len(pauses(store, hand)) == 1
    assert len(pauses(store, hand)) == 1, "others may be writing still"
    hand.move(YOUNG)
    assert pauses(store, hand) == []


@pytest.mark.parametrize(("state", "waits"), [("down", 0), ("full", 1)])
def test_a_store_that_is_down_delays_nobody_now_or_when_it_is_back(
    hand: Hand, unraisables: Unraisables, state: str, waits: int
) -> None:
    """One that can be read, and takes nothing, may be busy with what others write."""
    store = FakeStore(state)
    found: list[float] = []
    ring = TicketKeyRing._of(Shared(store, False, "", ROTATE_EVERY, LIFETIME, found.append), hand)
    assert len(found) == waits
    alone = names(ring)
    store.state = "well"
    ring.refresh()
    assert len(found) == waits
    assert alone != names(ring)
    assert len(unraisables.errors) == 1


def test_who_cannot_write_for_others_do_has_their_keys(hand: Hand, unraisables: Unraisables) -> None:
    """As where many begin on a SQLite file, which one after the other writes."""
    store, others = FakeStore("full"), []

    def pause(_: float) -> None:
        store.state = "well"
        others.append(TicketKeyRing.shared(store, clock=hand))

    ring = TicketKeyRing._of(Shared(store, False, "", ROTATE_EVERY, LIFETIME, pause), hand)
    assert names(ring) == names(others[0])
    assert (ring.stats()["errors"], unraisables.errors) == (0, [])


def test_a_store_that_fails_while_one_waits_leaves_the_keys_that_were_made(
    hand: Hand, unraisables: Unraisables
) -> None:
    store = FakeStore()

    def pause(_: float) -> None:
        store.state = "down"

    ring = TicketKeyRing._of(Shared(store, False, "", ROTATE_EVERY, LIFETIME, pause), hand)
    mine = names(ring)
    store.state = "well"
    ring.refresh()
    assert names(ring) == mine == names(TicketKeyRing.shared(store, clock=hand))
    assert len(unraisables.errors) == 1


def test_a_set_that_is_gone_after_the_wait_is_written_again(hand: Hand) -> None:
    store = FakeStore()
    ring = TicketKeyRing._of(Shared(store, False, "", ROTATE_EVERY, LIFETIME, lambda _: store.clear()), hand)
    ring.refresh()
    assert names(TicketKeyRing.shared(store, clock=hand)) == names(ring)


# Processes


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/private/keys.db?timeout=0.15"
    else:
        with redis_server() as server:
            yield f"redis://{server.address}/0?insecure=1&timeout=0.15&prefix={new_prefix()}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_eight_processes_that_begin_at_once_have_one_key_at_the_first_try(url: str) -> None:
    """Again and again, each time on keys that were never there."""
    done = run_python(
        """
import multiprocessing, os, sys, traceback
from sslsession import TicketKeyRing

ROUNDS, WORKERS = 8, 8
barrier = multiprocessing.get_context("fork").Barrier(WORKERS)
read, write = os.pipe()
for worker in range(WORKERS):
    if not os.fork():
        try:
            for number in range(ROUNDS):
                barrier.wait(60)
                ring = TicketKeyRing.shared(sys.argv[1], name=str(number))
                info, errors = ring.key_info(), ring.stats()["errors"]
                assert info[0].state == "current"
                os.write(write, f"{number} {info[0].name.hex()} {errors}\\n".encode())
                del ring
        except BaseException:
            traceback.print_exc()
        os._exit(0)
os.close(write)
with os.fdopen(read) as said:
    print(said.read())
""",
        args=[url],
        timeout=120,
    )
    assert done.stderr == ""
    said = [line.split() for line in done.stdout.split("\n") if line]
    assert len(said) == 8 * 8
    assert {errors for _, _, errors in said} == {"0"}
    for number in range(8):
        assert len({name for turn, name, _ in said if turn == str(number)}) == 1, number
