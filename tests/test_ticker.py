"""What is looked after from time to time: each owner has his turn, whoever else hangs; and no thread is left over."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator

import pytest

from helpers.bad_days import FakeStore
from helpers.children import run_python
from helpers.clients import eventually
from helpers.openssl_calls import Unraisables
from helpers.rings import Hand, current, names, needs_ring
from sslsession import ServerSessionCache, TicketKeyRing
from sslsession._ticker import Ticker
from sslsession.stores import MemoryStore

SOON = 0.01


@pytest.fixture
def ticker() -> Iterator[Ticker]:
    """One of the test's own; all its threads end."""
    before = set(threading.enumerate())
    found = Ticker()
    yield found
    gc.collect()
    eventually(lambda: set(threading.enumerate()) <= before)


class Owner:
    """Counts its turns; one that `hangs` goes on when it is let go."""

    def __init__(self) -> None:
        self.turns, self.threads = 0, set[threading.Thread]()
        self.hangs, self.inside, self.let_go = False, threading.Event(), threading.Event()
        self.fails: BaseException | None = None

    def turn(self) -> None:
        self.turns += 1
        self.threads.add(threading.current_thread())
        if self.hangs:
            self.inside.set()
            self.let_go.wait(20)
        if self.fails is not None:
            raise self.fails


def goes_on(*owners: Owner) -> None:
    """Each has another two turns."""
    wanted = [(each, each.turns + 2) for each in owners]
    eventually(lambda: all(each.turns >= turns for each, turns in wanted))


def test_one_that_hangs_holds_up_nobody(ticker: Ticker) -> None:
    hanging, asking, quick, other = owners = [Owner() for _ in range(4)]
    hanging.hangs = True
    for each in owners:
        ticker.every(SOON, each.turn, alone=each in (hanging, asking))
    assert hanging.inside.wait(20)
    goes_on(asking, quick, other)
    assert hanging.turns == 1
    hanging.let_go.set()
    hanging.hangs = False
    goes_on(*owners)
    assert quick.threads == other.threads
    assert len(set.union(*(each.threads for each in owners))) == 3
    del hanging, asking, quick, other, each, owners


def test_it_holds_nobody_alive_and_no_thread_without_an_owner(ticker: Ticker) -> None:
    owners = [Owner() for _ in range(4)]
    gone = [weakref.ref(each) for each in owners]
    for number, owner in enumerate(owners):
        ticker.every(SOON, owner.turn, alone=bool(number % 2))
    goes_on(*owners)
    del owner, owners[1:]
    gc.collect()
    eventually(lambda: [each() is None for each in gone] == [False, True, True, True])
    goes_on(*owners)
    ticker.never(owners[0])
    turns = owners[0].turns
    late = Owner()
    ticker.every(SOON, late.turn, alone=False)
    goes_on(late)
    assert owners[0].turns <= turns + 1
    del late


@pytest.mark.parametrize("alone", [True, False])
def test_who_left_may_come_back_also_from_a_turn_that_hangs(ticker: Ticker, alone: bool) -> None:
    owner = Owner()
    owner.hangs = True
    ticker.every(SOON, owner.turn, alone=alone)
    assert owner.inside.wait(20)
    ticker.never(owner)
    ticker.never(owner)
    owner.let_go.set()
    ticker.every(SOON, owner.turn, alone=alone)
    goes_on(owner)
    ticker.never(owner)


def test_an_exception_is_told_and_ends_nothing(ticker: Ticker, unraisables: Unraisables) -> None:
    owner = Owner()
    owner.fails = ZeroDivisionError("no")
    ticker.every(SOON, owner.turn)
    goes_on(owner)
    assert unraisables.messages[0] == "Exception ignored in what sslsession does from time to time"
    ticker.never(owner)


@needs_ring
def test_a_store_that_hangs_delays_its_own_ring_and_cache_and_no_others(unraisables: Unraisables) -> None:
    hung = FakeStore()
    others = MemoryStore()
    victims = [TicketKeyRing.shared(hung), ServerSessionCache(hung)]
    ring, peer = TicketKeyRing.shared(others), TicketKeyRing.shared(others)
    hung.state = "stalled"
    asked = sum(hung.asked.values())
    eventually(lambda: sum(hung.asked.values()) >= asked + 2)
    peer.revoke(current(peer).name)
    eventually(lambda: names(ring) == names(peer))
    hung.state = "well"
    assert len(victims) == 2
    victims[1].close()  # type: ignore[union-attr]


@needs_ring
def test_a_key_is_withdrawn_here_at_once_however_long_the_store_takes() -> None:
    """And who asks a ring what it has, or attaches it, does not wait for the store either."""
    store, hand = FakeStore(), Hand()
    ring = TicketKeyRing.shared(store, clock=hand)
    name = current(ring).name
    store.state = "stalled"
    thread = threading.Thread(target=ring.revoke, args=[name])
    thread.start()
    eventually(lambda: name not in names(ring))
    assert thread.is_alive()
    assert ring.stats()["keys"] == len(ring.key_info())
    store.state = "well"
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_fork_goes_on_also_where_its_parent_hangs() -> None:
    done = run_python(
        """
import os, threading, warnings
from helpers.clients import eventually
from sslsession._ticker import ticker

warnings.filterwarnings("ignore", category=DeprecationWarning)  # 3.12: threads were running, which is the point

class Owner:
    turns = 0
    def turn(self):
        self.turns += 1
        if os.getpid() == parent and self is hanging:
            inside.set()
            let_go.wait(20)

parent, inside, let_go = os.getpid(), threading.Event(), threading.Event()
hanging, asking, quick = owners = Owner(), Owner(), Owner()
for each in owners:
    ticker.every(0.01, each.turn, alone=each is not quick)
assert inside.wait(20)
child = os.fork()
if not child:
    before = [each.turns for each in owners]
    eventually(lambda: all(each.turns > turns for each, turns in zip(owners, before)))
    assert sum(each.name == "sslsession-ticker" for each in threading.enumerate()) == 3
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("the parent ends, though one of its threads hangs")
"""
    )
    assert done.stdout.startswith("the parent ends")
    assert done.stderr == ""
