"""Redis and memcached that are killed, started again, slow or full under a server's load: handshakes go on."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.bad_days import GENEROUS, TIMEOUT, Proxy
from helpers.certs import Authority, Identity
from helpers.clients import eventually
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
from helpers.servers import FULL, IDS, RESUMED, STATEFUL, Serving, Way, earn, offer, params, renew
from helpers.stores import PATIENT, SECRET, Server, memcached, new_prefix, redis_server
from sslsession import StoreError
from sslsession.stores import MemcachedStore, RedisStore, Store

redis = pytest.importorskip("redis")
pytest.importorskip("pymemcache")
pytest.importorskip("cryptography")

THREADS = 3
"""Beyond what the machine has, a handshake waits for its turn rather than for the store."""


@pytest.fixture(params=params(IDS, STATEFUL))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


class Kind:
    """Redis or memcached: how it is started, and a store on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix = new_prefix()

    def start(self, port: int | None = None, *options: str) -> contextlib.AbstractContextManager[Server]:
        return (redis_server if self.name == "redis" else memcached)(*options, port=port)

    def store(self, port: int, timeout: float = TIMEOUT) -> Store:
        if self.name == "redis":
            return RedisStore(f"redis://127.0.0.1:{port}", secret=SECRET, prefix=self.prefix, timeout=timeout)
        prefix = self.prefix.replace("*", "")
        return MemcachedStore([f"127.0.0.1:{port}"], secret=SECRET, prefix=prefix, timeout=timeout)


