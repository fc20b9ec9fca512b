"""What every store must do, as tests to run on a store of your own with pytest.

In a test file of yours:

    from sslsession.stores.contract import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self, clock):
            return MyStore(clock=clock)

`make_store` is called once in each test, and must return an empty store that takes the time from `clock`, a callable
that begins at the real time and is moved by hand. Where a server expires values by its own clock too, it will see
times of the next minutes only. What the store cannot do is said by the class's attributes, `can_list` and
`can_purge`. For good messages: `pytest.register_assert_rewrite("sslsession.stores.contract")` in your conftest.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sslsession.errors import StoreError, UnsupportedError
from sslsession.stores.base import Entry, Key, Store

ODD_KEYS = [
    b"",
    b"\0",
    b"a\0b",
    b" spaces and\r\nnew lines ",
    b"\xff\xfe not UTF-8",
    bytes(range(256)),
    b"long" * 1000,
    "käse.example".encode(),
    b"*",
    b"%s",
]


class Clock:
    """A clock that stands still until `advance` is called, and begins now."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds


class StoreContract:
    """Tests that every store passes; see the module's text for how to run them on yours."""

    can_list = True
    """Whether `entries` and `clear` work; if not they must raise UnsupportedError."""

    can_purge = True
    """Whether `purge` removes, rather than leave that to a server."""

    def make_store(self, clock: Clock) -> Store:
        """A new, empty store by that clock."""
        raise NotImplementedError("return your store from make_store(self, clock)")

    @contextmanager
    def opened(self) -> Iterator[tuple[Store, Clock]]:
        """A store and its clock; closed afterwards."""
        clock = Clock()
        with self.make_store(clock) as store:
            yield store, clock

    def test_what_was_added_is_peeked_and_stays(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"value", expires_at=clock() + 60)
            assert store.peek(b"key") == b"value"
            assert store.peek(b"key") == b"value"

    def test_what_was_taken_is_gone(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"value", expires_at=clock() + 60)
            assert store.take(b"key") == b"value"
            assert store.take(b"key") is None
            assert store.peek(b"key") is None

    def test_what_was_never_added_is_not_there(self) -> None:
        with self.opened() as (store, _):
            assert store.peek(b"key") is None
            assert store.take(b"key") is None
            store.discard(b"key")

    def test_a_value_replaces_the_one_before(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"old", expires_at=clock() + 60)
            store.add(b"key", b"new", expires_at=clock() + 60)
            assert _taken(store, b"key") == [b"new"]

    def test_the_newest_is_first(self) -> None:
        with self.opened() as (store, clock):
            for value in (b"1", b"2", b"3"):
                store.add(b"key", value, expires_at=clock() + 60, keep=3)
            assert store.peek(b"key") == b"3"
            assert _taken(store, b"key") == [b"3", b"2", b"1"]

    def test_the_oldest_go_above_keep(self) -> None:
        with self.opened() as (store, clock):
            for value in (b"1", b"2", b"3", b"4"):
                store.add(b"key", value, expires_at=clock() + 60, keep=3)
            store.add(b"key", b"5", expires_at=clock() + 60, keep=2)
            assert _taken(store, b"key") == [b"5", b"4"]

    def test_equal_values_are_several(self) -> None:
        with self.opened() as (store, clock):
            for _ in range(3):
                store.add(b"key", b"same", expires_at=clock() + 60, keep=4)
            assert _taken(store, b"key") == [b"same"] * 3

    def test_a_value_is_there_until_it_expires(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"value", expires_at=clock() + 30)
            clock.advance(29.5)
            assert store.peek(b"key") == b"value"
            clock.advance(0.5)
            assert store.peek(b"key") is None
            assert store.take(b"key") is None

    def test_what_had_expired_before_is_never_there(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"value", expires_at=clock() - 60)
            assert store.take(b"key") is None

    def test_an_expired_value_hides_no_older_one(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"long", expires_at=clock() + 90, keep=3)
            store.add(b"key", b"short", expires_at=clock() + 30, keep=3)
            store.add(b"key", b"dead", expires_at=clock() - 30, keep=3)
            assert store.peek(b"key") == b"short"
            clock.advance(60)
            assert store.peek(b"key") == b"long"
            assert _taken(store, b"key") == [b"long"]

    def test_a_long_life_is_kept(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"value", expires_at=clock() + 90 * 24 * 3600)
            assert store.take(b"key") == b"value"

    def test_discard_removes_all_of_a_key(self) -> None:
        with self.opened() as (store, clock):
            for key in (b"key", b"key", b"other"):
                store.add(key, b"value", expires_at=clock() + 60, keep=2)
            store.discard(b"key")
            assert store.take(b"key") is None
            assert store.take(b"other") == b"value"

    def test_purge_removes_what_has_expired_and_counts_it(self) -> None:
        with self.opened() as (store, clock):
            for lifetime in (10, 20, 30):
                store.add(b"key", b"%d" % lifetime, expires_at=clock() + lifetime, keep=3)
            store.add(b"other", b"value", expires_at=clock() + 10)
            if not self.can_purge:
                assert store.purge() == 0
                return
            assert store.purge() == 0
            assert store.purge(clock() + 10) == 2
            clock.advance(20)
            assert store.purge() == 1
            assert store.purge() == 0
            assert _taken(store, b"key") == [b"30"]

    def test_clear_removes_everything(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"value", expires_at=clock() + 60)
            if not self.can_list:
                assert _raised(UnsupportedError, store.clear)
                return
            for number in range(300):
                store.add(b"key %d" % number, b"value", expires_at=clock() + 60)
            store.clear()
            assert store.take(b"key") is None
            assert list(store.entries()) == []

    def test_entries_are_all_that_has_not_expired(self) -> None:
        with self.opened() as (store, clock):
            later = clock() + 60
            if not self.can_list:
                assert _raised(UnsupportedError, lambda: list(store.entries()))
                return
            assert list(store.entries()) == []
            store.add("name", b"old", expires_at=later, keep=2)
            store.add("name", b"new", expires_at=later + 1, keep=2)
            store.add(b"\0", b"other", expires_at=later)
            store.add(b"dead", b"value", expires_at=clock() - 1)
            found = list(store.entries())
            assert sorted(found) == [
                Entry(b"\0", b"other", later),
                Entry(b"name", b"new", later + 1),
                Entry(b"name", b"old", later),
            ]
            assert [entry.value for entry in found if entry.key == b"name"] == [b"new", b"old"]

    def test_entries_of_many_keys_are_each_given_once(self) -> None:
        if self.can_list:
            with self.opened() as (store, clock):
                keys = [b"key %d" % number for number in range(1500)]
                for key in keys:
                    store.add(key, b"value", expires_at=clock() + 60)
                assert sorted(entry.key for entry in store.entries()) == sorted(keys)

    def test_any_bytes_are_a_key_of_their_own(self) -> None:
        with self.opened() as (store, clock):
            for number, key in enumerate(ODD_KEYS):
                store.add(key, b"%d" % number, expires_at=clock() + 60)
            assert [store.take(key) for key in ODD_KEYS] == [b"%d" % n for n in range(len(ODD_KEYS))]

    def test_a_str_is_the_key_of_its_utf_8(self) -> None:
        with self.opened() as (store, clock):
            store.add("käse", b"value", expires_at=clock() + 60)
            assert store.peek("käse") == b"value"
            assert store.take("käse".encode()) == b"value"

    def test_values_are_any_bytes_of_any_length(self) -> None:
        with self.opened() as (store, clock):
            for value in (b"", b"\0", bytes(range(256)), b"\r\nEND\r\n", b"x" * 500_000):
                store.add(b"key", value, expires_at=clock() + 60)
                assert store.peek(b"key") == value
                assert store.take(b"key") == value

    def test_of_many_threads_exactly_one_takes_each_value(self) -> None:
        with self.opened() as (store, clock):
            count, threads = 200, 8
            for number in range(count):
                store.add(b"key %d" % number, b"%d" % number, expires_at=clock() + 60)
            for number in range(10):
                store.add(b"one key", b"one %d" % number, expires_at=clock() + 60, keep=10)
            keys = [b"one key"] * 10 + [b"key %d" % number for number in range(count)]
            got: list[list[bytes | None]] = [[] for _ in range(threads)]
            start = threading.Barrier(threads)

            def take(mine: list[bytes | None]) -> None:
                start.wait()
                mine.extend(_patiently(store, key) for key in keys)

            workers = [threading.Thread(target=take, args=[mine]) for mine in got]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            taken = sorted(value for mine in got for value in mine if value is not None)
            assert taken == sorted([b"%d" % n for n in range(count)] + [b"one %d" % n for n in range(10)])

    def test_wrong_arguments_are_type_or_value_errors(self) -> None:
        with self.opened() as (store, clock):
            later = clock() + 60
            assert _raised(TypeError, lambda: store.add(1, b"value", expires_at=later))  # type: ignore[arg-type]
            assert _raised(TypeError, lambda: store.add(b"key", "value", expires_at=later))  # type: ignore[arg-type]
            assert _raised(TypeError, lambda: store.add(b"key", b"value", expires_at="1"))  # type: ignore[arg-type]
            assert _raised(ValueError, lambda: store.add(b"key", b"value", expires_at=float("nan")))
            assert _raised(ValueError, lambda: store.add(b"key", b"value", expires_at=float("inf")))
            assert _raised(ValueError, lambda: store.add(b"key", b"value", expires_at=later, keep=0))
            for call in (store.peek, store.take, store.discard):
                assert _raised(TypeError, lambda call=call: call(None))

    def test_after_close_everything_is_an_error(self) -> None:
        with self.opened() as (store, clock):
            store.add(b"key", b"value", expires_at=clock() + 60)
            store.close()
            store.close()
            assert _raised(StoreError, lambda: store.add(b"key", b"value", expires_at=clock() + 60))
            assert _raised(StoreError, lambda: store.peek(b"key"))
            assert _raised(StoreError, lambda: store.take(b"key"))
            assert _raised(StoreError, lambda: store.discard(b"key"))
            assert _raised(StoreError, store.purge)
            assert _raised(StoreError, store.clear)
            assert _raised(StoreError, lambda: list(store.entries()))

    def test_what_it_says_of_itself(self) -> None:
        with self.opened() as (store, _):
            assert store.timeout is None or store.timeout > 0
            assert isinstance(store.is_remote, bool)
            assert isinstance(store.sealed, bool)
            assert not (store.is_remote and store.sealed)


def _taken(store: Store, key: Key) -> list[bytes]:
    """All that can be taken."""
    found = []
    while (value := store.take(key)) is not None:
        found.append(value)
    return found


def _patiently(store: Store, key: Key) -> bytes | None:
    """What `take` gives; a store that is too busy is asked again."""
    for _ in range(100):
        try:
            return store.take(key)
        except StoreError:
            continue
    return store.take(key)


def _raised(kind: type[BaseException], call: object) -> bool:
    """Whether `call` raises an error of that kind."""
    assert callable(call)
    try:
        call()
    except kind:
        return True
    return False
