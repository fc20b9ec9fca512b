"""A file that is damaged, full, locked, read-only, gone or of another version; and writers that are killed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.bad_days import NAMES, in_time, stock
from helpers.certs import Authority
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.clients import Home, eventually, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
from sslsession import ClientSessionCache, StoreError
from sslsession.stores import SQLiteStore


@pytest.fixture
def server(ca: Authority) -> ssl.SSLContext:
    return server_context(ca.issue("*.days.example"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "sessions.db"


@pytest.fixture
def home(path: Path, client: ssl.SSLContext, server: ssl.SSLContext) -> Iterator[Home]:
    """Whose sessions are all in the file."""
    with SQLiteStore(path, timeout=10) as patient:
        stock(patient, client, server, NAMES)
    home = Home(SQLiteStore(path))
    yield home
    home.close()
    home.store.close()


def on_a_bad_day(home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """No handshake fails or waits, the error is counted, and what is near resumes."""
    for name in (*NAMES, "new.days.example") * 2:
        in_time(home, client, server, name)
    eventually(lambda: home.cache.stats()["store_errors"] >= 1)
    assert home.cache.stats()["resumed"] >= len(NAMES)


class TestTheFile:
    def test_another_process_has_locked_it(
        self, home: Home, path: Path, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            on_a_bad_day(home, client, server)
            other.execute("ROLLBACK")
        assert 1 <= len(unraisables.errors) <= 3
        assert {type(error) for error in unraisables.errors} == {StoreError}
        eventually(lambda: home.cache.stats()["waiting"] == 0)
        home.restart()
        assert home.visit(client, server, NAMES[0]).reused

    def test_it_is_damaged_while_in_use(
        self, home: Home, path: Path, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        size = path.stat().st_size
        for each in (path, *path.parent.glob("*-wal")):
            each.write_bytes(os.urandom(size))
        on_a_bad_day(home, client, server)
        assert {type(error) for error in unraisables.errors} == {StoreError}

    def test_it_is_damaged_before(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700)
        path.touch(mode=0o600)
        path.write_bytes(os.urandom(5000))
        with pytest.raises(StoreError, match="no SQLite database, or damaged"):
            ClientSessionCache(f"sqlite://{path}")

    def test_it_is_of_another_version(self, home: Home, path: Path, unraisables: Unraisables) -> None:
        home.close()
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version = 99")
        with pytest.raises(StoreError, match="of version 99"):
            ClientSessionCache(f"sqlite://{path}")

    def test_it_is_removed(
        self, home: Home, path: Path, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """As by a cleaner of temporary files: the open one is used until its process ends, a new one is made then."""
        for each in path.parent.iterdir():
            each.unlink()
        for name in NAMES * 2:
            home.visit(client, server, name)
        home.close()
        home.store.close()
        with ClientSessionCache(f"sqlite://{path}") as cache:
            cache.attach(client)
            home.cache.detach(client)
            visit(client, server, NAMES[0])
            assert visit(client, server, NAMES[0]).reused

    @pytest.mark.skipif(os.name != "posix", reason="file modes mean nothing here")
    def test_it_is_read_only(self) -> None:
        """Said when it is opened. Root may write to any file, so that this user is not root meanwhile."""
        nobody = 65534
        with tempfile.TemporaryDirectory() as name:
            if root := os.geteuid() == 0:
                os.chown(name, nobody, -1)
                os.seteuid(nobody)
            try:
                path = Path(name) / "sessions.db"
                SQLiteStore(path).close()
                path.chmod(0o400)
                Path(name).chmod(0o500)
                with pytest.raises(StoreError, match="cannot be written to"):
                    ClientSessionCache(f"sqlite://{path}")
            finally:
                Path(name).chmod(0o700)
                if root:
                    os.seteuid(0)


START = """
import os, sys, threading
import sslsession
from helpers import child_contexts
from helpers.clients import visit
from helpers.openssl_calls import Unraisables
from sslsession.stores import SQLiteStore

client = child_contexts.client(version=sys.argv[5])
store = SQLiteStore(sys.argv[4])
cache = sslsession.ClientSessionCache(store)
cache.attach(client)
"""


@pytest.mark.skipif(os.name != "posix", reason="no limits and no such signals here")
def test_no_space_is_left(
    ca: Authority, server: ssl.SSLContext, server_identity: object, path: Path, tls_version: str
) -> None:
    done = run_python(
        START
        + """
import resource, signal, time

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
server = child_contexts.server()
visit(client, server)
cache.flush()
before = resource.getrlimit(resource.RLIMIT_FSIZE)
# The file is smaller, what is written meanwhile is not.
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
longest = 0
with Unraisables() as unraisables:
    for number in range(60):
        began = time.monotonic()
        visit(client, server, ("localhost", "a.example", "b.example", "127.0.0.1")[number % 4])
        longest = max(longest, time.monotonic() - began)
        if number % 10 == 9 and not cache.stats()["store_errors"]:
            cache.clear()
    pause = threading.Event()
    for _ in range(500):
        if cache.stats()["store_errors"]:
            break
        visit(client, server)
        cache.clear()
        pause.wait(0.01)
    cache.close()
    store.close()
resource.setrlimit(resource.RLIMIT_FSIZE, before)
kinds = {type(error).__name__ for error in unraisables.errors}
print(kinds, longest < 1, cache.stats()["resumed"] > 20)
""",
        args=[*arguments(ca, server_identity), path, tls_version],
    )
    assert (done.stdout, done.stderr) == ("{'StoreError'} True True\n", "")
