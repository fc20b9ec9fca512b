"""The interpreter's exit with caches attached and connections open: nothing is said, and what is near is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python

pytestmark = pytest.mark.binding

START = """
import os, sys, threading
import sslsession
from helpers import child_contexts
from helpers.bad_days import FakeStore
from helpers.clients import visit
from helpers.peers import Pair, connect
from sslsession import ClientSessionCache
from sslsession.stores import SQLiteStore

path = sys.argv[4]
client, server = child_contexts.client(), child_contexts.server()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "sessions.db"


def quiet(ca: Authority, identity: Identity, path: Path, code: str, expect: int = 0) -> str:
    """What a child prints that must say nothing else and end well."""
    done = run_python(START + code, args=[*arguments(ca, identity), path], timeout=30, expect=expect)
    assert done.stderr == ""
    return done.stdout


class TestNothingIsLost:
    @pytest.mark.parametrize("end", ["", "raise SystemExit", "cache.close()", "del cache, client"])
    def test_the_next_process_resumes(
        self, ca: Authority, server_identity: Identity, path: Path, tls_version: str, end: str
    ) -> None:
        """The near ticket and what waits are written at the end, whether or not anybody closes the cache."""
        code = f"""
client = child_contexts.client(version="{tls_version}")
cache = ClientSessionCache(f"sqlite://{{path}}")
cache.attach(client)
done = visit(client, server)
print(cache.stats()["kept"])
{end}
"""
        kept = int(quiet(ca, server_identity, path, code))
        counted = quiet(
            ca,
            server_identity,
            path,
            """
with SQLiteStore(path) as store:
    print(len(list(store.entries())))
""",
        )
        assert int(counted) == kept

    def test_writers_that_are_busy_at_the_end(
        self, ca: Authority, server_identity: Identity, path: Path
    ) -> None:
        code = """
cache = ClientSessionCache(f"sqlite://{path}", tickets_per_peer=1000)
cache.attach(client)
for _ in range(30):
    visit(client, server)
stats = cache.stats()
print(stats["kept"] - stats["offered"])
"""
        left = int(quiet(ca, server_identity, path, code))
        counted = quiet(
            ca,
            server_identity,
            path,
            "with SQLiteStore(path) as store:\n    print(len(list(store.entries())))\n",
        )
        assert int(counted) == left

    def test_a_cache_without_a_store(self, ca: Authority, server_identity: Identity, path: Path) -> None:
        quiet(
            ca,
            server_identity,
            path,
            """
cache = ClientSessionCache()
cache.attach(client)
pairs = [connect(client, server) for _ in range(3)]
""",
        )

    def test_the_process_wide_cache(self, ca: Authority, server_identity: Identity, path: Path) -> None:
        quiet(
            ca,
            server_identity,
            path,
            """
sslsession.inject_into_ssl()
client = child_contexts.client()
pairs = [connect(client, server) for _ in range(3)]
""",
        )


class TestOpenConnections:
    def test_finished_half_open_and_unread(
        self, ca: Authority, server_identity: Identity, path: Path
    ) -> None:
        quiet(
            ca,
            server_identity,
            path,
            """
cache = ClientSessionCache(f"sqlite://{path}")
cache.attach(client)
done = [connect(client, server) for _ in range(3)]
half_open = Pair(client, server)
try:
    half_open.client.do_handshake()
except Exception:
    pass
unread = Pair(client, server).handshake()
""",
        )

    def test_one_that_is_used_in_an_exit_handler(
        self, ca: Authority, server_identity: Identity, path: Path
    ) -> None:
        """Registered last, it runs first: the cache is still there; registered first, it runs when all is closed."""
        out = quiet(
            ca,
            server_identity,
            path,
            """
import atexit

cache = ClientSessionCache(f"sqlite://{path}")
cache.attach(client)
unread = Pair(client, server).handshake()

@atexit.register
def late():
    unread.exchange(b"late")
    print(visit(client, server).reused)
""",
        )
        assert out == "True\n"

    def test_after_the_last_exit_handler(self, ca: Authority, server_identity: Identity, path: Path) -> None:
        done = run_python(
            """
            import atexit

            @atexit.register
            def last():
                unread.exchange(b"late")
                print(connect(client, server).client.version())

            import sslsession
            from helpers import child_contexts
            from helpers.peers import Pair, connect

            client, server = child_contexts.client(version="1.3"), child_contexts.server()
            cache = sslsession.ClientSessionCache()
            cache.attach(client)
            unread = Pair(client, server).handshake()
            """,
            args=[*arguments(ca, server_identity), path],
        )
        assert (done.stdout, done.stderr) == ("TLSv1.3\n", "")

    @pytest.mark.skipif(
        sys.implementation.name == "pypy", reason="PyPy 8 itself crashes there, also without this library"
    )
    @pytest.mark.parametrize("store", ["None", 'f"sqlite://{path}"'])
    def test_daemon_threads_in_the_middle_of_handshakes(
        self, ca: Authority, server_identity: Identity, path: Path, store: str
    ) -> None:
        quiet(
            ca,
            server_identity,
            path,
            f"""
cache = ClientSessionCache({store})
cache.attach(client)
running = threading.Semaphore(0)

def work():
    while True:
        connect(client, server).close()
        running.release()

for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
for _ in range(40):
    running.acquire()
""",
        )


class TestForks:
    def test_a_child_that_exits_writes_nothing_of_its_parent_s(
        self, ca: Authority, server_identity: Identity, path: Path
    ) -> None:
        out = quiet(
            ca,
            server_identity,
            path,
            """
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
client = child_contexts.client(version="1.3")
cache = ClientSessionCache(f"sqlite://{path}")
cache.attach(client)
visit(client, server)
cache.flush()
pid = os.fork()
if not pid:
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
print(cache.stats()["sessions"])
with SQLiteStore(path) as store:
    print(len(list(store.entries())))
""",
        )
        assert out == "1\n1\n"

    def test_multiprocessing_with_a_cache_in_the_parent(
        self, ca: Authority, server_identity: Identity, path: Path
    ) -> None:
        """fork, with threads of ours running."""
        out = quiet(
            ca,
            server_identity,
            path,
            """
import multiprocessing, warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
cache = ClientSessionCache(f"sqlite://{path}")
cache.attach(client)
visit(client, server)

def work(_):
    return [done.reused for done in (visit(client, server) for _ in range(3))][1:]

with multiprocessing.get_context("fork").Pool(3) as pool:
    results = pool.map(work, range(6))
    pool.close()
    pool.join()
print(set(map(tuple, results)), visit(client, server).reused)
""",
        )
        assert out == "{(True, True)} True\n"
