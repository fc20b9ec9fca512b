"""SQLiteStore: many processes, kills, forks; files of others, other versions and damage are one clear error."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from helpers.children import run_python
from helpers.stores import PATIENT
from sslsession.errors import StoreError
from sslsession.stores import SQLiteStore

LATER = time.time() + 1000
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


def opened(path, **settings):
    return SQLiteStore(path, **{"timeout": PATIENT, **settings})


def test_what_was_added_is_there_when_it_is_opened_again(path):
    with opened(path) as store:
        store.add(b"key", b"value", expires_at=LATER)
    with opened(path) as store:
        assert store.take(b"key") == b"value"
    with opened(path) as store:
        assert store.take(b"key") is None


def test_there_are_never_more_than_max_entries_and_the_first_to_expire_go(path):
    with opened(path, max_entries=5) as store:
        for number in (3, 9, 1, 8, 2, 7, 4, 6, 5, 0):
            store.add(b"%d" % number, b"value", expires_at=LATER + number)
        assert {entry.key for entry in store.entries()} == {b"9", b"8", b"7", b"6", b"5"}
    with opened(path, max_entries=2) as store:
        store.add(b"new", b"value", expires_at=LATER + 20)
        assert {entry.key for entry in store.entries()} == {b"9", b"new"}


def test_the_number_of_entries_is_kept_whatever_removes_them(path):
    with opened(path) as store:
        for number in range(10):
            store.add(b"%d" % (number % 5), b"value", expires_at=LATER - number, keep=2)
        store.take(b"1")
        store.discard(b"2")
        assert store.purge(LATER - 8) == 2
        rows = store._connection.execute("SELECT count(*), (SELECT entries FROM state) FROM entry").fetchone()
        assert rows == (5, 5)
        store.clear()
        assert store._connection.execute("SELECT entries FROM state").fetchone() == (0,)


def test_a_repr_shows_the_path_alone(path):
    with opened(path) as store:
        store.add(b"key", b"value", expires_at=LATER)
        assert repr(store) == f"<SQLiteStore {str(path)!r}>"


@pytest.mark.parametrize("wrong", [{"max_entries": 0}, {"timeout": 0}])
def test_bounds_are_more_than_nothing(path, wrong):
    with pytest.raises(ValueError, match="more than 0"):
        SQLiteStore(path, **wrong)


def test_a_finalizer_in_the_middle_of_a_write_writes_too(path):
    with opened(path) as store:

        def clock():
            if store._connection.in_transaction:
                store.add(b"other", b"value", expires_at=LATER)
            return time.time()

        store._clock = clock
        with store._using() as execute:
            execute("BEGIN IMMEDIATE")
            clock()
            execute("COMMIT")
        assert store.take(b"other") == b"value"


# Other processes


def test_another_process_that_writes_for_too_long_is_an_error_that_says_so(path):
    with opened(path) as other, SQLiteStore(path, timeout=0.01) as store:
        other.add(b"key", b"value", expires_at=LATER)
        other._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"another process wrote for longer than 0\.01 s"):
            store.take(b"key")
        assert store.peek(b"key") == b"value"
        other._connection.execute("COMMIT")
        assert store.take(b"key") == b"value"


TAKER = """
    import sys
    from sslsession.stores import SQLiteStore
    store = SQLiteStore(sys.argv[1], timeout=300)
    print("ready", flush=True)
    sys.stdin.readline()
    taken = []
    while True:
        value = store.take(b"key %d" % (int(sys.argv[2]) % 10))
        if value is None:
            for number in range(10):
                value = store.take(b"key %d" % number)
                if value is not None:
                    break
            else:
                break
        taken.append(value.decode())
    print(" ".join(taken))
