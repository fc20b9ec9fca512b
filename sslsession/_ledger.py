"""Which TLS 1.3 tickets this process has used, and which sessions a fatal alert withdrew.

Both are known by a digest, never by their bytes. All copies of a ticket share one ``ticket_use`` in C, which the first
handshake to begin wins; this ledger finds it again for a copy that is read from bytes later.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from typing import Any, Callable, Generic, TypeVar

from sslsession import _events
from sslsession._libssl import ffi, lib

REMEMBERED = 65_536
NAMELESS = hashlib.sha256(b"id").digest()
"""The identity of a session with neither ticket nor id: of no session in particular."""
Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """A bounded map from digests that forgets its oldest."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Value] = OrderedDict()
        self.get: Callable[[bytes], Value | None] = self._kept.get

    def put(self, digest: bytes, value: Value) -> Value:
        self._kept[digest] = value
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value

    def __len__(self) -> int:
        return len(self._kept)


_lock = threading.Lock()
_uses: Remembered[Any] = Remembered()
_withdrawn: Remembered[bool] = Remembered()


def identity(pointer: Any) -> bytes:
    """What names a session here: SHA-256 of its ticket, or of its id where it has none."""
    digest = ffi.new("unsigned char[32]")
    if not lib.sslsession_identify(pointer, digest):
        raise MemoryError("OpenSSL has no memory left for a digest")
    return bytes(ffi.buffer(digest))


def use_of(digest: bytes) -> Any:
    """The one ``sslsession_use *`` that all copies of a ticket share."""
    with _lock:
        use = _uses.get(digest)
        if use is None:
            use = _uses.put(digest, ffi.gc(lib.sslsession_use_new(), lib.sslsession_use_free))
        return use


def is_spent(digest: bytes) -> bool:
    """Whether a handshake of this process began with the ticket."""
    use = _uses.get(digest)
    return use is not None and bool(lib.sslsession_use_spent(use))


def is_withdrawn(digest: bytes) -> bool:
    """Whether a connection of the session died of a fatal alert."""
    if lib.sslsession_events_queued(_events.WITHDRAWALS):
        _events.take_withdrawals()
    return _withdrawn.get(digest) is not None


def _on_withdrawn(event: Any) -> list[_events.Task]:
    digest = identity(event.session)
    if digest != NAMELESS:
        _withdrawn.put(digest, True)
    return []


def _new_lock_after_fork() -> None:
    global _lock
    _lock = threading.Lock()


_events.receivers[_events.WITHDRAWN] = _on_withdrawn
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)
