"""Entries on their way from one store to another: in one place at a time, and back where they were if they fail."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sslsession import _peers
from sslsession.cli import _cache_servers, _cache_text
from sslsession.cli._cache_servers import SHARED
from sslsession.cli._cache_text import OURS, SESSION, TICKET, plural
from sslsession.errors import InvalidSession, StoreError
from sslsession.session import Session
from sslsession.stores import Entry, Store

KEEP = 2**31 - 1
"""How many tickets of a peer to keep: all. The cache that uses them knows how many it wants."""
UNKNOWN_LIFETIME = 604_800
"""Seconds (RFC 8446 4.6.1), for what says nothing itself."""
SHOWN_FROM = 50
"""Entries that are worth a progress bar."""


class Transfer:
    """All that can be used of one store on its way to another.

    ``with_keys``: servers' key rings and withdrawal lists are copied as well. Their sessions stay where servers are.
    """

    def __init__(self, source: Store, *, with_keys: bool = False) -> None:
        self.moved: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        """What is none of ours, or cannot be used, stays where it is."""
        self.there = 0
        self.lost = 0
        self._source = source
        self._found: dict[bytes, dict[bytes, float]] = {}
        self._kinds: dict[bytes, str] = {}
        self._shared: list[Entry] = []
        for entry in source.entries():
            row = _cache_text.read(entry)
            if row.kind in OURS:
                self._found.setdefault(entry.key, {})[_digest(entry.value)] = entry.expires_at
                self._kinds[entry.key] = row.kind
            elif with_keys and row.kind in SHARED:
                self._shared.append(entry)
            else:
                self.left[row.kind] += 1

    def run(self, target: Store, *, quiet: bool) -> None:
        """Moves and copies. Errors: :class:`StoreError`; what did not arrive is back where it was."""
        total = sum(map(len, self._found.values()))
        try:
            for entry in self._shared:
                _cache_servers.merge(entry, target, time.time())
                self.moved[_cache_text.read(entry).kind] += 1
            with _progress(total, wanted=not quiet) as step:
                for key, found in self._found.items():
                    if self._kinds[key] == TICKET:
                        self._move(key, found, target)
                    else:
                        self._copy(key, found, target)
                    step(len(found))
        except StoreError as error:
            done = _cache_text.summary(self.moved) or "nothing"
            lost = f", and {plural(self.lost, 'ticket')} could not be put back" if self.lost else ""
            raise StoreError(f"{error}; {done} had arrived by then{lost}") from error

    def _copy(self, key: bytes, found: dict[bytes, float], target: Store) -> None:
        if target.peek(key) is not None:
            self.there += 1
            return
        value = self._source.peek(key)
        entry = self._entry(key, value, found) if value is not None else None
        if entry is not None and _cache_text.read(entry).kind == SESSION:
            target.add(key, entry.value, expires_at=entry.expires_at)
            self.moved[SESSION] += 1

    def _move(self, key: bytes, found: dict[bytes, float], target: Store) -> None:
        taken: list[Entry] = []
        unusable: list[Entry] = []
        try:
            # No more than were found: what others add meanwhile comes to the front.
            while len(taken) < len(found) and (value := self._source.take(key)) is not None:
                entry = self._entry(key, value, found)
                (taken if _cache_text.read(entry).kind == TICKET else unusable).append(entry)
        finally:
            try:
                self._deliver(taken, target)
            finally:
                self._put_back(unusable)

    def _deliver(self, taken: list[Entry], target: Store) -> None:
        """``taken`` is newest first, and arrives so."""
        try:
            while taken:
                _add(target, taken[-1])
                taken.pop()
                self.moved[TICKET] += 1
        except BaseException:
            if taken and _has(target, taken[-1]):  # its answer was lost, or came too late
                taken.pop()
                self.moved[TICKET] += 1
            self._put_back(taken)
            raise

    def _put_back(self, taken: list[Entry]) -> None:
        for entry in reversed(taken):
            try:
                _add(self._source, entry)
            except StoreError:
                self.lost += 1

    @staticmethod
    def _entry(key: bytes, value: bytes, found: dict[bytes, float]) -> Entry:
        expires_at = found.get(_digest(value))
        if expires_at is None:  # it came since
            try:
                expires_at = Session.from_bytes(_peers.unpack(key, value)).expires_at
            except InvalidSession:
                expires_at = time.time() + UNKNOWN_LIFETIME
        return Entry(key, value, expires_at)


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def _add(store: Store, entry: Entry) -> None:
    store.add(entry.key, entry.value, expires_at=entry.expires_at, keep=KEEP)


def _has(store: Store, entry: Entry) -> bool:
    try:
        return store.peek(entry.key) == entry.value
    except StoreError:
        return False


@contextlib.contextmanager
def _progress(total: int, *, wanted: bool) -> Iterator[Callable[[int], object]]:
    """A bar on standard error where that is a terminal, and there is something to wait for."""
    console = Console(stderr=True)
    shown = wanted and console.is_terminal and total >= SHOWN_FROM
    columns = (TextColumn("sessions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task("", total=total)
        yield lambda number: bar.update(task, advance=number)
