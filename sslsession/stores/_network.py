"""What stores on a server have in common: a secret is needed, and a value is kept with its expiry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from sslsession.errors import InsecureStoreError, StoreError
from sslsession.stores.base import EXPIRY, Entry, Key, Store

if TYPE_CHECKING:
    from sslsession.stores.encrypted import Secrets

VERSION = b"\x01"
_HEAD = len(VERSION) + EXPIRY.size


class Record(NamedTuple):
    """A value and its expiry."""

    expires_at: float
    value: bytes


def pack(value: bytes, expires_at: float) -> bytes:
    """One value as it is kept: a byte for the version, the expiry as a big-endian double, the value."""
    return VERSION + EXPIRY.pack(expires_at) + value


def unpack(kept: object) -> Record:
    """What was packed; StoreError if it is something else."""
    if not isinstance(kept, bytes) or len(kept) < _HEAD or kept[:1] != VERSION:
        raise StoreError(
            "the server has something under our prefix that this version did not put there;"
            " clear the store, or use another prefix"
        )
    return Record(EXPIRY.unpack_from(kept, 1)[0], kept[_HEAD:])


def check_secret(kind: str, secret: Secrets | None, insecure: bool) -> None:
    """InsecureStoreError if there is neither a secret nor the word that none is wanted."""
    if secret is None and not insecure:
        raise InsecureStoreError(
            f"{kind}: who can write to this server could plant a session and stand in the middle of connections, and"
            " who can read it could decrypt them. Give secret= (in a URL ?secret=env:NAME or ?secret=file:PATH) to"
            " seal what is kept there; or use SQLiteStore, which is this user's alone; or say insecure=True if"
            " nobody else can reach the server"
        )
    if secret is not None and insecure:
        raise ValueError(f"{kind}: give either secret= or insecure=True")


class NetworkStore(Store):
    """A store on a server, sealed if there is a secret."""

    is_remote = True

    def __init__(self, plain: Store, secret: Secrets | None, clock: Callable[[], float] = time.time) -> None:
        self._plain = plain
        self._store = plain
        self.timeout = plain.timeout
        if secret is not None:
            from sslsession.stores.encrypted import EncryptedStore

            self._store = EncryptedStore(plain, secret, clock=clock)
            self.sealed = True
            self.is_remote = False

    def __repr__(self) -> str:
        sealed = "sealed" if self.sealed else "insecure"
        return f"<{type(self).__name__} {self._plain!r}, {sealed}>"

    def add(self, key: Key, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        """See `Store.add`."""
        self._store.add(key, value, expires_at=expires_at, keep=keep)

    def peek(self, key: Key) -> bytes | None:
        """See `Store.peek`."""
        return self._store.peek(key)

    def take(self, key: Key) -> bytes | None:
        """See `Store.take`."""
        return self._store.take(key)

    def discard(self, key: Key) -> None:
        """See `Store.discard`."""
        self._store.discard(key)

    def purge(self, now: float | None = None) -> int:
        """See `Store.purge`."""
        return self._store.purge(now)

    def clear(self) -> None:
        """See `Store.clear`."""
        self._store.clear()

    def entries(self) -> Iterator[Entry]:
        """See `Store.entries`."""
        return self._store.entries()

    def close(self) -> None:
        """Close the connections."""
        self._store.close()
