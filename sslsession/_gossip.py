"""A set that all who share a store come to have: entries are added, and expire by themselves; nothing else.

The whole set is one value under one key. Who finds that the store lacks an entry of his writes the union, so that two
who write at once lose nothing: both look again a moment later. Pure but for the store; time is passed in.
"""

from __future__ import annotations

import struct
from typing import Any

from sslsession.errors import StoreError

HEAD = b"sslsession set 1\0"
SIZES = struct.Struct(">dH")
ENTRIES_MOST = 4096


class Gossip:
    """Entries (bytes of at most 64 kB) with the times (epoch seconds) at which they expire."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.entries: dict[bytes, float] = {}
        """One dict for good: others read it."""

    def add(self, entry: bytes, expires_at: float) -> bool:
        """Adds an entry; whether it is new."""
        known = self.entries.get(entry)
        if known is not None and known >= expires_at:
            return False
        self.entries[entry] = expires_at
        return known is None

    def purge(self, now: float) -> bool:
        """Forgets what has expired, and beyond the most there may be what expires first; whether there was any."""
        gone = [each for each, until in self.entries.items() if until <= now]
        for each in gone:
            del self.entries[each]
        if len(self.entries) > ENTRIES_MOST:
            # By the entry too, so that of the same entries all forget the same ones.
            order = sorted(self.entries, key=lambda each: (self.entries[each], each))
            for each in order[:-ENTRIES_MOST]:
                del self.entries[each]
                gone.append(each)
        return bool(gone)

    def pack(self) -> bytes:
        """All entries as one value."""
        return HEAD + b"".join(SIZES.pack(until, len(each)) + each for each, until in self.entries.items())

    def merge(self, value: bytes, now: float) -> bool:
        """Takes over what a value has; whether there was anything new. Errors: ``StoreError``."""
        theirs = _unpack(value)
        fresh = [self.add(each, until) for each, until in theirs.items() if until > now]
        self._lacks = any(self.entries[each] > theirs.get(each, 0) for each in self.entries)
        return any(fresh)

    _lacks = True

    def sync(self, store: Any, now: float) -> bool:
        """Reads the store's set and writes what it lacks; whether something new came. Errors: the store's own."""
        value = store.peek(self.key)
        self._lacks = bool(self.entries)
        came = self.merge(value, now) if value is not None else False
        purged = self.purge(now)
        if self.entries and self._lacks:
            store.add(self.key, self.pack(), expires_at=max(self.entries.values()))
        return came or purged


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
