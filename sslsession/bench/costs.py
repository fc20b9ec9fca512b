"""What the parts cost that handshakes do not show: attaching, stores. Ratios are interleaved, as in ``measure``."""

from __future__ import annotations

import itertools
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Callable, NamedTuple

from sslsession.bench.measure import rotated
from sslsession.client import ClientSessionCache
from sslsession.stores import MemoryStore, SQLiteStore

KEY_SIZE, VALUE_SIZE = 64, 133
FEW = 1000
BATCH, ROUNDS = 200, 25
SOON = 3600.0
PATIENCE = 10.0
"""Seconds for a store's answer: a slow one is to be measured, not refused."""


class Cost(NamedTuple):
    """One part's: a name for JSON, a title, a number and its unit."""

    name: str
    title: str
    value: float
    unit: str


def measure_costs(redis: str | None, entries: int) -> list[Cost]:
    """All of them. redis: a URL to measure too, ``insecure`` of itself; entries: how many a large store has.

    Errors: :class:`~sslsession.errors.StoreError` where Redis cannot be reached.
    """
    return [*_attaching(), *_memory(entries), *_sqlite(), *(_redis(redis) if redis is not None else ())]


def _attaching() -> Iterator[Cost]:
    cache = ClientSessionCache()
    batches = []
    for _ in range(ROUNDS):
        contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(BATCH // 4)]
        start = time.perf_counter()
        for context in contexts:
            cache.attach(context)
        batches.append((time.perf_counter() - start) / len(contexts))
    cache.close()
    yield Cost("attach", "attach to a fresh context", median(batches) * 1e6, "us")


def _keys() -> Iterator[bytes]:
    return (b"%0*d" % (KEY_SIZE, number) for number in itertools.count())


def _filled(store: Any, entries: int, keys: Iterator[bytes]) -> Any:
    until = time.time() + SOON
    for key in itertools.islice(keys, entries):
        store.add(key, bytes(VALUE_SIZE), expires_at=until)
    return store


def _memory(entries: int) -> Iterator[Cost]:
    seconds = {}
    for count in (FEW, entries):
        keys = _keys()
        store, until, found = _filled(MemoryStore(count + BATCH), count, keys), time.time() + SOON, []
        for _ in range(ROUNDS):
            some, value = list(itertools.islice(keys, BATCH)), bytes(VALUE_SIZE)
            start = time.perf_counter()
            for key in some:
                store.add(key, value, expires_at=until)
                store.take(key)
            found.append((time.perf_counter() - start) / BATCH)
        seconds[count] = median(found)
    yield Cost("memory_add_take", "MemoryStore: add and take", seconds[FEW] * 1e6, "us")
    yield Cost("memory_growth", f"the same with {entries:,} entries", seconds[entries] / seconds[FEW], "x")
    try:
        import tracemalloc
    except ImportError:  # PyPy has none
        return
    tracemalloc.start()
    store = _filled(MemoryStore(FEW * 10), FEW * 10, _keys())
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    beyond = size / len(store) - KEY_SIZE - VALUE_SIZE
    yield Cost("memory_bytes", "MemoryStore: an entry beyond its key and value", beyond, "bytes")


def _sqlite() -> Iterator[Cost]:
    with tempfile.TemporaryDirectory() as directory, SQLiteStore(Path(directory, "bench.db")) as store:
        _filled(store, FEW, _keys())
        taken = _timed(store.take, itertools.islice(_keys(), FEW))
    yield Cost("sqlite_take", "SQLiteStore: take", median(taken) * 1e6, "us")


def _redis(url: str) -> Iterator[Cost]:
    import redis

    from sslsession.stores import RedisStore

    prefix = "sslsession-bench:"
    client = redis.Redis.from_url(url)
    ratios = []
    with RedisStore(url, insecure=True, prefix=prefix, timeout=PATIENCE) as store:
        client.set(prefix + "bare", bytes(VALUE_SIZE), ex=int(SOON))
        calls: dict[str, Callable[[bytes], object]] = {
            "take": store.take,
            "bare": lambda _: client.get(prefix + "bare"),
        }
        keys = _keys()
        for number in range(ROUNDS * 2):
            some, spent = list(itertools.islice(keys, BATCH // 4)), {}
            for key in some:
                store.add(key, bytes(VALUE_SIZE), expires_at=time.time() + SOON)
            for name in rotated(list(calls), number):
                spent[name] = sum(_timed(calls[name], iter(some)))
            ratios.append(spent["take"] / spent["bare"])
        client.delete(prefix + "bare")
        store.clear()
    client.close()
    yield Cost("redis_take", "RedisStore: take, of a bare round trip", median(ratios), "x")


def _timed(call: Callable[[bytes], object], keys: Iterator[bytes]) -> list[float]:
    found = []
    for key in keys:
        start = time.perf_counter()
        call(key)
        found.append(time.perf_counter() - start)
    return found
