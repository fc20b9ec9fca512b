"""The store's side of a cache: never in a handshake's way, and never a reason for one to fail.

A client's sessions are written by one thread, behind a bounded queue; what still waits in it can be taken back. A
server's are written before their ticket goes out. That happens inside a handshake, as looking up does, so somebody else
does it (``_lookups``), and the handshake waits no longer than the store's own ``timeout``: what is found later is kept
for the next one, what is not written by then is written later. A store that failed is left alone for a while
(``_breaker``); what is to be written meanwhile waits in the queue.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple

from sslsession import _peers
from sslsession._breaker import LOOKING, WRITING, Health
from sslsession._events import leave_behind
from sslsession._lookups import LATE, NEVER, Lookups
from sslsession.errors import StoreError
from sslsession.session import Session

QUEUE_MOST = 1024
EXIT_SECONDS = 2.0
ATTEMPTS_MOST = 8
DEFAULT_TIMEOUT = 0.05
"""Seconds, for a store that names none, or has no end to its patience."""
Late = Callable[[bytes, bytes], None]
_inside = threading.local()
"""Of a thread that asks a store: the store's own connection, if an attached context makes it, must not ask again."""


class Write(NamedTuple):
    """What waits to be written; without a value, its key is to be discarded."""

    key: bytes
    value: Session | bytes | None
    expires_at: float
    keep: int
    attempts: int = 0
    single_use: bool = False
    number: int = 0
    """In the order in which they came."""


