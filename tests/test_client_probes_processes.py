"""Two processes, one ticket: a fork, a spawned child, and what lies in a store between them, never share one.

The account is of the wire: what each ClientHello offered, in whichever process.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python

pytestmark = [
    pytest.mark.binding,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
]

START = """
import collections, os, sys, warnings
import sslsession
from helpers import child_contexts
from helpers.clients import visit
from helpers.forks import in_child
from sslsession.stores import MemoryStore, SQLiteStore

warnings.filterwarnings("ignore", category=DeprecationWarning)  # 3.12: threads were running, which is the point

def visits(count):
    return [(done.reused, done.offered) for done in (visit(client, server) for _ in range(count))]

def twice(*processes):
    "Which tickets were offered more than once."
    offered = collections.Counter(each for process in processes for _, offers in process for each in offers)
    return [count for count in offered.values() if count > 1]

def reused(process):
    return [was for was, _ in process]

server = child_contexts.server()
"""


def child(ca: Authority, identity: Identity, code: str, *more: Path) -> str:
    done = run_python(START + code, args=[*arguments(ca, identity), *more], timeout=60)
    assert done.stderr == ""
    return done.stdout


def test_after_a_fork_the_tickets_are_the_parent_s(ca: Authority, server_identity: Identity) -> None:
    out = child(
        ca,
        server_identity,
        """
client = child_contexts.client(version="1.3")
cache = sslsession.ClientSessionCache(tickets_per_peer=8)
cache.attach(client)
visits(1)
forked = in_child(lambda: visits(3))
here = visits(3)
print(reused(forked), reused(here), twice(forked, here))
""",
    )
    assert out == "[False, True, True] [True, True, True] []\n"


def test_a_tls_1_2_session_is_both_s(ca: Authority, server_identity: Identity) -> None:
    out = child(
        ca,
        server_identity,
        """
client = child_contexts.client(version="1.2")
cache = sslsession.ClientSessionCache()
cache.attach(client)
visits(1)
print(reused(in_child(lambda: visits(2))), reused(visits(2)))
""",
    )
    assert out == "[True, True] [True, True]\n"


def test_what_waits_to_be_written_at_a_fork_is_written_once(
    ca: Authority, server_identity: Identity, tmp_path: Path
) -> None:
    """The store is slow, so that at the fork some tickets are near, some in the queue, and one is being written."""
    out = child(
        ca,
        server_identity,
        """
import threading

class Slow(MemoryStore):
    "Adds nothing until told to."
    timeout = 0.05
    go_on, written = threading.Event(), []

    def add(self, key, value, **more):
        if os.getpid() == parent:
            self.go_on.wait(20)
        self.written.append(value)
        super().add(key, value, **more)

parent = os.getpid()
client = child_contexts.client(version="1.3")
store = Slow()
cache = sslsession.ClientSessionCache(store)
cache.attach(client)
visits(1)

def work():
    mine = visits(3)
    cache.close()
    return mine, [hash(value) for value in Slow.written]

forked, written = in_child(work)
Slow.go_on.set()
here = visits(3)
cache.close()
print(twice(forked, here), len({hash(value) for value in Slow.written} & set(written)))
""",
    )
    assert out == "[] 0\n"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_parent_and_children_over_one_file(
    ca: Authority, server_identity: Identity, tmp_path: Path, version: str
) -> None:
    out = child(
        ca,
        server_identity,
        f"""
client = child_contexts.client(version="{version}")
cache = sslsession.ClientSessionCache(SQLiteStore(sys.argv[4]))
cache.attach(client)
visits(1)
cache.flush()

def work():
    done = visits(3)
    cache.close()
    return done

processes = [in_child(work), visits(3), in_child(work), visits(3)]
print([sum(reused(process)) for process in processes], twice(*processes) if "{version}" == "1.3" else [])
""",
        tmp_path / "private" / "sessions.db",
    )
    counts, used_twice = out.split("] ")
    assert used_twice == "[]\n"
    assert sum(map(int, counts.strip("[").split(","))) >= 11, out


def test_a_fork_in_the_middle_of_a_handshake(ca: Authority, server_identity: Identity) -> None:
    """The ClientHello that the parent sent is the ticket's one use: the child begins its own connections without."""
    out = child(
        ca,
        server_identity,
        """
from helpers.clients import begin
from helpers.peers import Pair

client = child_contexts.client(version="1.3")
cache = sslsession.ClientSessionCache()
cache.attach(client)
visits(1)
pair = Pair(client, server)
first = (False, begin(pair))
forked = in_child(lambda: visits(2))
pair.handshake().exchange()
print(pair.client.session_reused, twice([first], forked, visits(3)))
""",
    )
    assert out == "True []\n"


def test_a_used_ticket_is_remembered_across_a_fork(ca: Authority, server_identity: Identity) -> None:
    """An old copy of the store comes back: the child knows what its parent had used."""
    out = child(
        ca,
        server_identity,
        """
from helpers.clients import copied

client = child_contexts.client(version="1.3")
store = MemoryStore()
with sslsession.ClientSessionCache(store) as cache:
    cache.attach(client)
    visits(1)
backup = copied(store)
with sslsession.ClientSessionCache(store) as cache:
    cache.attach(client)
    here = visits(2)

def work():
    with sslsession.ClientSessionCache(backup) as cache:
        cache.attach(client)
        return visits(3)

forked = in_child(work)
print(reused(here), twice(here, forked))
""",
    )
    assert out == "[True, True] []\n"
