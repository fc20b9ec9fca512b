"""The interpreter's exit with hooks set and connections open: nothing is said, status 0."""

from __future__ import annotations

import sys

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python

pytestmark = pytest.mark.binding

START = """
import threading, time
import sslsession
from helpers import child_contexts
from helpers.openssl_calls import flush, set_cache_size
from helpers.peers import Pair, connect

def hook(*arguments):
    return None

def both():
    "Contexts with all three hooks."
    client = child_contexts.client()
    server = child_contexts.server(session_tickets=False)
    for ctx in (client, server):
        sslsession.SessionHooks(ctx, new=hook, remove=hook, get=hook)
    return client, server
"""


def quiet(ca: Authority, identity: Identity, code: str) -> str:
    """What a child prints that must say nothing else and end well."""
    done = run_python(START + code, args=arguments(ca, identity), timeout=40)
    assert done.stderr == ""
    return done.stdout


def test_fact_64_open_connections_and_hooks(ca: Authority, server_identity: Identity) -> None:
    """Their sessions are removed when the modules go, after the gate was closed."""
    quiet(
        ca,
        server_identity,
        """
client, server = both()
pairs = [connect(client, server) for _ in range(3)]
half_open = Pair(client, server)
unread = Pair(client, server).handshake()
""",
    )


def test_fact_64_what_dies_after_the_interpreter_calls_nobody(
    ca: Authority, server_identity: Identity
) -> None:
    """Kept alive by a module that is torn down last."""
    quiet(
        ca,
        server_identity,
        """
import builtins, sys
client, server = both()
builtins.kept = sys.kept = [connect(client, server) for _ in range(3)]
builtins.contexts = [client, server]
""",
    )


def test_fact_64_a_connection_that_is_used_in_an_exit_handler(
    ca: Authority, server_identity: Identity
) -> None:
    out = quiet(
        ca,
        server_identity,
        """
import atexit
client, server = both()
unread = Pair(client, server).handshake()

@atexit.register
def late():
    unread.exchange(b"late")
    connect(client, server).drop()
    print("exchanged")
""",
    )
    assert out == "exchanged\n"


def test_fact_64_exit_handlers_from_before_the_import(ca: Authority, server_identity: Identity) -> None:
    """They run after ours: the gate is closed, handshakes go on without hooks."""
    done = run_python(
        """
        import atexit

        @atexit.register
        def last():
            unread.exchange(b"late")
            print(len(calls), connect(client, server).client.version())

        import sslsession
        from helpers import child_contexts
        from helpers.peers import Pair, connect

        calls = []
        client, server = child_contexts.client(version="1.3"), child_contexts.server()
        hooks = sslsession.SessionHooks(client, new=lambda *arguments: calls.append(arguments))
        unread = Pair(client, server).handshake()
        """,
        args=arguments(ca, server_identity),
    )
    assert (done.stdout, done.stderr) == ("0 TLSv1.3\n", "")


@pytest.mark.skipif(
    sys.implementation.name == "pypy", reason="PyPy 8 itself crashes there, also without this library"
)
def test_fact_64_daemon_threads_in_the_middle_of_handshakes(ca: Authority, server_identity: Identity) -> None:
    quiet(
        ca,
        server_identity,
        """
client, server = both()
set_cache_size(server, 16)
running = threading.Semaphore(0)

def work():
    while True:
        connect(client, server).close()
        running.release()

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
for _ in range(20):
    running.acquire()
""",
    )


def test_a_remove_hook_that_never_returns_does_not_hold_up_the_exit(
    ca: Authority, server_identity: Identity
) -> None:
    quiet(
        ca,
        server_identity,
        """
entered = threading.Event()
def stuck(ctx, session):
    entered.set()
    threading.Event().wait()

server = child_contexts.server(session_tickets=False)
hooks = sslsession.SessionHooks(server, remove=stuck)
connect(child_contexts.client(), server).close()
flush(server)
assert entered.wait(20)
""",
    )


def test_removals_that_wait_at_the_exit_are_let_go(ca: Authority, server_identity: Identity) -> None:
    quiet(
        ca,
        server_identity,
        """
client, server = both()
for _ in range(50):
    connect(client, server).drop()
""",
    )


@pytest.mark.parametrize("how", ["sys.exit(3)", "os._exit(3)"])
def test_the_status_is_the_program_s(ca: Authority, server_identity: Identity, how: str) -> None:
    done = run_python(
        START + f"import os, sys\nclient, server = both()\npair = connect(client, server)\n{how}\n",
        args=arguments(ca, server_identity),
        expect=3,
    )
    assert done.stderr == ""


def test_an_exception_that_ends_the_program_is_all_that_is_said(
    ca: Authority, server_identity: Identity
) -> None:
    done = run_python(
        START + "client, server = both()\npair = connect(client, server)\nraise LookupError('mine')\n",
        args=arguments(ca, server_identity),
        expect=1,
    )
    assert done.stderr.startswith("Traceback")
    assert done.stderr.rstrip().endswith("LookupError: mine")
    assert "extern" not in done.stderr