@pytest.fixture(params=["redis", "memcached"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


class Load:
    """Threads that connect until told to stop: a full handshake, then one that offers its session elsewhere."""

    def __init__(self, client: ssl.SSLContext, servers: list[ssl.SSLContext], threads: int = THREADS) -> None:
        self._client, self._servers = client, servers
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=[number]) for number in range(threads)]
        self.errors: list[BaseException] = []
        self.outcomes: list[str] = []
        self.longest = 0.0

    def _work(self, number: int) -> None:
        try:
            while not self._stop.is_set():
                number += 1
                session = earn(self._client, self._servers[number % 2])
                began = time.monotonic()
                self.outcomes.append(
                    renew(self._client, self._servers[number // 2 % 2], session, drop=bool(number % 3))[0]
                )
                self.longest = max(self.longest, time.monotonic() - began)
        except BaseException as error:
            self.errors.append(error)

    def goes_on(self, outcome: str = "") -> None:
        """Wait until there were more connections that came to this; if it is not given, whatever became of them."""

        def count() -> int:
            return self.outcomes.count(outcome) if outcome else len(self.outcomes)

        before = count()
        eventually(lambda: self.errors or count() >= before + 2 * THREADS, 30)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a thread is stuck"
        assert self.errors == [], "no handshake failed"


@contextlib.contextmanager
def two_workers(
    way: Way, make: Callable[[], Store], identity: Identity
) -> Iterator[tuple[list[Serving], list[ssl.SSLContext]]]:
    """Two servers, each with a store of its own on the same daemon."""
    stores = [make() for _ in range(2)]
    workers = [Serving(way, store) for store in stores]
    yield workers, [each.attach(server_context(identity)) for each in workers]
    for worker, store in zip(workers, stores):
        worker.close()
        store.close()


def carried(workers: list[Serving], client: ssl.SSLContext, servers: list[ssl.SSLContext]) -> bool:
    """Whether a session goes from one worker to the other."""
    session = earn(client, servers[0])
    with contextlib.suppress(StoreError):
        workers[0].cache.flush()
    return offer(client, servers[1], session) == RESUMED


def errors_of(workers: list[Serving]) -> int:
    """How often a store failed them."""
    return sum(each.cache.stats()["store_errors"] for each in workers)


def test_many_threads_resume_all_that_another_worker_made(
    way: Way, kind: Kind, client: ssl.SSLContext, server_identity: Identity, unraisables: Unraisables
) -> None:
    """A thread gets its turn in the interpreter some hundred times in a second, and whoever writes waits for it too.

    The store's timeout is long, for a slow machine's threads to be done within it.
    """
    with (
        kind.start() as running,
        two_workers(way, lambda: kind.store(running.port, PATIENT), server_identity) as (workers, servers),
    ):
        with Load(client, servers, threads=8) as load:
            eventually(lambda: load.errors or len(load.outcomes) >= 200, 60)
        assert set(load.outcomes) == {RESUMED}
        for each in workers:
            stats = each.cache.stats()
            assert (stats["dropped"], stats["store_errors"], stats["misses"]) == (0, 0, 0)
    assert unraisables.errors == []


def killed_and_restarted(
    way: Way, kind: Kind, client: ssl.SSLContext, identity: Identity, rounds: int
) -> None:
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(kind.start())
        port = running.port
        workers, servers = stack.enter_context(two_workers(way, lambda: kind.store(port), identity))
        eventually(lambda: carried(workers, client, servers))
        with Load(client, servers) as load:
            for _ in range(rounds):
                load.goes_on(RESUMED)
                before = errors_of(workers)
                os.kill(running.process.pid, signal.SIGKILL)
                eventually(lambda before=before: errors_of(workers) > before)
                load.goes_on(FULL)
                running = stack.enter_context(kind.start(port))
                load.goes_on(RESUMED)
        assert load.longest < TIMEOUT + GENEROUS
        eventually(lambda: carried(workers, client, servers), 30)


def test_killed_and_restarted_under_load(
    way: Way, kind: Kind, client: ssl.SSLContext, server_identity: Identity, unraisables: Unraisables
) -> None:
    killed_and_restarted(way, kind, client, server_identity, rounds=1)
    assert 1 <= len(unraisables.errors) <= 20, "told when it begins, and not at each handshake"
    assert {type(error) for error in unraisables.errors} == {StoreError}


@pytest.mark.soak
def test_soak_killed_and_restarted_under_load(
    way: Way, kind: Kind, client: ssl.SSLContext, server_identity: Identity, unraisables: Unraisables
) -> None:
    killed_and_restarted(way, kind, client, server_identity, rounds=10)


@pytest.mark.parametrize("how", ["late, but in time", "too late", "silent"])
def test_slow(
    way: Way,
    kind: Kind,
    client: ssl.SSLContext,
    server_identity: Identity,
    how: str,
    unraisables: Unraisables,
) -> None:
    with (
        kind.start() as running,
        Proxy(running.port) as proxy,
        two_workers(way, lambda: kind.store(proxy.port), server_identity) as (workers, servers),
    ):
        eventually(lambda: carried(workers, client, servers))
        sessions = [earn(client, servers[0]) for _ in range(20)]
        workers[0].cache.flush()
        proxy.delay = {"late, but in time": 0.005, "too late": 3 * TIMEOUT, "silent": 0}[how]
        proxy.silent = how == "silent"
        for session in sessions:
            began = time.monotonic()
            outcome = offer(client, servers[1], session)
            assert time.monotonic() - began < TIMEOUT + GENEROUS
            if how != "late, but in time":
                assert outcome == FULL
        proxy.silent, proxy.delay = False, 0
        eventually(lambda: carried(workers, client, servers), 30)


def test_a_redis_that_is_full(
    way: Way, client: ssl.SSLContext, server_identity: Identity, unraisables: Unraisables
) -> None:
    kind = Kind("redis")
    with (
        kind.start(None, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as running,
        two_workers(way, lambda: kind.store(running.port), server_identity) as (workers, servers),
    ):
        direct: Any = redis.Redis(port=running.port)
        with contextlib.suppress(redis.ResponseError):
            for number in range(10_000):
                direct.set(f"filler {number}", b"x" * 10_000)
        for _ in range(5):
            session = earn(client, servers[0])
            assert offer(client, servers[1], session) == FULL
        eventually(lambda: workers[0].cache.stats()["store_errors"] >= 1)
        direct.flushall()
        direct.close()
        eventually(lambda: carried(workers, client, servers), 30)


def test_what_is_withdrawn_reaches_the_other_worker_by_itself(
    way: Way, kind: Kind, client: ssl.SSLContext, server_identity: Identity
) -> None:
    """Within a second, as documented, and here generously."""
    with (
        kind.start() as running,
        two_workers(way, lambda: kind.store(running.port), server_identity) as (workers, servers),
    ):
        session = earn(client, servers[0])
        workers[0].cache.flush()
        began = time.monotonic()
        workers[0].cache.revoke(server_name="localhost")
        eventually(lambda: workers[1].cache._withdrawn._set.entries)
        assert time.monotonic() - began < 1 + GENEROUS
        assert offer(client, servers[1], session) == FULL
