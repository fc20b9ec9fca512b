"""Values in this process's memory: bounded, the least recently used goes first.

A value and its expiry are one `bytes` object, and the order of use is that of a dict. A dict finds its oldest item
only by walking over what was removed before it, so the oldest items wait, in reverse, in a second dict whose
`popitem` gives the next one to go: two dicts need 100 bytes an entry less than an OrderedDict.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Union

from sslsession.errors import StoreError
from sslsession.stores import _fork
from sslsession.stores.base import EXPIRY, Closed, Entry, Key, Store, as_key, checked, positive

# What `purge` and `entries` look at before they let others in.
SLICE = 1000
# This part of all becomes the oldest at a time: large enough to make the walk rare, small enough to be short.
OLDEST_PART = 32

# One value, or several with the newest last. Each begins with its expiry.
Record = Union[bytes, list[bytes]]

_pack = EXPIRY.pack
_unpack = EXPIRY.unpack_from
_HEAD = EXPIRY.size


class MemoryStore(Store):
    """Values in this process's memory; after a fork the child has none, or both would hand out the same."""

    def __init__(
        self,
        max_entries: int = 10_000,
        *,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """At most `max_entries` values, and `max_bytes` of them with their keys (None: any number)."""
        positive("max_entries", max_entries)
        if max_bytes is not None:
            positive("max_bytes", max_bytes)
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        # Garbage collection may run a finalizer that calls this store while it holds the lock, hence an RLock.
        self._lock: threading.RLock | Closed = threading.RLock()
        self._young: dict[bytes, Record] = {}
        self._old: dict[bytes, Record] = {}
        # How many values there are beyond one for each key.
        self._further = 0
        self._bytes = 0
        self.evicted = 0
        """How many values went because there was no room for them."""
        _fork.tell(self)

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self)} entries, at most {self._max_entries}>"

    def __len__(self) -> int:
        """How many values there are, those that have expired and were not removed yet included."""
        return len(self._young) + len(self._old) + self._further

    def add(self, key: Key, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        """See `Store.add`; StoreError if the value alone is larger than `max_bytes`."""
        key = checked(key, value, expires_at, keep)
        packed = _pack(expires_at) + value
        record: Record = packed
        if self._max_bytes is not None and len(key) + len(value) > self._max_bytes:
            raise StoreError(f"{len(key) + len(value)} bytes do not fit into max_bytes={self._max_bytes}")
        with self._lock:
            young = self._young
            before = young.pop(key, None)
            if before is None:
                before = self._old.pop(key, None)
            if before is not None:
                record = self._joined(key, before, value, packed, keep)
            young[key] = record
            if self._max_bytes is not None:
                self._bytes += len(key) + len(value)
                while self._bytes > self._max_bytes:
                    self._evict()
            if len(young) + len(self._old) + self._further > self._max_entries:
                self._evict()

    def peek(self, key: Key) -> bytes | None:
        """See `Store.peek`; to be looked at is to be used."""
        if key.__class__ is not bytes:
            key = as_key(key)
        with self._lock:
            record = self._young.pop(key, None) or self._old.pop(key, None)
            if record is None:
                return None
            now = self._clock()
            self._young[key] = record
            for each in (record,) if record.__class__ is bytes else reversed(record):
                if _unpack(each)[0] > now:  # type: ignore[arg-type]
                    return each[_HEAD:]  # type: ignore[index, no-any-return]
            return None

    def take(self, key: Key) -> bytes | None:
        """See `Store.take`; exactly one of this process's threads gets each value."""
        if key.__class__ is not bytes:
            key = as_key(key)
        with self._lock:
            record = self._young.pop(key, None) or self._old.pop(key, None)
            if record is None:
                return None
            if record.__class__ is bytes:
                if self._max_bytes is not None:
                    self._bytes -= len(key) + len(record) - _HEAD
                return record[_HEAD:] if _unpack(record)[0] > self._clock() else None
            return self._taken(key, record)  # type: ignore[arg-type]

    def discard(self, key: Key) -> None:
        """See `Store.discard`."""
        key = as_key(key)
        with self._lock:
            record = self._young.pop(key, None) or self._old.pop(key, None)
            if record is not None:
                self._uncount(key, record)

    def purge(self, now: float | None = None) -> int:
        """See `Store.purge`; others come in between."""
        if now is None:
            now = self._clock()
        return sum(self._without_expired(key, now) for keys in self._slices() for key in keys)

    def clear(self) -> None:
        """See `Store.clear`."""
        with self._lock:
            self._young, self._old = {}, {}
            self._further = self._bytes = 0

    def entries(self) -> Iterator[Entry]:
        """See `Store.entries`; what is added meanwhile may be missing."""
        return self._entries(list(self._slices()))

    def close(self) -> None:
        """Forget everything."""
        self._lock = Closed(self)
        self._young, self._old = {}, {}
        self._further = self._bytes = 0

    def before_fork(self) -> None:
        """Nothing: waiting for the lock could wait for a thread that waits for this one."""

    def after_fork_in_parent(self) -> None:
        """Nothing."""

    def after_fork_in_child(self) -> None:
        """Forget everything: a copy would hand each value out twice. The lock may be held for ever."""
        if isinstance(self._lock, Closed):
            return
        self._lock = threading.RLock()
        self._young, self._old = {}, {}
        self._further = self._bytes = 0

    def _joined(self, key: bytes, before: Record, value: bytes, packed: bytes, keep: int) -> Record:
        """What is under `key` once `packed` came to `before`, which is not in the dicts any more."""
        self._uncount(key, before)
        if keep == 1:
            return packed
        several = [*([before] if isinstance(before, bytes) else before), packed][-keep:]
        self._further += len(several) - 1
        if self._max_bytes is not None:
            self._bytes += self._size(key, several) - len(key) - len(value)
        return several

    def _taken(self, key: bytes, several: list[bytes]) -> bytes | None:
        """The newest of `several` that has not expired; the rest goes back."""
        self._uncount(key, several)
        now = self._clock()
        live = [each for each in several if _unpack(each)[0] > now]
        newest = live.pop() if live else None
        self._put_back(self._young, key, live)
        return newest if newest is None else newest[_HEAD:]

    def _without_expired(self, key: bytes, now: float) -> int:
        """Remove what has expired by `now` under `key`; how many."""
        for dicts in (self._young, self._old):
            record = dicts.get(key)
            if record is None:
                continue
            several = [record] if isinstance(record, bytes) else record
            live = [each for each in several if _unpack(each)[0] > now]
            if len(live) < len(several):
                self._uncount(key, record)
                if live:
                    dicts[key] = live  # where it was in the order of use
                    self._count(key, live)
                else:
                    del dicts[key]
            return len(several) - len(live)
        return 0

    def _evict(self) -> None:
        """Remove the oldest value under the key that was not used for the longest time."""
        if not self._old:
            young = self._young
            oldest = list(islice(young, len(young) // OLDEST_PART + 1))
            for key in reversed(oldest):
                self._old[key] = young.pop(key)
        self.evicted += 1
        key, record = self._old.popitem()
        self._uncount(key, record)
        if isinstance(record, list):
            self._put_back(self._old, key, record[1:])

    def _put_back(self, dicts: dict[bytes, Record], key: bytes, several: list[bytes]) -> None:
        if several:
            dicts[key] = several
            self._count(key, several)

    def _count(self, key: bytes, record: Record) -> None:
        self._further += len(record) - 1 if isinstance(record, list) else 0
        if self._max_bytes is not None:
            self._bytes += self._size(key, record)

    def _uncount(self, key: bytes, record: Record) -> None:
        self._further -= len(record) - 1 if isinstance(record, list) else 0
        if self._max_bytes is not None:
            self._bytes -= self._size(key, record)

    @staticmethod
    def _size(key: bytes, record: Record) -> int:
        several = [record] if isinstance(record, bytes) else record
        return sum(len(key) + len(each) - _HEAD for each in several)

    def _slices(self) -> Iterator[list[bytes]]:
        """The keys there are now, `SLICE` at a time, the lock being held while a slice is dealt with."""
        with self._lock:
            keys = iter([*chain(self._old, self._young)])
        while part := list(islice(keys, SLICE)):
            with self._lock:
                yield part

    def _entries(self, slices: list[list[bytes]]) -> Iterator[Entry]:
        for keys in slices:
            found: list[Entry] = []
            with self._lock:
                now = self._clock()
                for key in keys:
                    record = self._young.get(key) or self._old.get(key)
                    several = [] if record is None else [record] if isinstance(record, bytes) else record
                    for each in reversed(several):
                        expires_at = _unpack(each)[0]
                        if expires_at > now:
                            found.append(Entry(key, each[_HEAD:], expires_at))
            yield from found