class Far:
    """A store, and the threads that ask it."""

    def __init__(self, store: Any, owns: bool) -> None:
        self.store = store
        self.timeout = _deadline(getattr(store, "timeout", DEFAULT_TIMEOUT))
        self._owns = owns
        self._health = Health(self.timeout)
        self._start_anew()

    def _start_anew(self) -> None:
        self._changed = self._health.start_anew()
        self._queue: deque[Write] = deque()
        self._writer: threading.Thread | None = None
        self._numbers = itertools.count(1)
        self._told_of = self.counts["dropped"]
        self._under_way: dict[int, float] = {}
        self._closing = False
        self._lookups = Lookups()

    def after_fork(self) -> None:
        """In a child: what waits to be written is the parent's, and so are the threads."""
        leave_behind(self._queue)
        self._start_anew()

    # Writing

    def write(self, key: bytes, session: Session, expires_at: float, keep: int) -> None:
        """Has a session written, some time soon."""
        self._enqueue(Write(key, session, expires_at, keep, single_use=session.single_use))

    def write_bytes(
        self, key: bytes, value: bytes, expires_at: float, single_use: bool, seconds: float = 0
    ) -> None:
        """Has a value written within so many seconds; what is not by then, some time soon. Never raises."""
        write = Write(key, value, expires_at, 1, single_use=single_use)
        if seconds <= 0 or self._closing or getattr(_inside, "asking", False) or not self._takes_writes():
            self._enqueue(write)
            return
        with self._changed:
            write = self._numbered(write)
            self._under_way[write.number] = time.monotonic()
        try:
            how, _ = self._lookups.ask(functools.partial(self._attempt, write), seconds)
        except RuntimeError:  # the interpreter is about to end
            how = NEVER
        if how == NEVER:
            self._enqueue(write)
        elif how == LATE:
            self._takes_writes()  # or nobody says that the store is late until the next one

    def _takes_writes(self) -> bool:
        """Whether a handshake may wait for a write: not where the store failed, or has sat on another for too long."""
        if not self._health.breaker.is_open:
            with self._changed:
                longest = min(self._under_way.values(), default=math.inf)
            self._health.overdue(WRITING, longest)
        return not self._health.breaker.is_open

    def discard(self, key: bytes) -> None:
        """Has all values of a key discarded, and what waits to be written under it."""
        with self._changed:
            self._queue = deque(each for each in self._queue if each.key != key)
            self._enqueue(Write(key, None, 0, 0))

    def _enqueue(self, write: Write) -> None:
        with self._changed:
            self._under_way.pop(write.number, None)
            while len(self._queue) >= QUEUE_MOST:
                self._queue.popleft()
                self.counts["dropped"] += 1
            self._queue.append(self._numbered(write))
            if not self._closing:
                self._start_writer()
            self._changed.notify_all()

    def _numbered(self, write: Write) -> Write:
        return write if write.number else write._replace(number=next(self._numbers))

    def _start_writer(self) -> bool:
        """Under the lock; False where no thread can be started, for the interpreter is about to end."""
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="sslsession-store", daemon=True)
            try:
                self._writer.start()
            except RuntimeError:
                self._writer = None
        return self._writer is not None

    def take_back(self, key: bytes, leave: bool = False) -> Any:
        """The newest value of a key that still waits to be written; unless left, it is written no more."""
        if not self._queue:
            return None
        with self._changed:
            for write in reversed(self._queue):
                if write.key == key:
                    if write.value is not None and not leave:
                        self._queue.remove(write)
                    return write.value
        return None

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._closing and self._pause() != 0:
                    self._changed.wait(self._pause())
                if self._closing and not self._queue:
                    return
            if not self._write_one() and self._closing:
                return

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None: nothing is."""
        return self._health.breaker.wait(time.monotonic()) if self._queue else None

    def _write_one(self) -> bool:
        """Writes the oldest that waits; whether that worked."""
        with self._changed:
            if not self._queue:
                return True
            self._health.breaker.allows(time.monotonic())
            write = self._queue.popleft()
            self._under_way[write.number] = time.monotonic()
        return self._attempt(write)

    def _attempt(self, write: Write) -> bool:
        """Writes what is under way; whether that worked."""
        worked, began = False, time.monotonic()
        try:
            self._perform(write)
            worked = True
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._health.failed(error, WRITING, began)
        finally:
            with self._changed:
                self._under_way.pop(write.number, None)
                if worked:
                    self.counts["stored"] += write.value is not None
                    self._health.worked(WRITING)
                else:
                    self._try_again(write)
                self._changed.notify_all()
        return worked

    def _try_again(self, write: Write) -> None:
        """A ticket may have arrived although the store failed, and is not written again: it would be used twice.

        Others wait behind what they do not belong before, so that one that the store will never take holds up nothing.
        """
        again = write._replace(attempts=write.attempts + 1)
        if write.single_use or again.attempts >= ATTEMPTS_MOST or len(self._queue) >= QUEUE_MOST:
            self.counts["dropped"] += write.value is not None
        elif any(each.key == write.key for each in self._queue):
            self._queue.appendleft(again)
        else:
            self._queue.append(again)
        if self._queue and not self._closing:
            self._start_writer()

    def _perform(self, write: Write) -> None:
        with _asking():
            if write.value is None:
                self.store.discard(write.key)
                return
            value = (
                write.value
                if isinstance(write.value, bytes)
                else _peers.pack(write.key, write.value.to_bytes())
            )
            self.store.add(write.key, value, expires_at=write.expires_at, keep=write.keep)

    # Looking up

    def fetch(
        self, verbs: Sequence[tuple[str, bytes]], late: Late, seconds: float | None = None
    ) -> tuple[bytes, bytes] | None:
        """The key and value that the first of these (``take`` or ``peek``, key) finds, within the store's timeout, or
        within so many seconds.

        Never raises. What is found later goes to ``late``.
        """
        seconds = self.timeout if seconds is None else seconds
        if self._closing or getattr(_inside, "asking", False) or (seconds is not None and seconds <= 0):
            return None
        began = time.monotonic()
        if not self._health.breaker.allows(began):
            return None
        if self.timeout is None or seconds is None:
            return self._look(verbs)
        try:
            look = functools.partial(self._look, verbs)
            how, found = self._lookups.ask(look, seconds, functools.partial(_deliver, late))
        except RuntimeError:  # the interpreter is about to end
            return None
        if how == LATE:
            self._health.overdue(LOOKING, began)
        return found  # type: ignore[no-any-return]

    def _look(self, verbs: Sequence[tuple[str, bytes]]) -> tuple[bytes, bytes] | None:
        began = time.monotonic()
        try:
            with _asking():
                for verb, key in verbs:
                    value = self.store.take(key) if verb == "take" else self.store.peek(key)
                    if value is not None:
                        self._health.worked(LOOKING)
                        return key, value
            self._health.worked(LOOKING)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a store of the user's own may raise anything
            self._health.failed(error, LOOKING, began)
        return None

    # Ending

    @property
    def counts(self) -> Counter[str]:
        """``stored``, ``dropped``, ``store_errors``."""
        return self._health.counts

    def refused(self, error: Exception) -> None:
        """The store gave what is no session: the others of that key may be good."""
        self._health.refused(error)

    def __len__(self) -> int:
        return len(self._queue)

    def flush(self) -> None:
        """Waits until what waits by now is written. Errors: :class:`StoreError` where the store does not take it."""
        with self._changed:
            wanted = self._unwritten()
            while wanted and not self._closing:
                if self._health.failure is not None and not self._under_way:
                    raise StoreError(
                        f"{len(self._queue)} sessions wait to be written, and the store fails: {self._health.failure}"
                    ) from self._health.failure
                self._changed.wait(1)
                wanted &= self._unwritten()
            lost, self._told_of = self.counts["dropped"] - self._told_of, self.counts["dropped"]
            if lost and self._health.failure is not None:
                raise StoreError(
                    f"{lost} sessions were not written and are lost: {self._health.failure}"
                ) from self._health.failure

    def _unwritten(self) -> set[int]:
        return {*self._under_way, *(each.number for each in self._queue)}

    def close(self) -> None:
        """Writes what waits, as far as the store takes it within two seconds, and ends the threads."""
        until = time.monotonic() + EXIT_SECONDS
        with self._changed:
            if self._closing:
                return
            self._closing = True
            writer = self._writer if not self._queue or self._start_writer() else None
            self._changed.notify_all()
        if writer is None:
            self._write_all()
        elif writer is not threading.current_thread():
            writer.join(EXIT_SECONDS)
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, max(0, until - time.monotonic()))
            self.counts["dropped"] += len(self._queue)
            self._queue.clear()
        if self._lookups.close(max(0, until - time.monotonic())) and self._owns and not self._under_way:
            self.store.close()


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    outer, _inside.asking = getattr(_inside, "asking", False), True
    try:
        yield
    finally:
        _inside.asking = outer


def _deadline(timeout: float | None) -> float | None:
    return DEFAULT_TIMEOUT if timeout is not None and not 0 < timeout < threading.TIMEOUT_MAX else timeout


def _deliver(late: Late, found: tuple[bytes, bytes] | None) -> None:
    if found is not None:
        late(*found)
