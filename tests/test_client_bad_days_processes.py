"""Processes that share a store: each ticket goes to one of them, and those that are killed leave it whole."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.certs import Authority
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.clients import Account, entries
from helpers.peers import EchoServer, server_context
from helpers.stores import redis_server
from sslsession import Session, _peers
from sslsession.stores import open_store

START = """
import os, sys, threading
import sslsession
from helpers import child_contexts
from sslsession.stores import open_store

client = child_contexts.client(version=sys.argv[5])
store = open_store(sys.argv[4], timeout=5)
cache = sslsession.ClientSessionCache(store)
cache.attach(client)
"""


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store that children open by this."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/private/sessions.db"
        return
    pytest.importorskip("redis")
    with redis_server() as running:
        yield f"redis://127.0.0.1:{running.port}?insecure=1"


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL here")
def test_kill_9_in_the_middle_of_writes(
    ca: Authority, server_identity: object, url: str, tls_version: str
) -> None:
    """What is in the file afterwards is whole, and resumes."""
    server = server_context(server_identity)  # type: ignore[arg-type]
    account = Account()
    with EchoServer(server, prepare=account.look) as running:
        for _ in range(3):
            before = account.hellos
            victim = threading.Thread(
                target=killed, args=[ca, server_identity, url, tls_version, running.port]
            )
            victim.start()
            victim.join(60)
            assert account.hellos >= before + 30
    if url.startswith("sqlite:"):
        with contextlib.closing(sqlite3.connect(url.partition("//")[2])) as check:
            assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with open_store(url, timeout=10) as store:
        found = entries(store)
        assert found
        for entry in found:
            assert Session.from_bytes(_peers.unpack(entry.key, entry.value)).is_resumable
    if tls_version == "1.3":
        account.each_once()


def killed(ca: Authority, identity: object, url: str, version: str, port: int) -> None:
    run_python(
        START
        + """
from helpers.peers import dial

for number in range(10**9):
    with dial(int(sys.argv[6]), client, ("localhost", "a.example", "b.example")[number % 3]) as conn:
        conn.sendall(b"ping")
        assert conn.recv(4) == b"ping"
    if number == 30:
        threading.Thread(target=lambda: os.kill(os.getpid(), 9)).start()
""",
        args=[*arguments(ca, identity), url, version, str(port)],  # type: ignore[arg-type]
        expect=-signal.SIGKILL,
    )


def contention(ca: Authority, identity: object, url: str, processes: int, connections: int) -> None:
    """Each process has its own cache over the one file; the server's account says what was offered."""
    account = Account()
    outputs: list[str] = []
    with EchoServer(server_context(identity), prepare=account.look) as running:  # type: ignore[arg-type]

        def work() -> None:
            done = run_python(
                START
                + """
from helpers.peers import dial

reused = 0
for number in range(int(sys.argv[7])):
    with dial(int(sys.argv[6]), client) as conn:
        conn.sendall(b"ping")
        assert conn.recv(4) == b"ping"
        reused += conn.session_reused
        conn.unwrap().close()
    if number % 5 == 4:
        cache.close()  # as another process would, with what this one left in the file
        cache = sslsession.ClientSessionCache(store)
        cache.attach(client)
cache.close()
store.close()
print(reused)
""",
                args=[
                    *arguments(ca, identity),  # type: ignore[arg-type]
                    *(url, "1.3", str(running.port), str(connections)),
                ],
                timeout=200,
            )
            assert done.stderr == ""
            outputs.append(done.stdout)

        threads = [threading.Thread(target=work) for _ in range(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(outputs) == processes
    assert account.hellos == processes * connections
    assert account.each_once() == sum(map(int, outputs)), "each ticket that was offered did resume"
    assert sum(map(int, outputs)) >= processes * connections / 2


def test_processes_take_from_one_file(ca: Authority, server_identity: object, url: str) -> None:
    contention(ca, server_identity, url, 4, 25)


@pytest.mark.soak
def test_soak_processes_take_from_one_file(ca: Authority, server_identity: object, url: str) -> None:
    contention(ca, server_identity, url, 32, 312)
