"""A server's process that forks or ends with caches attached and connections open: nothing is said, nothing hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.servers import HAS_RINGS

pytestmark = pytest.mark.binding

START = """
import os, ssl, sys, threading, warnings
import sslsession
from helpers import child_contexts
from helpers.bad_days import FakeStore
from helpers.clients import eventually
from helpers.forks import in_child
from helpers.peers import Pair, connect
from helpers.servers import FULL, RESUMED, earn, offer
from sslsession import ServerSessionCache, TicketKeyRing
from sslsession.stores import MemoryStore, SQLiteStore

warnings.filterwarnings("ignore", category=DeprecationWarning)  # 3.12: threads were running, which is the point
client = child_contexts.client(version=sys.argv[4], check_hostname=False)
server = child_contexts.server()
url = "sqlite://" + sys.argv[5]
"""


def quiet(
    ca: Authority, identity: Identity, version: str, path: Path, code: str, *, expect: int = 0
) -> list[str]:
    """What a child prints, line by line, that must say nothing else and end well."""
    args = [*arguments(ca, identity), version, path / "private" / "sessions.db"]
    done = run_python(START + code, args=args, timeout=60, expect=expect)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
class TestFork:
    def test_children_and_parent_resume_each_other_s(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
    ) -> None:
        """What waited to be written at the fork is the parent's to write, and its threads are its own."""
        code = """
cache = ServerSessionCache(url)
cache.attach(server)
made = [earn(client, server) for _ in range(4)]

def work():
    mine = [earn(client, server) for _ in range(3)]
    cache.flush()
    found = [offer(client, server, each) for each in mine]
    return found, cache.stats()["store_errors"]

print(in_child(work))
print(in_child(lambda: in_child(work)))
cache.flush()
print(in_child(lambda: [offer(client, server, each) for each in made[:2]]))
print([offer(client, server, each) for each in made[2:]], cache.stats()["store_errors"])
cache.close()
"""
        assert quiet(ca, server_identity, tls_version, tmp_path, code) == [
            *["(['resumed', 'resumed', 'resumed'], 0)"] * 2,
            "['resumed', 'resumed']",
            "['resumed', 'resumed'] 0",
        ]

    def test_in_memory_nothing_is_shared(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
    ) -> None:
        """Or each ticket would be good once in each process."""
        code = """
cache = ServerSessionCache()
cache.attach(server)
session = earn(client, server)
print(in_child(lambda: [offer(client, server, session), offer(client, server, earn(client, server))]))
print(offer(client, server, session))
"""
        found = quiet(ca, server_identity, tls_version, tmp_path, code)
        assert found == ["['full', 'resumed']", "resumed"]

    @pytest.mark.skipif(not HAS_RINGS, reason="this OpenSSL has no callback for ticket keys")
    def test_a_ring_is_the_children_s_too(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
    ) -> None:
        code = """
cache, ring = ServerSessionCache(url), TicketKeyRing.random()
for each in (cache, ring):
    each.attach(server)
session, other = earn(client, server), earn(client, server)
print(in_child(lambda: [offer(client, server, session), offer(client, server, earn(client, server))]))
print(offer(client, server, other))
cache.close()
"""
        found = quiet(ca, server_identity, tls_version, tmp_path, code)
        assert found == ["['resumed', 'resumed']", "resumed"]

    def test_children_hear_what_is_withdrawn(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
    ) -> None:
        """By themselves: who looks after that is started again in each."""
        code = """
cache = ServerSessionCache(url)
cache.attach(server)
session, other = earn(client, server), earn(client, server)
cache.flush()
ask, tell = os.pipe()

def work():
    os.read(ask, 1)
    eventually(lambda: cache._withdrawn._set.entries, 10)
    return offer(client, server, session)

def parent():
    cache.revoke(server_name="localhost")
    os.write(tell, b"x")

pid = os.fork()
if not pid:
    status = 1
    try:
        status = 0 if work() == FULL else 2
    finally:
        os._exit(status)
parent()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), offer(client, server, other))
cache.close()
"""
        assert quiet(ca, server_identity, tls_version, tmp_path, code) == ["0 full"]

    def test_while_threads_use_it(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
    ) -> None:
        """No lock of ours that another thread holds at the fork is held for ever in the child.

        The threads make no handshakes: of OpenSSL's own locks, one that is held at the fork stays so.
        """
        code = """
store = FakeStore()
cache = ServerSessionCache(store)
cache.attach(server)
offer(client, server, earn(client, server))  # what Python imports at first, it imports under a lock of its own
stop = threading.Event()

def use():
    while not stop.is_set():
        key = os.urandom(8)
        cache._shelf.put(key, b"value", 2e9, True)
        cache._shelf.get(key, True)
        cache.stats()
        cache._poll()

threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads:
    thread.start()

def work():
    store.__init__()
    found = [offer(client, server, earn(client, server)) for _ in range(3)]
    return " ".join(found), cache.stats()["store_errors"]

print(*{in_child(work) for _ in range(10)})
stop.set()
for thread in threads:
    thread.join()
cache.close()
"""
        found = quiet(ca, server_identity, tls_version, tmp_path, code)
        assert found == ["('resumed resumed resumed', 0)"], "the same in each of ten"

    def test_while_a_write_hangs(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
    ) -> None:
        """It is the parent's, whose handshake did not wait for it any longer: a child waits for its own alone."""
        code = """
store = FakeStore()
cache = ServerSessionCache(store)
cache.attach(server)
sys.unraisablehook = lambda unraisable: None
store.state = "stalled"
mine = earn(client, server)

def work():
    store.__init__()
    made = earn(client, server)
    cache.flush()
    found = offer(client, server, made)
    cache.flush()
    return found, cache.stats()["stored"]

print(*in_child(work))
store.state = "well"
cache.flush()
print(offer(client, server, mine), cache.stats()["dropped"])
cache.close()
"""
        stored = 3 if tls_version == "1.3" else 1
        found = quiet(ca, server_identity, tls_version, tmp_path, code)
        assert found == [f"resumed {stored}", "resumed 0"]


