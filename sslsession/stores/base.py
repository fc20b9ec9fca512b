"""What a store is: bytes under keys until a time, each value handed out once.

A store knows nothing of TLS. What makes it good enough for tickets is `take`: a TLS 1.3 ticket must be used once
(RFC 8446 C.4), also when threads, processes and hosts ask at the same moment, so of all who ask exactly one gets it.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Union

from sslsession.errors import StoreError

if TYPE_CHECKING:
    from typing_extensions import Self

Key = Union[str, bytes]
# Times beyond the year 9999 are a mistake in units (milliseconds); infinity and NaN are none at all.
LAST_TIME = 253_402_300_800.0
EXPIRY = struct.Struct(">d")


class Entry(NamedTuple):
    """One value in a store, as `Store.entries` gives it."""

    key: bytes
    value: bytes
    expires_at: float
    """In seconds since the epoch."""


class Store(ABC):
    """Values (`bytes`) under keys (`bytes`, or `str` taken as UTF-8), of any length and content, until they expire.

    Under each key are any number of values, the newest first. Any thread may call any method at any time, a child
    process too after a fork. A store may lose values, but never hands one out twice by `take`, nor one that has
    expired. Times are seconds since the epoch.

    Every failure to do what was asked, and every call after `close`, is `sslsession.errors.StoreError`; a wrong
    argument is TypeError or ValueError. Stores of your own: subclass this, and run
    `sslsession.stores.contract.StoreContract` on it.
    """

    timeout: float | None = None
    """The longest that a method waits, at each step, for something outside the process, in seconds (infinity: as long
    as it takes); None: it never waits."""

    is_remote: bool = False
    """Whether others than this user could write what `take` returns: who can may stand in the middle of connections."""

    sealed: bool = False
    """Whether the values are encrypted and authenticated where they are kept."""

    @abstractmethod
    def add(self, key: Key, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        """Put `value` before what is under `key`; of that, the newest `keep` values remain.

        From `expires_at` on the value is not there any more.
        """

    @abstractmethod
    def peek(self, key: Key) -> bytes | None:
        """The newest value under `key` that has not expired; it stays. None if there is none."""

    @abstractmethod
    def take(self, key: Key) -> bytes | None:
        """The newest value under `key` that has not expired, removed; None if there is none.

        Of all callers in all threads, processes and hosts exactly one gets each value.
        """

    @abstractmethod
    def discard(self, key: Key) -> None:
        """Remove all that is under `key`."""

    @abstractmethod
    def purge(self, now: float | None = None) -> int:
        """Remove what has expired by `now` (None: by the store's clock); how many values that were.

        Nothing else needs it: what has expired is never returned, and stores are bounded, or expire by themselves.
        """

    @abstractmethod
    def clear(self) -> None:
        """Remove all that is this store's."""

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """All that has not expired, in no order but newest first under each key; other calls may go on meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def as_key(key: Key) -> bytes:
    """`key` as bytes; TypeError if it is neither `str` nor `bytes`."""
    if isinstance(key, bytes):
        return bytes(key)
    if isinstance(key, str):
        return key.encode()
    raise TypeError(f"a key is str or bytes, not {type(key).__name__}")


def checked(key: Key, value: bytes, expires_at: float, keep: int) -> bytes:
    """`key` as bytes; TypeError or ValueError if any of what `Store.add` was given is wrong."""
    if not isinstance(value, bytes):
        raise TypeError(f"a value is bytes, not {type(value).__name__}")
    if not -LAST_TIME < expires_at < LAST_TIME:
        raise ValueError(
            f"expires_at is in seconds since the epoch, before the year 10000; {expires_at!r} is not"
        )
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep!r}")
    return key if key.__class__ is bytes else as_key(key)


def positive(name: str, value: float) -> None:
    """ValueError unless `value`, of the argument `name`, is more than nothing."""
    if not value > 0:
        raise ValueError(f"{name} must be more than 0, not {value!r}")


def closed(store: object) -> NoReturn:
    """Raise what a call after `close` raises."""
    raise StoreError(f"this {type(store).__name__} was closed; open another one")


class Closed:
    """Takes the place of a lock: what would have been guarded is an error."""

    def __init__(self, store: object) -> None:
        self._kind = type(store).__name__

    def __enter__(self) -> NoReturn:
        raise StoreError(f"this {self._kind} was closed; open another one")

    def __exit__(self, *_: object) -> None:
        """Never reached."""