"""


def takers(path, processes):
    """What each of so many processes took, that all started at once."""
    code = "\n".join(line[4:] for line in TAKER.splitlines())
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        taken = [child.stdout.read().split() for child in children]
        assert [child.wait() for child in children] == [0] * processes
        return taken
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


@forks
def test_many_processes_may_open_a_new_file_at_once(tmp_path):
    """SQLite refuses WAL mode to one of two that set it at the same moment, however long it could have waited."""
    run_python(
        """
        import os, sys, time
        from sslsession.stores import SQLiteStore

        def open_it(path, at):
            while time.time() < at:
                pass
            SQLiteStore(path).close()

        for number in range(40):
            at, children = time.time() + 0.02, []
            for _ in range(6):
                children.append(os.fork())
                if not children[-1]:
                    open_it(f"{sys.argv[1]}/{number}/store.db", at)
                    os._exit(0)
            assert not any([os.waitpid(child, 0)[1] for child in children]), number
        """,
        args=[tmp_path],
    )


@pytest.mark.parametrize(
    ("processes", "tickets"), [(4, 400), pytest.param(32, 10_000, marks=pytest.mark.soak)]
)
def test_each_ticket_goes_to_exactly_one_of_many_processes(path, processes, tickets):
    with opened(path) as store:
        for number in range(tickets):
            store.add(b"key %d" % (number % 10), b"%d" % number, expires_at=LATER, keep=tickets)
    taken = takers(path, processes)
    assert sorted(int(each) for mine in taken for each in mine) == list(range(tickets))


def test_many_processes_can_make_the_file_at_once(tmp_path):
    assert takers(tmp_path / "new" / "store.db", 6) == [[]] * 6


def test_a_process_that_was_killed_while_it_wrote_leaves_the_file_whole(path):
    code = """if True:
        import sys, time
        from sslsession.stores import SQLiteStore
        store = SQLiteStore(sys.argv[1], timeout=60)
        later = time.time() + 1000
        number = 0
        while True:
            store.add(b"%d" % number, b"value" * 100, expires_at=later)
            print(number, flush=True)
            number += 1
    """
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
            for line in child.stdout:
                if int(line) >= 100:
                    child.kill()
                    break
            written = max(
                int(each)
                for each in [line, *child.stdout.read().splitlines(keepends=True)]
                if each.endswith(b"\n")
            )
        with opened(path) as store:
            assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            keys = {entry.key for entry in store.entries()}
            assert keys >= {b"%d" % number for number in range(written + 1)}
            store.clear()


@forks
def test_parent_and_child_each_have_a_connection_of_their_own(path):
    run_python(
        """
        import os, sys, time
        from sslsession.stores import SQLiteStore
        later = time.time() + 1000
        store = SQLiteStore(sys.argv[1], timeout=60)
        for number in range(200):
            store.add(b"key", b"%d" % number, expires_at=later, keep=200)
        read, write = os.pipe()
        pid = os.fork()
        mine = []
        while (value := store.take(b"key")) is not None:
            mine.append(int(value))
        if not pid:
            os.write(write, repr(mine).encode())
            store.close()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        os.close(write)
        theirs = eval(open(read).read())
        assert sorted(mine + theirs) == list(range(200)), (mine, theirs)
        """,
        args=[path],
    )


@forks
def test_a_connection_that_came_through_a_fork_is_neither_used_nor_closed(path, monkeypatch):
    with opened(path) as store:
        store.add(b"key", b"value", expires_at=LATER)
        inherited, pid = store._connection, os.getpid()
        monkeypatch.setattr("sslsession.stores.sqlite._inherited", kept := [])
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: pid + 1)
            assert store.peek(b"key") == b"value"
            assert store._connection is not inherited
            assert kept == [inherited]
            assert inherited.execute("SELECT 1").fetchone() == (1,)
            store.close()
        inherited.close()


@forks
def test_a_fork_while_a_thread_writes_hurts_neither(path):
    run_python(
        """
        import os, sys, threading, time, warnings
        from sslsession.stores import SQLiteStore
        warnings.simplefilter("ignore", DeprecationWarning)
        later = time.time() + 1000
        store = SQLiteStore(sys.argv[1], timeout=60)
        end = threading.Event()
        written = []
        def write():
            while not end.is_set():
                store.add(b"%d" % len(written), b"value", expires_at=later)
                written.append(None)
        thread = threading.Thread(target=write)
        thread.start()
        for number in range(10):
            pid = os.fork()
            if not pid:
                store.add(b"child %d" % number, b"value", expires_at=later)
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        end.set()
        thread.join()
        assert len(list(store.entries())) == len(written) + 10
        assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        """,
        args=[path],
    )


# Files that are not ours, or not whole


def test_another_programs_database_is_refused_and_not_touched(path):
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE entry (id, key, expires_at, value)")
    theirs.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        opened(path)
    assert path.read_bytes() == before


def test_another_versions_file_is_refused(path):
    with opened(path) as store:
        store._connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="is of version 2, and this sslsession reads version 1 alone"):
        opened(path)


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"no database " * 100)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="no SQLite database, or damaged"):
        opened(path)


def read(path):
    with opened(path) as store:
        list(store.entries())
        store.take(b"1")


def test_a_damaged_file_is_an_error_that_says_so(path):
    with opened(path) as store:
        for number in range(500):
            store.add(b"%d" % number, b"value" * 50, expires_at=LATER)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    with pytest.raises(StoreError, match=r"damaged|failed|not ours"):
        read(path)


def test_a_file_that_lost_its_tables_is_an_error_that_says_so(path):
    with opened(path) as store:
        store._connection.execute("DROP TABLE entry")
        with pytest.raises(StoreError, match="its tables are not ours"):
            store.take(b"1")


def test_a_disk_that_is_full_is_an_error_that_says_so(path):
    with opened(path) as store:
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="no space is left"):
            store.add(b"key", bytes(100_000), expires_at=LATER)
        store.add(b"key", b"value", expires_at=LATER)
        assert store.take(b"key") == b"value"


def test_a_file_that_cannot_be_written_is_an_error_that_says_so(path):
    with opened(path) as store:
        store.add(b"key", b"value", expires_at=LATER)
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="cannot be written to"):
            store.take(b"key")
        assert store.peek(b"key") == b"value"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_a_read_only_file_is_an_error_that_says_so():
    run_python(
        """
        import os, sqlite3
        from sslsession.errors import StoreError
        from sslsession.stores import SQLiteStore
        from sslsession.stores import _files
        os.chown(".", 65534, 65534)
        os.chmod(".", 0o700)
        os.setgid(65534), os.setuid(65534)
        SQLiteStore("store.db").close()
        os.chmod("store.db", 0o400)
        try:
            SQLiteStore("store.db").add(b"key", b"value", expires_at=9e9)
        except StoreError as error:
            assert "cannot be written to" in str(error), error
        else:
            raise AssertionError
        os.chmod("store.db", 0o600)
        os.chmod(".", 0o500)
        try:
            SQLiteStore("new/store.db")
        except StoreError as error:
            assert "choose another path" in str(error), error
        else:
            raise AssertionError
        """
    )


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_a_signal_in_the_middle_leaves_it_usable(path):
    """In a process that coverage does not watch: an exception inside of its lock would leave that held for ever."""
    run_python(
        """
        import signal, sys
        from sslsession.stores import SQLiteStore

        class Interrupted(Exception):
            pass

        def interrupt(*_):
            raise Interrupted

        signal.signal(signal.SIGALRM, interrupt)
        with SQLiteStore(sys.argv[1]) as store:
            for _ in range(20):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.002)
                    # Bounded, for a signal that comes within a finalizer raises nothing here.
                    for _ in range(1000):
                        store.add(b"key", b"value", expires_at=2**37)
                except Interrupted:
                    assert not store._connection.in_transaction
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert store.take(b"key") == b"value"
        """,
        args=[path],
        env={"COVERAGE_PROCESS_CONFIG": None, "COVERAGE_PROCESS_START": None},
    )