class TestExit:
    @pytest.mark.parametrize(
        "end", ["", "raise SystemExit(0)", "del cache, server", "cache.close()", "sys.exit()"]
    )
    @pytest.mark.parametrize("store", ["None", "url", "FakeStore()"])
    def test_with_connections_open(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path, store: str, end: str
    ) -> None:
        """Some done, some in the middle of a handshake."""
        code = f"""
cache = ServerSessionCache({store})
cache.attach(server)
session = earn(client, server)
done = [connect(client, server, session=session) for _ in range(3)]
begun = [Pair(client, server, session=session) for _ in range(3)]
for pair in begun:
    for side in (pair.client, pair.server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
print("here")
{end}
"""
        assert quiet(ca, server_identity, tls_version, tmp_path, code) == ["here"]

    @pytest.mark.parametrize("end", ["", "del cache, server, client"])
    def test_what_waits_is_written(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path, end: str
    ) -> None:
        """Whether or not anybody closes the cache."""
        code = f"""
cache = ServerSessionCache(url)
cache.attach(server)
for _ in range(10):
    earn(client, server)
{end}
"""
        quiet(ca, server_identity, tls_version, tmp_path, code)
        count = """
with SQLiteStore(sys.argv[5]) as store:
    print(len(list(store.entries())))
"""
        many = quiet(ca, server_identity, tls_version, tmp_path, count)
        assert many == ["20" if tls_version == "1.3" else "10"]

    @pytest.mark.parametrize("state", ["stalled", "down"])
    def test_the_store_does_not_hold_it_up(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path, state: str
    ) -> None:
        code = f"""
store = FakeStore()
cache = ServerSessionCache(store)
cache.attach(server)
sys.unraisablehook = lambda unraisable: None
earn(client, server)
cache.flush()
store.state = "{state}"
pairs = [connect(client, server) for _ in range(3)]
print("here")
"""
        assert quiet(ca, server_identity, tls_version, tmp_path, code) == ["here"]

    def test_threads_in_handshakes(
        self, ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
    ) -> None:
        """Daemon threads that are frozen wherever they are; the store is patient, for they wait for each other too."""
        code = """
cache = ServerSessionCache(url + "?timeout=20")
cache.attach(server)

def work():
    while True:
        offer(client, server, earn(client, server))

for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
eventually(lambda: cache.stats()["resumed"] > 20)
print("here")
"""
        assert quiet(ca, server_identity, tls_version, tmp_path, code) == ["here"]
