"""Rings of several processes: of one secret, of one store, and of a parent that forks."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.clients import eventually
from helpers.peers import client_context, server_context
from helpers.rings import SECRET, Hand, attached, current, key_of, names, needs_ring
from helpers.sessions import resumes, take
from sslsession import Session, TicketKeyRing

pytestmark = [pytest.mark.binding, needs_ring]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

START = """
import os, sys, threading, warnings
from helpers import child_contexts
from helpers.forks import in_child
from helpers.rings import ROTATE_EVERY, Hand, attached, coming, current, key_of, names
from helpers.sessions import resumes, take
from sslsession import Session, TicketKeyRing

warnings.filterwarnings("ignore", category=DeprecationWarning)  # 3.12: threads were running, which is the point

version = sys.argv[4]
client, server = child_contexts.client(version=version), child_contexts.server()

def issued():
    return take(client, server).to_bytes()

def opens(data):
    return resumes(client, server, Session.from_bytes(data))
"""


def child(ca: Authority, identity: Identity, version: str, code: str, *more: str) -> str:
    done = run_python(START + code, args=[*arguments(ca, identity), version, *more], timeout=60)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def contexts(
    ca: Authority, server_identity: Identity, tls_version: str
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return client_context(ca, version=tls_version), server_context(server_identity)


# Processes that do not talk


def test_processes_with_one_secret_have_the_same_keys_and_open_each_other_s_tickets(
    ca: Authority,
    server_identity: Identity,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    tls_version: str,
) -> None:
    client, server = contexts
    hand = Hand()
    ring = attached(TicketKeyRing.from_secret(SECRET, clock=hand), server)
    said = child(
        ca,
        server_identity,
        tls_version,
        """
from_secret = TicketKeyRing.from_secret(sys.argv[5].encode(), clock=Hand(float(sys.argv[6])))
attached(from_secret, server)
print(sorted(names(from_secret)), current(from_secret).name, opens(bytes.fromhex(sys.argv[7])), issued(), sep="\\n")
""",
        SECRET,
        str(hand.now),
        take(client, server).to_bytes().hex(),
    )
    theirs, encrypts, opened, session = map(eval, said.splitlines())
    assert theirs == sorted(names(ring))
    assert encrypts == current(ring).name
    assert opened
    assert resumes(client, server, Session.from_bytes(session))


def test_a_process_that_starts_later_has_the_store_s_keys_and_its_withdrawals_reach_others(
    ca: Authority,
    server_identity: Identity,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    tls_version: str,
    tmp_path: Path,
) -> None:
    client, server = contexts
    url = f"sqlite:{tmp_path}/private/keys.db"
    ring = attached(TicketKeyRing.shared(url), server)
    session, kept = take(client, server), take(client, server)
    said = child(
        ca,
        server_identity,
        tls_version,
        """
ring = attached(TicketKeyRing.shared(sys.argv[5]), server)
print(opens(bytes.fromhex(sys.argv[6])))
ring.revoke(current(ring).name)
print(current(ring).name)
""",
        url,
        session.to_bytes().hex(),
    )
    opened, fresh = map(eval, said.splitlines())
    assert opened
    eventually(lambda: key_of(take(client, server)) == fresh)
    assert not resumes(client, server, kept)
    assert key_of(kept) not in names(ring)


# Forks


@forks
def test_children_of_a_random_ring_share_its_keys_for_all_time(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    """A child's child too; through rotations that each does by itself, whether it looks often or seldom."""
    out = child(
        ca,
        server_identity,
        tls_version,
        """
hand = Hand()
ring = attached(TicketKeyRing.random(clock=hand), server)
first = issued()
assert in_child(lambda: opens(first)) and opens(in_child(issued))
assert opens(in_child(lambda: in_child(issued)))

def later(slots, step):
    def work():
        for _ in range(slots * step):
            hand.move(ROTATE_EVERY / step, ring)
        return sorted(names(ring)), issued()
    return work

often, tickets = in_child(later(9, 8))
seldom, more = in_child(later(9, 1))
assert often == seldom
assert first != tickets
hand.move(9 * ROTATE_EVERY)
ring.refresh()
assert later(0, 1)()[0] == often  # the parent slept
print(opens(tickets), opens(more), opens(first))
""",
    )
    assert out == "True True False\n"


@forks
def test_a_fork_in_the_middle_of_a_look_leaves_the_child_a_ring_that_works(
    ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
) -> None:
    """Another thread holds the ring, waiting for its store, and is not in the child."""
    out = child(
        ca,
        server_identity,
        tls_version,
        """
from helpers.bad_days import FakeStore

class Slow(FakeStore):
    def peek(self, key):
        if asking.is_set():
            in_store.set()
        return super().peek(key)

asking, in_store = threading.Event(), threading.Event()
store = Slow()
ring = attached(TicketKeyRing.shared(store), server)
first, before = issued(), current(ring).name
store.state = "stalled"
asking.set()
looker = threading.Thread(target=ring.refresh)
looker.start()
assert in_store.wait(20)

def work():
    store.__init__()  # a store looks after itself
    return opens(first), current(ring).name == before, ring.rotate()

print(in_child(work))
store.state = "well"
looker.join(20)
print(opens(first), looker.is_alive())
""",
    )
    assert out == "(True, True, None)\nTrue False\n"


@forks
def test_a_child_hears_by_itself_what_its_parent_withdraws_and_a_parent_what_its_child_does(
    ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
) -> None:
    out = child(
        ca,
        server_identity,
        tls_version,
        """
from helpers.clients import eventually

ring = attached(TicketKeyRing.shared(sys.argv[5]), server)
mine, its, withdrawn = issued(), [issued(), issued()], current(ring).name

def encrypts_no_more(name):
    return lambda: key_of(take(client, server)) != name

def work():
    assert opens(its.pop())
    ring.revoke(withdrawn)
    middle = current(ring).name
    os.write(said, b"x")
    eventually(encrypts_no_more(middle))
    return opens(its.pop()), ring.stats()["errors"]

heard, said = os.pipe()

def answer():
    os.read(heard, 1)
    eventually(encrypts_no_more(withdrawn))
    ring.revoke(current(ring).name)

thread = threading.Thread(target=answer)
thread.start()
print(in_child(work))
thread.join(20)
print(opens(mine), ring.stats()["errors"])
""",
        f"sqlite:{tmp_path}/private/keys.db",
    )
    assert out == "(False, 0)\nFalse 0\n"


# The end


@pytest.mark.parametrize("store", ["", "memory:", "sqlite", "down"])
def test_a_process_ends_with_its_ring_in_use(
    ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path, store: str
) -> None:
    out = child(
        ca,
        server_identity,
        tls_version,
        """
import sslsession.stores.memory
from helpers.bad_days import FakeStore

url = sys.argv[5]
sys.unraisablehook = lambda unraisable: None  # that the store is down
store = FakeStore("down") if url == "down" else url
ring = attached(TicketKeyRing.shared(store) if store else TicketKeyRing.random(rotate_every=130), server)
print(opens(issued()), ring)
""",
        f"sqlite:{tmp_path}/private/keys.db" if store == "sqlite" else store,
    )
    assert out == "True <TicketKeyRing of 3 keys>\n"
