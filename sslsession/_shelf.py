"""A server cache's store: asked at once where it never waits, else through ``_far``, so that no handshake waits long.

A session is in the store before its ticket is on its way, or a client that is back at once, at another worker, would be
there first. An asyncio server stands still meanwhile, so one call of OpenSSL waits no longer than the store's timeout,
whatever it asks for. It makes all tickets of a TLS 1.3 handshake: so many that follow each other on a thread have the
timeout together. It looks up as many ids as a client proposes: so have those that follow each other at once.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from sslsession import _callbacks
from sslsession._far import DEFAULT_TIMEOUT, Far

AT_ONCE = 0.0002
"""Seconds of a thread's CPU time: from one id to the next it takes much less, and more from one client to the next."""
_FAILED = object()


class Near:
    """A store that never waits: this process's memory."""

    def __init__(self, store: Any, owns: bool) -> None:
        self.store = store
        self._owns = owns
        self._counts: Counter[str] = Counter()
        self._failing: set[str] = set()

    def put(self, key: bytes, value: bytes, expires_at: float, single_use: bool) -> None:  # noqa: ARG002
        """Keeps a value."""
        if self._ask("add", key, value, expires_at=expires_at) is not _FAILED:
            self._counts["stored"] += 1

    def touch(self, key: bytes, value: bytes, expires_at: float) -> None:
        """Keeps what is there for longer."""
        self._ask("add", key, value, expires_at=expires_at)

    def get(self, key: bytes, single_use: bool) -> bytes | None:
        """A key's value; for good, where it is for single use."""
        found = self._ask("take" if single_use else "peek", key)
        return None if found is _FAILED else found

    def drop(self, key: bytes) -> None:
        """Forgets a key."""
        self._ask("discard", key)

    def _ask(self, verb: str, *arguments: Any, **settings: Any) -> Any:
        try:
            found = getattr(self.store, verb)(*arguments, **settings)
        except Exception as error:  # a store of the user's own may raise anything
            self._failed(verb, error)
            return _FAILED
        self._failing.discard(verb)
        return found

    def refused(self, error: Exception) -> None:
        """The store gave what is no session."""
        self._failed("session", error)

    def _failed(self, what: str, error: Exception) -> None:
        """Counted each time, and told once, until that works again."""
        error.__traceback__ = None
        self._counts["store_errors"] += 1
        if what not in self._failing:
            self._failing.add(what)
            _callbacks.report(error, "sslsession's use of a session store; handshakes go on without it")

    def counts(self) -> Counter[str]:
        """``stored``, ``store_errors``, ``evicted``."""
        return self._counts + Counter(evicted=getattr(self.store, "evicted", 0))

    def flush(self) -> None:
        """There is nothing to wait for."""

    def close(self) -> None:
        """Lets go of the store."""
        if self._owns:
            self.store.close()

    def after_fork(self) -> None:
        """In a child: the store does what there is to do."""


class Behind:
    """A store that may keep one waiting."""

    def __init__(self, store: Any, owns: bool, tickets: int) -> None:
        self.store = store
        self._far = Far(store, owns)
        self._waits = _Waits(self._far.timeout or DEFAULT_TIMEOUT, tickets)

    def put(self, key: bytes, value: bytes, expires_at: float, single_use: bool) -> None:
        """Has a value written within the store's timeout, or soon after."""
        with self._waits.to_put(single_use) as seconds:
            self._far.write_bytes(key, value, expires_at, single_use, seconds)

    def touch(self, key: bytes, value: bytes, expires_at: float) -> None:
        """Has a value kept for longer, soon."""
        self._far.write_bytes(key, value, expires_at, single_use=False)

    def get(self, key: bytes, single_use: bool) -> bytes | None:
        """A key's value within the store's timeout, or out of what waits to be written."""
        waiting = self._far.take_back(key, leave=not single_use)
        if waiting is not None:
            return bytes(waiting)
        began, seconds = time.monotonic(), self._waits.to_get()
        found = self._far.fetch([("take" if single_use else "peek", key)], _late, seconds)
        if found is None:
            self._waits.missed(time.monotonic() - began)
            return None
        return found[1]

    def drop(self, key: bytes) -> None:
        """Has a key forgotten soon."""
        self._far.discard(key)

    def refused(self, error: Exception) -> None:
        """The store gave what is no session."""
        self._far.refused(error)

    def counts(self) -> Counter[str]:
        """``stored``, ``store_errors``, ``dropped``."""
        return self._far.counts

    def flush(self) -> None:
        """Waits for what waits."""
        self._far.flush()

    def close(self) -> None:
        """Writes what waits, and lets go of the store."""
        self._far.close()

    def after_fork(self) -> None:
        """In a child: what waits, and who asks, are the parent's."""
        self._far.after_fork()


class _Waits(threading.local):
    """How long this thread waited of late, and may wait now, in seconds."""

    def __init__(self, timeout: float, tickets: int) -> None:
        self._timeout = timeout
        self._puts = deque[float](maxlen=tickets - 1)
        self._misses = 0.0
        self._missed_at = -math.inf

    @contextlib.contextmanager
    def to_put(self, single_use: bool) -> Iterator[float]:
        """For one put."""
        began = time.monotonic()
        yield self._timeout - sum(self._puts) if single_use else self._timeout
        if single_use:
            self._puts.append(time.monotonic() - began)

    def to_get(self) -> float:
        """For one get: OpenSSL goes on to the next id where it finds nothing, and there is nothing to do in between."""
        if time.thread_time() - self._missed_at > AT_ONCE:
            self._misses = 0.0
        return self._timeout - self._misses

    def missed(self, waited: float) -> None:
        """A get took so many seconds, and found nothing."""
        self._misses += waited
        self._missed_at = time.thread_time()


def _late(key: bytes, value: bytes) -> None:
    """What comes after the handshake went on is of no use: its ticket was taken, and its client gets another."""


def shelf(store: Any, size: int, owns: bool, tickets: int) -> Near | Behind:
    """For a store, its URL, or None: memory of this size. tickets: the most sessions that a handshake makes."""
    if store is None:
        from sslsession.stores.memory import MemoryStore

        return Near(MemoryStore(size), owns)
    from sslsession.stores.urls import opened

    found = opened(store)
    waits = getattr(found, "timeout", DEFAULT_TIMEOUT) is not None
    return Behind(found, owns, tickets) if waits else Near(found, owns)


def end(shelf: Near | Behind) -> None:
    """For a cache that was never closed: at the interpreter's exit, or where the garbage collector found it."""
    try:
        shelf.close()
    except Exception as error:
        _callbacks.report(error, "sslsession's use of a session store")
