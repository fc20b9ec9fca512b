"""A set that all who share a store come to have: entries are added, and expire by themselves.

The whole set is one value under one key. Who finds that the store has another set than his writes the union, so that
two who write at once lose nothing: both look again a moment later. Of the same entries all make the same set, also
where it must be made shorter. Pure but for the store; time is passed in.
"""

from __future__ import annotations

import struct
from typing import Any, Callable

from sslsession.errors import StoreError

HEAD = b"sslsession set 1\0"
SIZES = struct.Struct(">dH")
ENTRIES_MOST = 4096
Entries = dict[bytes, float]


def forget(entries: Entries) -> None:
    """Makes a set shorter by what expires first; by the entry too, for of the same entries all forget the same ones."""
    for each in sorted(entries, key=lambda each: (entries[each], each))[:-ENTRIES_MOST]:
        del entries[each]


class Gossip:
    """Entries (bytes of at most 64 kB) with the times (epoch seconds) at which they expire.

    shorten: leaves at most ``ENTRIES_MOST`` of a set, and the same ones wherever it is given the same.
    """

    def __init__(self, key: bytes, shorten: Callable[[Entries], None] = forget) -> None:
        self.key = key
        self.entries: Entries = {}
        """One dict for good: others read it."""
        self._shorten = shorten

    def add(self, entry: bytes, expires_at: float) -> bool:
        """Adds an entry; whether it is new."""
        known = self.entries.get(entry)
        if known is not None and known >= expires_at:
            return False
        self.entries[entry] = expires_at
        return known is None

    def purge(self, now: float) -> bool:
        """Forgets what has expired, and makes the set shorter where it is too long; whether it changed."""
        before = dict(self.entries)
        for each, until in before.items():
            if until <= now:
                del self.entries[each]
        if len(self.entries) > ENTRIES_MOST:
            self._shorten(self.entries)
        return self.entries != before

    def pack(self) -> bytes:
        """All entries as one value."""
        return HEAD + b"".join(SIZES.pack(until, len(each)) + each for each, until in self.entries.items())

    def merge(self, value: bytes, now: float) -> bool:
        """Takes over what a value has; whether there was anything new. Errors: ``StoreError``."""
        return self._take_over(_unpack(value), now)

    def _take_over(self, theirs: Entries, now: float) -> bool:
        fresh = [self.add(each, until) for each, until in theirs.items() if until > now]
        return any(fresh)

    def sync(self, store: Any, now: float) -> bool:
        """Reads the store's set and writes what it lacks; whether something new came. Errors: the store's own."""
        value = store.peek(self.key)
        theirs = _unpack(value) if value is not None else {}
        before = dict(self.entries)
        self._take_over(theirs, now)
        self.purge(now)
        if self.entries and self.entries != {each: until for each, until in theirs.items() if until > now}:
            store.add(self.key, self.pack(), expires_at=max(self.entries.values()))
        return self.entries != before


def _unpack(value: bytes) -> dict[bytes, float]:
    found, at = {}, len(HEAD)
    if value[:at] != HEAD:
        raise StoreError("the store has something else where what servers share is kept; clear it")
    while at < len(value):
        try:
            until, size = SIZES.unpack_from(value, at)
        except struct.error:
            raise StoreError("what servers share in the store was cut short; clear it") from None
        at += SIZES.size
        found[value[at : at + size]] = until
        at += size
    if at != len(value):
        raise StoreError("what servers share in the store was cut short; clear it")
    return found
