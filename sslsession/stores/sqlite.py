"""Values in one SQLite file, which any number of processes of one user share.

The file is in WAL mode: readers never wait, writers wait for one another, and a process that is killed loses nothing
that was written. A take is one DELETE statement, so of all processes one gets the row. Without a secret the values
are in the clear, and protected by the modes of the file and of its directory alone; `EncryptedStore` seals them.

Sources: https://sqlite.org/wal.html, https://sqlite.org/howtocorrupt.html (section 2.6 on forks).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sslsession.errors import StoreError
from sslsession.stores import _fork
from sslsession.stores._files import private_file
from sslsession.stores._sqlite_text import APPLICATION_ID, SETUP, VERSION, store_error
from sslsession.stores.base import Entry, Key, Store, as_key, checked, closed, positive

# Setting up a file, or recovering it after a crash, excludes all others for a moment; that once one may wait longer.
SETUP_TIMEOUT = 10.0
SLICE = 500
HAS_RETURNING = sqlite3.sqlite_version_info >= (3, 35)

FIND = "SELECT id FROM entry WHERE key = ? AND expires_at > ? ORDER BY id DESC LIMIT 1"
PEEK = FIND.replace("id", "value", 1)
TAKE = f"DELETE FROM entry WHERE id = ({FIND}) RETURNING value"  # noqa: S608
TRIM = """DELETE FROM entry WHERE key = ?
    AND id <= (SELECT id FROM entry WHERE key = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"""
EVICT = "DELETE FROM entry WHERE id IN (SELECT id FROM entry ORDER BY expires_at LIMIT ?)"

# Connections that came through a fork. SQLite forbids a child to use them, and even to close them.
_inherited: list[sqlite3.Connection] = []


class SQLiteStore(Store):
    """Values in the file at `path`, shared by all processes that name it; bounded, the first to expire goes first.

    The file is made if it is not there, with mode 0600, in a directory that is made with mode 0700 if it is not there.
    StoreError if others than this user could read or replace it, if it is another program's or another version's,
    damaged or read-only, if the disk is full, or if another process wrote for longer than `timeout`.
    A copy of the file that is put back brings values back that were taken. Not on network file systems.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_entries: int = 100_000,
        timeout: float = 0.05,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`timeout`: how long, in seconds, a write waits for other processes' writes."""
        positive("max_entries", max_entries)
        positive("timeout", timeout)
        self.timeout: float = timeout
        self._max_entries = max_entries
        self._clock = clock
        # A finalizer that garbage collection runs may call this store while it holds the lock.
        self._lock = threading.RLock()
        self._is_closed = False
        self._is_used = False
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._forking = False
        self._path = private_file(Path(path))
        with self._using():
            """Opened now, for its errors to come now."""
        _fork.tell(self)

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self._path)!r}>"

    def add(self, key: Key, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        """See `Store.add`."""
        key = checked(key, value, expires_at, keep)
        with self._using() as execute, _transaction(self._connection):
            execute("INSERT INTO entry (key, expires_at, value) VALUES (?, ?, ?)", (key, expires_at, value))
            execute(TRIM, (key, key, keep))
            ((entries,),) = execute("SELECT entries FROM state")
            if entries > self._max_entries:
                execute(EVICT, (entries - self._max_entries,))

    def peek(self, key: Key) -> bytes | None:
        """See `Store.peek`."""
        with self._using() as execute:
            return _first(execute(PEEK, (as_key(key), self._clock())))

    def take(self, key: Key) -> bytes | None:
        """See `Store.take`; exactly one thread of one process that has the file open gets each value."""
        wanted = (as_key(key), self._clock())
        with self._using() as execute:
            if HAS_RETURNING:
                return _first(execute(TAKE, wanted))
            with _transaction(self._connection):
                value = _first(execute(PEEK, wanted))
                execute(f"DELETE FROM entry WHERE id = ({FIND})", wanted)  # noqa: S608
                return value

    def discard(self, key: Key) -> None:
        """See `Store.discard`."""
        with self._using() as execute:
            execute("DELETE FROM entry WHERE key = ?", (as_key(key),))

    def purge(self, now: float | None = None) -> int:
        """See `Store.purge`."""
        now = self._clock() if now is None else now
        with self._using() as execute, _transaction(self._connection):
            ((before,),) = execute("SELECT entries FROM state")
            execute("DELETE FROM entry WHERE expires_at <= ?", (now,))
            ((after,),) = execute("SELECT entries FROM state")
            return int(before - after)

    def clear(self) -> None:
        """See `Store.clear`; the file stays."""
        with self._using() as execute:
            execute("DELETE FROM entry")

    def entries(self) -> Iterator[Entry]:
        """See `Store.entries`; the newest first, read in parts, so that writers go on meanwhile."""
        with self._using() as execute:
            ((last,),) = execute("SELECT coalesce(max(id), 0) + 1 FROM entry")
        return self._entries(last)

    def close(self) -> None:
        """Close the file; in a process that was forked meanwhile, the one that it opened itself."""
        with self._lock:
            self._is_closed = True
            self._let_go()

    def before_fork(self) -> None:
        """Close the file: SQLite's locks are the process's, and a child would believe that it has them too."""
        self._forking = self._lock.acquire(timeout=max(self.timeout, 1))
        if self._forking and self._connection is not None and not self._connection.in_transaction:
            self._let_go()

    def after_fork_in_parent(self) -> None:
        """It is opened again when it is needed."""
        if self._forking:
            self._forking = False
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """The same; the lock may be held by a thread that does not live on."""
        self._forking = self._is_used = False
        self._lock = threading.RLock()

    def _entries(self, last: int) -> Iterator[Entry]:
        while True:
            with self._using() as execute:
                rows = execute(
                    "SELECT id, key, value, expires_at FROM entry WHERE id < ? ORDER BY id DESC LIMIT ?",
                    (last, SLICE),
                )
            if not rows:
                return
            now = self._clock()
            for last, key, value, expires_at in rows:  # noqa: B007
                if expires_at > now:
                    yield Entry(key, value, expires_at)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._pid != os.getpid():
            _inherited.append(connection)
            return
        try:
            connection.close()
        except sqlite3.Error:
            pass  # what was written is written

    @contextmanager
    def _using(self) -> Iterator[Callable[..., list[Any]]]:
        """What executes a statement and gives its rows, while no other thread does; its errors are StoreErrors."""
        if not self._lock.acquire(timeout=self.timeout):
            raise StoreError(
                f"{self._path}: another thread used it for longer than {self.timeout} s; try again"
            )
        within = self._is_used
        try:
            self._is_used = True
            if self._is_closed:
                closed(self)
            if self._connection is None or self._pid != os.getpid():
                self._let_go()
                self._connection = self._opened()
                self._pid = os.getpid()
            connection = self._connection
            yield lambda sql, values=(): connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise store_error(self._path, error, self.timeout) from error
        finally:
            # An exception may come anywhere, from a signal; a write left open would stop all other processes.
            self._is_used = within
            if not within and self._connection is not None and self._connection.in_transaction:
                self._connection.rollback()
            self._lock.release()

    def _opened(self) -> sqlite3.Connection:
        """A new connection to the file, which is ours, of this version and in WAL mode."""
        private_file(self._path)
        connection = sqlite3.connect(
            self._path, timeout=SETUP_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        def ask(pragma: str) -> Any:
            return connection.execute(f"PRAGMA {pragma}").fetchone()[0]

        if (ask("application_id"), ask("user_version"), ask("schema_version")) == (0, 0, 0):
            # Empty. Of several processes that find it so, one is the first; WAL mode cannot be set in a transaction.
            deadline = time.monotonic() + SETUP_TIMEOUT
            while not _has_wal(connection):
                if time.monotonic() > deadline:
                    raise StoreError(f"{self._path}: no WAL mode here; is it on a network file system?")
            with _transaction(connection):
                if ask("application_id") == 0:
                    for statement in SETUP:
                        connection.execute(statement)
        if ask("application_id") != APPLICATION_ID:
            raise StoreError(f"{self._path} is another program's database; choose another path")
        if (version := ask("user_version")) != VERSION:
            raise StoreError(
                f"{self._path} is of version {version}, and this sslsession reads version {VERSION} alone;"
                " remove the file, or choose another path"
            )
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # what was taken is not left in the file
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA busy_timeout = {max(1, round(self.timeout * 1000))}")


def _has_wal(connection: sqlite3.Connection) -> bool:
    """Whether WAL mode could be set. Of two that set it at once SQLite refuses one, without waiting."""
    try:
        mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return False
    return mode == "wal"


def _first(rows: list[Any]) -> bytes | None:
    return rows[0][0] if rows else None


@contextmanager
def _transaction(connection: sqlite3.Connection | None) -> Iterator[None]:
    """One write of several statements; part of the one that is open, where a finalizer came in between."""
    assert connection is not None  # noqa: S101
    if connection.in_transaction:
        yield
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
