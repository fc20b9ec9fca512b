"""After a fork the child works by itself, and hears nothing of what its parent was told; spawned ones start afresh."""

from __future__ import annotations

import os
import sys

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python

pytestmark = [
    pytest.mark.binding,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
]

START = """
import os, queue, sys, threading, warnings
import sslsession
from helpers import child_contexts
from helpers.forks import in_child
from helpers.openssl_calls import flush
from helpers.peers import Pair, connect

warnings.filterwarnings("ignore", category=DeprecationWarning)  # 3.12: threads were running, which is the point

removed = queue.Queue()
client, server = child_contexts.client(), child_contexts.server(session_tickets=False, tickets=1)

def make_one():
    pair = connect(client, server)
    session_id = sslsession.get_session(pair.server).id
    pair.close()
    return session_id
"""


def child(ca: Authority, identity: Identity, code: str) -> str:
    done = run_python(START + code, args=arguments(ca, identity), timeout=60)
    assert done.stderr == ""
    return done.stdout


def test_the_hooks_work_in_the_child(ca: Authority, server_identity: Identity) -> None:
    out = child(
        ca,
        server_identity,
        """
hooks = sslsession.SessionHooks(server, new=lambda conn, session: made.append(session.id),
                                remove=lambda ctx, session: removed.put(session.id))
made = []

def work():
    one = make_one()
    flush(server)
    return one == removed.get(timeout=20) and made == [one]

print(in_child(work), work())
""",
    )
    assert out == "True True\n"


def test_fact_50_what_was_queued_is_the_parent_s_to_deliver(ca: Authority, server_identity: Identity) -> None:
    """Each process tells of a session once: the child only of what its own copy of the cache loses."""
    out = child(
        ca,
        server_identity,
        """
from sslsession import _events
held, entered, go_on = [], threading.Event(), threading.Event()

def remove(ctx, session):
    if os.getpid() == parent and not go_on.is_set():
        entered.set()
        go_on.wait(20)
    removed.put(session.id)

parent = os.getpid()
hooks = sslsession.SessionHooks(server, remove=remove)
first = [make_one() for _ in range(3)]
flush(server)
assert entered.wait(20)  # one is at the hook, the others wait in the queue

def work():
    second = make_one()
    flush(server)
    hooks.close()
    told = []
    while not removed.empty():
        told.append(removed.get())
    return told == [second]

print(in_child(work))
go_on.set()
hooks.close()
print(sorted(removed.get() for _ in first) == sorted(first), removed.empty())
""",
    )
    assert out == "True\nTrue True\n"


def test_a_child_of_a_busy_process_is_not_stuck(ca: Authority, server_identity: Identity) -> None:
    """Forks while other threads hold our locks."""
    out = child(
        ca,
        server_identity,
        """
make_one()  # OpenSSL has now loaded what it needs: where it is loading at the fork, it stands still in the child
stop = threading.Event()

def busy():
    while not stop.is_set():
        with sslsession.SessionHooks(server, new=lambda *_: None, remove=lambda *_: None):
            flush(server)

threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()

def work():
    mine = child_contexts.server(session_tickets=False, tickets=1)
    with sslsession.SessionHooks(mine, remove=lambda ctx, session: removed.put(session.id)):
        connect(child_contexts.client(), mine).close()
        flush(mine)
        return len(removed.get(timeout=20))

print([in_child(work) for _ in range(10)])
stop.set()
for thread in threads:
    thread.join()
""",
    )
    assert out == f"{[32] * 10}\n"


def test_a_fork_before_the_proof_was_made(ca: Authority, server_identity: Identity) -> None:
    """Another thread is at the proof when the process forks."""
    out = child(
        ca,
        server_identity,
        """
from sslsession import _borrow

entered, go_on, original = threading.Event(), threading.Event(), _borrow._try_proof

def slow():
    entered.set()
    go_on.wait(20)
    return original()

pair = connect(client, server)
_borrow._try_proof = slow
first = threading.Thread(target=_borrow.prove)
first.start()
assert entered.wait(20)

def work():
    _borrow._try_proof = original
    return sslsession.get_session(pair.client) is not None

print(in_child(work))
go_on.set()
first.join()
""",
    )
    assert out == "True\n"


def test_sessions_made_before_a_fork_resume_in_both(ca: Authority, server_identity: Identity) -> None:
    out = child(
        ca,
        server_identity,
        """
client = child_contexts.client(version="1.2")
server = child_contexts.server()
session = sslsession.get_session(connect(client, server).client)

def work():
    pair = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
    return pair.client.session_reused

print(in_child(work), work())
""",
    )
    assert out == "True True\n"


def test_a_child_exits_quietly_with_everything_open(ca: Authority, server_identity: Identity) -> None:
    out = child(
        ca,
        server_identity,
        """
hooks = sslsession.SessionHooks(server, new=lambda *_: None, remove=lambda *_: None)
pair = connect(client, server)
pid = os.fork()
if not pid:
    connect(client, server)
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
    )
    assert out == "0\n"


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(ca: Authority, server_identity: Identity, method: str, tmp_path: object) -> None:
    done = run_python(
        f"""
        import os, subprocess, sys, textwrap
        from pathlib import Path

        Path("work.py").write_text(textwrap.dedent('''
            import multiprocessing, sys
            import sslsession
            from helpers import child_contexts
            from helpers.peers import connect

            def work(arguments):
                sys.argv[1:] = arguments
                client = child_contexts.client(version="1.2")
                server = child_contexts.server()
                seen = []
                with sslsession.SessionHooks(client, new=lambda conn, session: seen.append(session.to_bytes())):
                    connect(client, server).close()
                return seen[0]

            if __name__ == "__main__":
                here = work(sys.argv[1:])
                with multiprocessing.get_context("{method}").Pool(2) as pool:
                    made = pool.map(work, [sys.argv[1:]] * 4)
                print({{sslsession.Session.from_bytes(data).is_resumable for data in [here, *made]}})
        '''))
        done = subprocess.run([sys.executable, "work.py", *sys.argv[1:]], capture_output=True, text=True, timeout=50)
        print(done.stdout, done.stderr)
        """,
        args=arguments(ca, server_identity),
    )
    assert done.stdout.split() == ["{True}"], done.stdout


def test_nothing_is_left_of_a_thread_that_the_fork_did_not_copy(
    ca: Authority, server_identity: Identity
) -> None:
    out = child(
        ca,
        server_identity,
        """
hooks = sslsession.SessionHooks(server, remove=lambda ctx, session: removed.put(session.id))

def work():
    before = {thread.name for thread in threading.enumerate()}
    hooks.close()
    return sorted(before), [thread.name for thread in threading.enumerate()]

print(in_child(work))
hooks.close()
print(in_child(work))
""",
    )
    assert (
        out
        == f"{(['MainThread', 'sslsession-removals'], ['MainThread'])}\n{(['MainThread'], ['MainThread'])}\n"
    )
    assert sys.platform != "win32"
