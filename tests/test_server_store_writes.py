"""A server's session is in the store before its client has the ticket, and no handshake waits for that for long."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.bad_days import GENEROUS, TIMEOUT, FakeStore, at_once
from helpers.certs import Authority, Identity
from helpers.clients import entries, eventually
from helpers.memory import Pair
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
from helpers.servers import IDS, RESUMED, STATEFUL, Serving, Way, earn, offer, params
from helpers.sockets import dial
from sslsession import ServerSessionCache, _far
from sslsession._far import Far

pytestmark = pytest.mark.binding

PATIENT = 60.0
"""Seconds that a store may take, where what is tested is not how long it takes."""


@pytest.fixture(params=params(IDS, STATEFUL))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


class SlowStore(FakeStore):
    """A store whose writes take `delay` seconds each, and say at which moments they were done."""

    delay = 0.0
    timeout = PATIENT

    def __init__(self) -> None:
        super().__init__()
        self.done: list[float] = []

    def add(self, *arguments: Any, **settings: Any) -> None:
        if self.delay:
            threading.Event().wait(self.delay)
        super().add(*arguments, **settings)
        self.done.append(time.monotonic())


@pytest.fixture
def store() -> Iterator[SlowStore]:
    """A full collection of garbage can take longer than its timeout: there is none meanwhile."""
    gc.collect()
    gc.disable()
    store = SlowStore()
    yield store
    store.state = "well"
    gc.enable()


def made_by(way: Way, tickets: int = 2) -> int:
    """How many sessions a full handshake makes."""
    return tickets if way == STATEFUL else 1


class TestBeforeTheTicket:
    def test_the_handshake_s_last_call_returns_when_all_is_written(
        self, way: Way, store: SlowStore, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        store.delay = 0.02
        with ServerSessionCache(store) as cache:
            cache.attach(server)
            Pair(client, server).handshake()
            assert len(entries(store)) == made_by(way) == cache.stats()["stored"]

    def test_who_comes_back_at_once_at_another_worker_resumes(
        self, way: Way, store: SlowStore, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        workers = [Serving(way, store) for _ in range(2)]
        servers = [each.attach(server_context(server_identity)) for each in workers]
        outcomes: list[str] = []

        def visit(number: int) -> None:
            session = earn(client, servers[number % 2])
            outcomes.append(offer(client, servers[(number + 1) % 2], session))

        at_once(visit)
        assert outcomes == [RESUMED] * len(outcomes)
        assert len(outcomes) == 20
        for each in workers:
            stats = each.cache.stats()
            assert (stats["dropped"], stats["store_errors"], stats["misses"]) == (0, 0, 0)
            each.close()

    def test_that_a_session_is_kept_for_longer_is_written_later(
        self, store: SlowStore, ca: Authority, server: ssl.SSLContext
    ) -> None:
        """A TLS 1.2 session that was resumed is in the store already."""
        client = IDS.client(ca)
        with ServerSessionCache(store, idle_lifetime=100) as cache:
            cache.attach(server)
            session = earn(client, server)
            writing = threading.Event()
            store.add = lambda *_, **__: writing.wait(PATIENT)  # type: ignore[method-assign, assignment]
            began = time.monotonic()
            assert offer(client, server, session) == RESUMED
            assert time.monotonic() - began < PATIENT / 2
            writing.set()
            cache.flush()
            assert cache.stats()["stored"] == 2


class TestTheTimeout:
    @pytest.mark.parametrize("tickets", [1, 8])
    def test_one_call_waits_for_all_its_tickets_no_longer_than_for_one(
        self, ca: Authority, server: ssl.SSLContext, store: SlowStore, tickets: int, unraisables: Unraisables
    ) -> None:
        """Each would be in time. All are written in the end, once each, and the store is not said to have failed."""
        client = STATEFUL.client(ca)
        store.timeout, store.delay = 0.5, 0.3
        with ServerSessionCache(store, tickets=tickets) as cache:
            cache.attach(server)
            pair, began = Pair(client, server), time.monotonic()
            pair.handshake()
            assert time.monotonic() - began < store.timeout + GENEROUS
            cache.flush()
            stats = cache.stats()
            assert (stats["stored"], stats["dropped"], stats["store_errors"]) == (tickets, 0, 0)
            assert store.asked["add"] == len(entries(store)) == tickets
        assert unraisables.errors == []

    def test_a_handshake_is_not_charged_with_what_another_waited_long_ago(
        self, ca: Authority, server: ssl.SSLContext, store: SlowStore
    ) -> None:
        """After one that had to wait, the next ones, which do not, are in the store in time again."""
        client = STATEFUL.client(ca)
        store.timeout = 1.0
        with ServerSessionCache(store) as cache:
            cache.attach(server)
            store.delay = 0.6
            earn(client, server)
            cache.flush()
            store.delay = 0.0
            for number in range(1, 4):
                earn(client, server)
                cache.flush() if number == 1 else None
                assert len(entries(store)) == 2 + 2 * number

    def test_what_comes_too_late_is_written_once_and_told_once(
        self,
        way: Way,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        store: SlowStore,
        unraisables: Unraisables,
    ) -> None:
        store.timeout = TIMEOUT
        with ServerSessionCache(store) as cache:
            cache.attach(server)
            store.state, began = "stalled", time.monotonic()
            for _ in range(5):
                earn(client, server)
            assert time.monotonic() - began < 2 * TIMEOUT + GENEROUS
            assert store.asked["add"] <= 2, "nobody waits behind one that has waited in vain"
            store.state = "well"
            eventually(lambda: cache.flush() or cache.stats()["stored"] == 5 * made_by(way))
            assert store.asked["add"] == len(entries(store)) == 5 * made_by(way)
            assert cache.stats()["dropped"] == 0
        assert 1 <= len(unraisables.errors) <= 2, "of sessions, and of what others withdrew"

    def test_while_the_store_is_down_nobody_asks_it_to_write(
        self,
        way: Way,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        store: SlowStore,
        unraisables: Unraisables,
    ) -> None:
        """A ticket that may have been written is not written again; what was not tried waits, and is not lost."""
        with ServerSessionCache(store) as cache:
            cache.attach(server)
            store.state = "down"
            sessions = [earn(client, server) for _ in range(5)]
            assert store.asked["add"] <= 2, "by the first, and by who looks whether it is back"
            store.state = "well"
            eventually(lambda: not cache._shelf._far._health.breaker.is_open)  # type: ignore[union-attr]
            cache.flush()
            stats = cache.stats()
            assert stats["stored"] + stats["dropped"] == 5 * made_by(way)
            assert stats["dropped"] <= (2 if way == STATEFUL else 0)
            assert offer(client, server, sessions[-1]) == RESUMED
        assert len(unraisables.errors) <= 2


class TestLoop:
    def test_new_clients_block_an_asyncio_server_no_longer_than_the_timeout(
        self,
        way: Way,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        store: SlowStore,
        unraisables: Unraisables,
    ) -> None:
        """A heartbeat beside a server whose store stalls while it is given sessions."""
        store.timeout = TIMEOUT
        gaps: list[float] = []

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(4))
            await writer.drain()
            writer.close()

        def visit(port: int) -> None:
            with dial(port, client) as conn:
                conn.sendall(b"ping")
                assert conn.recv(4) == b"ping"

        async def main() -> None:
            listener = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server)
            heart = asyncio.create_task(heartbeat(gaps))
            loop, port = asyncio.get_running_loop(), listener.sockets[0].getsockname()[1]
            for _ in range(20):
                await loop.run_in_executor(None, visit, port)
            heart.cancel()
            listener.close()

        with ServerSessionCache(store) as cache:
            cache.attach(server)
            store.state = "stalled"
            asyncio.run(main())
            store.state = "well"
        assert max(gaps) < TIMEOUT + GENEROUS
        assert sorted(gaps)[-10] < TIMEOUT, "most do not wait at all"


class TestFlush:
    def test_it_returns_while_more_and_more_is_written(self) -> None:
        """It waits for what was there when it was called."""
        far: Far
        going, first = threading.Event(), threading.Event()

        class Endless(FakeStore):
            def add(self, key: Any, value: bytes, *, expires_at: float, keep: int = 1) -> None:
                first.wait(PATIENT)
                super().add(key, value, expires_at=expires_at, keep=keep)
                if not going.is_set():
                    far.write_bytes(b"%d" % self.asked["add"], b"more", expires_at, single_use=False)
                    far.write_bytes(b"and %d" % self.asked["add"], b"more", expires_at, single_use=False)

        store = Endless()
        far = Far(store, owns=False)
        for number in range(10):
            far.write_bytes(b"early %d" % number, b"x", time.time() + 100, single_use=False)
        done = threading.Thread(target=far.flush, daemon=True)
        done.start()
        first.set()
        done.join(20)
        ended, going_on = not done.is_alive(), not going.is_set() and len(far) > 0
        going.set()
        far.close()
        assert ended
        assert going_on
        assert {b"early %d" % number for number in range(10)} <= {each.key for each in entries(store)}

    def test_it_waits_for_what_a_handshake_did_not_wait_for(
        self,
        way: Way,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        store: SlowStore,
        unraisables: Unraisables,
    ) -> None:
        store.timeout, store.delay = 0.05, 0.1
        with ServerSessionCache(store) as cache:
            cache.attach(server)
            session = earn(client, server)
            cache.flush()
            assert cache.stats()["stored"] == len(entries(store)) == made_by(way)
            store.timeout, store.delay = PATIENT, 0
            eventually(lambda: offer(client, server, session) == RESUMED or way == STATEFUL)


class TestEnd:
    def test_closing_waits_for_what_is_being_written(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        store = SlowStore()
        store.timeout, store.delay = 0.01, 0.1
        cache = ServerSessionCache(store)
        cache.attach(server)
        earn(client, server)
        cache.close()
        assert cache.stats()["stored"] == len(entries(store)) == made_by(way)

    def test_the_store_is_closed_when_nobody_asks_it_any_more(self) -> None:
        """Or who is still looking something up would be told that it is closed, and tell that it failed."""
        asked, answer = threading.Event(), threading.Event()
        order: list[str] = []

        class Watched(FakeStore):
            timeout = PATIENT

            def take(self, key: Any) -> bytes | None:
                asked.set()
                answer.wait(PATIENT)
                order.append("answered")
                return None

            def close(self) -> None:
                order.append("closed")

        far = Far(Watched(), owns=True)
        looking = threading.Thread(target=far.fetch, args=[[("take", b"key")], lambda *_: None])
        closing = threading.Thread(target=far.close)
        looking.start()
        assert asked.wait(PATIENT)
        closing.start()
        eventually(lambda: far._closing)
        answer.set()
        looking.join(PATIENT)
        closing.join(PATIENT)
        assert order == ["answered", "closed"]

    def test_a_store_that_is_silent_holds_up_no_end(
        self,
        way: Way,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        store: SlowStore,
        unraisables: Unraisables,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(_far, "EXIT_SECONDS", 0.2)
        store.timeout = TIMEOUT
        cache = ServerSessionCache(store)
        cache.attach(server)
        store.state = "stalled"
        earn(client, server)
        began = time.monotonic()
        cache.close()
        assert time.monotonic() - began < 2 * 0.2 + GENEROUS

    def test_no_thread_is_left(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext, store: SlowStore
    ) -> None:
        with ServerSessionCache(store) as cache:
            cache.attach(server)
            at_once(lambda _: offer(client, server, earn(client, server)))
            assert "sslsession-lookup" in names_of_threads()
        eventually(lambda: not {"sslsession-lookup", "sslsession-store"} & names_of_threads())


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


async def heartbeat(gaps: list[float]) -> None:
    """Adds the seconds from one beat to the next."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - last)
        last = now
