"""MemoryStore: its bounds hold exactly, the least recently used goes, and what an entry costs."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
import tracemalloc
from collections import OrderedDict

import pytest

from helpers.children import run_python
from sslsession.errors import StoreError
from sslsession.stores import MemoryStore
from sslsession.stores.contract import Clock

LATER = time.time() + 1000


def filled(count, **settings):
    store = MemoryStore(count, **settings)
    for number in range(count):
        store.add(b"%064d" % number, os.urandom(133), expires_at=LATER)
    return store


def keys_of(store):
    return {entry.key for entry in store.entries()}


def test_the_least_recently_used_goes():
    store = MemoryStore(3)
    for key in (b"a", b"b", b"c"):
        store.add(key, b"value", expires_at=LATER)
    store.peek(b"a")
    store.add(b"d", b"value", expires_at=LATER)
    store.add(b"e", b"value", expires_at=LATER)
    assert keys_of(store) == {b"a", b"d", b"e"}


def test_there_are_never_more_than_max_entries():
    for most in (1, 2, 3, 33, 100):
        store = MemoryStore(most)
        for number in range(3 * most):
            store.add(b"%d" % number, b"value", expires_at=LATER)
            assert len(store) == min(number + 1, most)
        assert keys_of(store) == {b"%d" % number for number in range(2 * most, 3 * most)}


def test_several_values_of_one_key_count_each():
    store = MemoryStore(4)
    store.add(b"other", b"value", expires_at=LATER)
    for number in range(10):
        store.add(b"key", b"%d" % number, expires_at=LATER, keep=8)
        assert len(store) == min(number + 2, 4)
    assert [entry.value for entry in store.entries()] == [b"9", b"8", b"7", b"6"]


class Model:
    """The same in a few slow lines."""

    def __init__(self, most):
        self.most = most
        self.values = OrderedDict()

    def add(self, key, value, expires_at, keep):
        self.values[key] = [*self.values.pop(key, []), (value, expires_at)][-keep:]
        while sum(map(len, self.values.values())) > self.most:
            oldest = next(iter(self.values))
            del self.values[oldest][0]
            if not self.values[oldest]:
                del self.values[oldest]

    def peek(self, key, now):
        if key in self.values:
            self.values.move_to_end(key)
        return next((value for value, end in reversed(self.values.get(key, [])) if end > now), None)

    def take(self, key, now):
        live = [(value, end) for value, end in self.values.pop(key, []) if end > now]
        taken = live.pop()[0] if live else None
        if live:
            self.values[key] = live
        return taken

    def purge(self, now):
        before = sum(map(len, self.values.values()))
        for key in list(self.values):
            self.values[key] = [each for each in self.values[key] if each[1] > now]
            if not self.values[key]:
                del self.values[key]
        return before - sum(map(len, self.values.values()))


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_calls_does_what_the_simple_model_does(seed):
    chance = random.Random(seed)
    clock = Clock()
    most = chance.choice([5, 40, 200])
    store, model = MemoryStore(most, max_bytes=10**9 if seed % 2 else None, clock=clock), Model(most)
    for number in range(5000):
        key = b"%d" % chance.randrange(2 * most)
        verb = chance.choices(["add", "peek", "take", "discard", "purge"], [50, 20, 20, 3, 1])[0]
        if verb == "add":
            end, keep = clock() + chance.randrange(-5, 50), chance.choice([1, 1, 2, 4])
            store.add(key, b"%d" % number, expires_at=end, keep=keep)
            model.add(key, b"%d" % number, end, keep)
        elif verb == "discard":
            store.discard(key)
            model.values.pop(key, None)
        elif verb == "purge":
            clock.advance(chance.randrange(10))
            assert store.purge() == model.purge(clock())
        else:
            assert getattr(store, verb)(key) == getattr(model, verb)(key, clock())
        assert len(store) == sum(map(len, model.values.values()))
    if seed % 2:
        sizes = [len(key) + len(value) for key, several in model.values.items() for value, _ in several]
        assert store._bytes == sum(sizes)


def test_max_bytes_is_never_exceeded():
    store = MemoryStore(max_bytes=1000)
    for number in range(100):
        store.add(b"%04d" % number, bytes(number), expires_at=LATER, keep=1 + number % 3)
        assert sum(len(key) + len(value) for key, value, _ in store.entries()) <= 1000
    assert store.take(b"0099") == bytes(99)


def test_what_fits_in_no_way_is_an_error_and_removes_nothing():
    store = MemoryStore(max_bytes=100)
    store.add(b"key", b"value", expires_at=LATER)
    with pytest.raises(StoreError, match="max_bytes=100"):
        store.add(b"large", bytes(100), expires_at=LATER)
    assert store.take(b"key") == b"value"


@pytest.mark.parametrize("wrong", [{"max_entries": 0}, {"max_bytes": 0}, {"max_entries": -1}])
def test_a_bound_is_more_than_nothing(wrong):
    with pytest.raises(ValueError, match="more than 0"):
        MemoryStore(**wrong)


def test_a_repr_says_how_full_it_is_and_shows_nothing_of_it():
    store = MemoryStore(7)
    store.add(b"secret key", b"secret value", expires_at=LATER)
    assert repr(store) == "<MemoryStore of 1 entries, at most 7>"


def test_entries_can_be_changed_while_they_are_read():
    store = filled(2500)
    assert sum(store.take(entry.key) == entry.value for entry in store.entries()) == 2500
    assert len(store) == 0


def test_a_finalizer_may_use_the_store_that_is_being_used():
    store = MemoryStore(100)

    class Last:
        def __del__(self):
            store.add(b"last", b"value", expires_at=LATER, keep=3)

    def clock():
        Last()
        return time.time()

    store._clock = clock
    store.add(b"key", b"value", expires_at=LATER)
    assert store.peek(b"key") == b"value"
    assert store.take(b"key") == b"value"
    assert store.purge() == 0
    assert len(store) == len(list(store.entries()))


def test_threads_at_once_leave_the_bound_and_the_sums_right():
    store = MemoryStore(50, max_bytes=5000)

    def use(seed):
        chance = random.Random(seed)
        for number in range(3000):
            key = b"%d" % chance.randrange(100)
            chance.choice([store.peek, store.take, store.discard])(key)
            store.add(key, bytes(number % 90), expires_at=LATER, keep=number % 3 + 1)

    threads = [threading.Thread(target=use, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = list(store.entries())
    assert len(entries) == len(store) <= 50
    assert sum(len(key) + len(value) for key, value, _ in entries) == store._bytes <= 5000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_starts_empty_though_a_thread_of_the_parent_was_using_it():
    run_python(
        """
        import os, threading, time, warnings
        from sslsession.stores import MemoryStore
        warnings.simplefilter("ignore", DeprecationWarning)
        later = time.time() + 100
        store = MemoryStore(max_bytes=1000)
        store.add(b"key", b"1", expires_at=later, keep=2)
        store.add(b"key", b"2", expires_at=later, keep=2)
        held, end = threading.Event(), threading.Event()
        def hold():
            with store._lock:
                store._further += 100
                store._bytes += 100
                held.set()
                end.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        pid = os.fork()
        if not pid:
            assert (len(store), store._bytes) == (0, 0)
            assert store.take(b"key") is None
            store.add(b"key", b"3", expires_at=later)
            assert store.take(b"key") == b"3"
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        end.set()
        thread.join()
        assert store.take(b"key") == b"2"
        store.close()
        pid = os.fork()
        if not pid:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        """
    )


def beyond(count, *, turnover):
    """Bytes an entry beyond those of its key and its value."""
    gc.collect()
    tracemalloc.start(1)
    try:
        store = filled(count)
        for number in range(turnover):
            store.add(b"%064d" % (count + number), os.urandom(133), expires_at=LATER)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / count - 64 - 133
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("turnover", [0, 50_000])
def test_an_entry_takes_at_most_200_bytes_beyond_key_and_value(turnover):
    assert beyond(50_000, turnover=turnover) <= 200


@pytest.mark.soak
@pytest.mark.parametrize("count", [100_000, 350_000, 700_000, 1_000_000])
def test_an_entry_of_very_many_takes_at_most_200_bytes_too(count):
    assert beyond(count, turnover=2 * count) <= 200


def fastest(count):
    """Seconds for an add that evicts, and for a take and an add again, in a store of `count` entries."""
    store = filled(count)
    some = min(1000, count)
    adds, takes = [], []
    for turn in range(30):
        keys = [b"%064d" % (10**9 + turn * some + number) for number in range(some)]
        start = time.perf_counter()
        for key in keys:
            store.add(key, b"value", expires_at=LATER)
        adds.append(time.perf_counter() - start)
        start = time.perf_counter()
        for key in keys:
            store.take(key)
        takes.append(time.perf_counter() - start)
    return min(adds) / some, min(takes) / some


@pytest.mark.soak
def test_an_add_and_a_take_need_at_most_4_microseconds():
    assert min(sum(fastest(1000)) for _ in range(5)) <= 4e-6


@pytest.mark.soak
def test_a_call_takes_no_longer_than_twice_as_long_in_a_store_a_thousand_times_as_large():
    for _ in range(3):
        small, large = fastest(1000), fastest(1_000_000)
        if all(many <= 2 * few for few, many in zip(small, large)):
            return
    raise AssertionError(f"{small} s in a store of 10**3, {large} s in one of 10**6")
