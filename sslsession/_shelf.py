"""A server cache's store: asked at once where it never waits, else through ``_far``, so that no handshake does."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sslsession import _callbacks
from sslsession._far import Far


class Near:
    """A store that never waits: this process's memory."""

    def __init__(self, store: Any, owns: bool) -> None:
        self.store = store
        self._owns = owns
        self._counts: Counter[str] = Counter()
        self._failing = False

    def put(self, key: bytes, value: bytes, expires_at: float, single_use: bool) -> None:  # noqa: ARG002
        """Keeps a value."""
        try:
            self.store.add(key, value, expires_at=expires_at)
            self._counts["stored"] += 1
        except Exception as error:  # a store of the user's own may raise anything
            self._failed(error)

    def get(self, key: bytes, single_use: bool) -> bytes | None:
        """A key's value; for good, where it is for single use."""
        try:
            found: bytes | None = self.store.take(key) if single_use else self.store.peek(key)
        except Exception as error:
            self._failed(error)
            return None
        return found

    def drop(self, key: bytes) -> None:
        """Forgets a key."""
        self.store.discard(key)

    def _failed(self, error: Exception) -> None:
        error.__traceback__ = None
        self._counts["store_errors"] += 1
        first, self._failing = not self._failing, True
        if first:
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


class Behind:
    """A store that may keep one waiting."""

    def __init__(self, store: Any, owns: bool) -> None:
        self.store = store
        self._far = Far(store, owns)

    def put(self, key: bytes, value: bytes, expires_at: float, single_use: bool) -> None:
        """Has a value written soon."""
        self._far.write_bytes(key, value, expires_at, single_use)

    def get(self, key: bytes, single_use: bool) -> bytes | None:
        """A key's value within the store's timeout, or out of what waits to be written."""
        waiting = self._far.take_back(key, leave=not single_use)
        if waiting is not None:
            return bytes(waiting)
        found = self._far.fetch([("take" if single_use else "peek", key)], _late)
        return found[1] if found is not None else None

    def drop(self, key: bytes) -> None:
        """Has a key forgotten soon."""
        self._far.discard(key)

    def counts(self) -> Counter[str]:
        """``stored``, ``store_errors``, ``dropped``."""
        return self._far.counts

    def flush(self) -> None:
        """Waits for what waits."""
        self._far.flush()

    def close(self) -> None:
        """Writes what waits, and lets go of the store."""
        self._far.close()


def _late(key: bytes, value: bytes) -> None:
    """What comes after the handshake went on is of no use: its ticket was taken, and its client gets another."""


def shelf(store: Any, size: int, owns: bool) -> Near | Behind:
    """For a store, its URL, or None: memory of this size."""
    if store is None:
        from sslsession.stores.memory import MemoryStore

        return Near(MemoryStore(size), owns)
    from sslsession.stores.urls import opened

    found = opened(store)
    return Near(found, owns) if getattr(found, "timeout", None) is None else Behind(found, owns)
