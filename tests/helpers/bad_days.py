"""Stores that fail or fall silent, crowds of clients that go on meanwhile, and how long a handshake may take then."""

from __future__ import annotations

import collections
import contextlib
import gc
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from helpers.clients import Account, Home, Visit, begin, entries
from helpers.memory import Pair
from helpers.openssl_calls import Unraisables
from sslsession import ClientSessionCache, StoreError
from sslsession.stores import MemoryStore, Store

TIMEOUT = 0.05
"""Seconds that a handshake waits for a store."""
GENEROUS = 1.0
"""Seconds that a slow machine may add to the store's timeout."""
MANY = 20


def name(number: int) -> str:
    """One of many peers."""
    return f"{number}.days.example"


NAMES = tuple(name(number) for number in range(4))
"""Few peers, for tests that visit each of them often."""


class FakeStore(MemoryStore):
    """A store in memory that counts what it is asked, and can be `down`, `full`, `stalled`, or `well` again.

    A stalled one answers when it is let go, by setting `state` to anything else.
    """

    timeout: float | None = TIMEOUT
    made: ClassVar[weakref.WeakSet[FakeStore]] = weakref.WeakSet()

    def __init__(self, state: str = "well") -> None:
        super().__init__()
        self.made.add(self)
        self._changed = threading.Condition()
        self._state = state
        self.refused = 0
        self.asked: collections.Counter[str] = collections.Counter()

    @property
    def state(self) -> str:
        """How it does."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    @property
    def lookups(self) -> int:
        """How often it was asked for a session."""
        return self.asked["take"] + self.asked["peek"]

    def _ask(self, verb: str) -> None:
        with self._changed:
            self.asked[verb] += 1
            while self._state == "stalled":
                self._changed.wait()
            if self._state == "down" or (self._state == "full" and verb == "add"):
                self.refused += 1
                raise StoreError(f"the store is {self._state}")

    def add(self, key: Any, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        self._ask("add")
        super().add(key, value, expires_at=expires_at, keep=keep)

    def peek(self, key: Any) -> bytes | None:
        self._ask("peek")
        return super().peek(key)

    def take(self, key: Any) -> bytes | None:
        self._ask("take")
        return super().take(key)

    def discard(self, key: Any) -> None:
        self._ask("discard")
        super().discard(key)


def stock(store: Store, client: ssl.SSLContext, server: ssl.SSLContext, names: Iterable[str]) -> None:
    """Sessions of these peers, which another process earned."""
    home = Home(store)
    for each in names:
        home.visit(client, server, each)
    home.close()


def stocked(client: ssl.SSLContext, server: ssl.SSLContext) -> FakeStore:
    """A store with sessions of many peers, which was asked for nothing yet."""
    store = FakeStore()
    store.timeout = None
    stock(store, client, server, map(name, range(MANY)))
    assert len(entries(store)) >= MANY
    store.asked.clear()
    store.timeout = FakeStore.timeout
    return store


@contextlib.contextmanager
def undisturbed() -> Iterator[Unraisables]:
    """A full collection of garbage can take longer than the store's timeout: there is none meanwhile.

    At the end each `FakeStore` is well again.
    """
    gc.collect()
    gc.disable()
    try:
        with Unraisables() as caught:
            yield caught
            for each in FakeStore.made:
                each.state = "well"
    finally:
        gc.enable()


def in_time(home: Home, client: ssl.SSLContext, server: ssl.SSLContext, peer: str) -> Visit:
    """A connection that does not wait longer than the store's timeout."""
    began = time.monotonic()
    done = home.visit(client, server, peer)
    assert time.monotonic() - began < TIMEOUT + GENEROUS
    return done


def timed(
    home: Home, client: ssl.SSLContext, server: ssl.SSLContext, numbers: range = range(MANY)
) -> list[Visit]:
    """A connection to each of these peers, none of which waits longer than the store's timeout."""
    return [in_time(home, client, server, name(number)) for number in numbers]


def at_once(what: Callable[[int], None]) -> None:
    """Call it with each of many numbers, each in a thread of its own."""
    threads = [threading.Thread(target=what, args=[number]) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def flushed(cache: ClientSessionCache) -> bool:
    """Whether the store took all there was to write."""
    try:
        cache.flush()
    except StoreError:
        return False
    return True


class Proxy:
    """A TCP proxy to 127.0.0.1:`port` that can hold back what the server answers: for `delay` seconds, or all of it."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self._target = port
        self._silent = False
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def silent(self) -> bool:
        """Whether answers are held back until this is False again."""
        return self._silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        with self._changed:
            self._silent = silent
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target), 20)
            except OSError:
                return
            self._open += [near, far]
            for source, target, answers in ((near, far, False), (far, near, True)):
                thread = threading.Thread(target=self._pass_on, args=[source, target, answers], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                with self._changed:
                    if answers and self.delay:
                        self._changed.wait(self.delay)
                    while answers and self._silent:
                        self._changed.wait()
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            _shut(each)

    def __enter__(self) -> Proxy:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.silent = False
        _shut(self._listener)
        for each in self._open:
            _shut(each)
        for thread in self._threads:
            thread.join(20)
        for each in (self._listener, *self._open):
            each.close()


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class Clients:
    """Threads that connect in memory until told to stop, each to the next of `names`; half of them drop.

    `account` has what they offered, `errors` what failed.
    """

    def __init__(
        self,
        client: Callable[[], ssl.SSLContext],
        server: ssl.SSLContext,
        *,
        threads: int,
        names: tuple[str, ...] = ("localhost",),
    ) -> None:
        self._client, self._server, self._names = client, server, names
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=[number]) for number in range(threads)]
        self.account = Account()
        self.errors: list[BaseException] = []
        self.longest = 0.0
        self.reused: list[bool] = []

    def _work(self, number: int) -> None:
        try:
            while not self._stop.is_set():
                number += 1
                self._connect(self._names[number % len(self._names)], drop=bool(number % 2))
        except BaseException as error:
            self.errors.append(error)

    def _connect(self, name: str, drop: bool) -> None:
        pair, began = Pair(self._client(), self._server, name), time.monotonic()
        self.account.note(begin(pair))
        waited = time.monotonic() - began
        pair.handshake().exchange()
        with self._lock:
            self.longest = max(self.longest, waited)
            self.reused.append(bool(pair.client.session_reused))
        if not drop:
            pair.close()
        pair.drop()

    def run(self, seconds: float) -> None:
        """Let them go on for a while."""
        self._stop.wait(seconds)

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a thread is stuck"
        if kind is None and self.errors:
            raise self.errors[0]
