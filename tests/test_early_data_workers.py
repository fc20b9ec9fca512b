"""The same early data, byte for byte, at four worker processes over one store: exactly one of them accepts it, once."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.early import PYTHONPATH, REQUEST
from helpers.peers import client_context
from helpers.processes import Process
from helpers.servers import HAS_RINGS
from helpers.stores import SECRET, memcached, redis_server
from sslsession import Session, get_session, set_session, write_early_data

WORKERS = 4
KEYS = "0123456789abcdef" * 4
CODE = """
    import json, socket, ssl, sys
    import sslsession
    from helpers import child_contexts
    from sslsession.stores import MemcachedStore, RedisStore, SQLiteStore

    context = child_contexts.server()
    store = {store}
    cache = sslsession.ServerSessionCache(store, max_early_data=4096)
    cache.attach(context)
    if {ring}:
        sslsession.TicketKeyRing.from_secret({keys!r}).attach(context)
    told = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print("port", listener.getsockname()[1], flush=True)
        while True:
            raw, _ = listener.accept()
            raw.settimeout(20)
            if raw.recv(1, socket.MSG_PEEK) == b"?":
                raw.recv(1)
                raw.sendall(json.dumps({{"told": told, **cache.stats()}}).encode())
                raw.close()
                continue
            with context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as conn:
                try:
                    early = sslsession.read_early_data(conn)
                    if early:
                        told.append(early.decode())
                    conn.do_handshake()
                    cache.flush()
                    conn.sendall(conn.recv(100))
                    conn.unwrap()
                except OSError:
                    pass
"""


class Fleet:
    """Worker processes, each on a port of its own."""

    def __init__(self, ca: Authority, identity: Identity, store: str, ring: bool) -> None:
        self.ring = ring
        code = textwrap.dedent(CODE).format(store=store, ring=ring, keys=KEYS)
        self._argv = [sys.executable, "-W", "error", "-c", code, *map(str, arguments(ca, identity))]
        self._stack = contextlib.ExitStack()
        self.ports: list[int] = []

    def __enter__(self) -> Fleet:
        with contextlib.ExitStack() as stack:
            started = [
                stack.enter_context(Process(*self._argv, env={"PYTHONPATH": PYTHONPATH}, grace=0.1))
                for _ in range(WORKERS)
            ]
            self.ports = [int(each.expect(r"port (\d+)", 60)[1]) for each in started]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stats(self) -> list[dict[str, Any]]:
        """What each worker has accepted so far, and its cache's counts."""
        found = []
        for port in self.ports:
            with socket.create_connection(("127.0.0.1", port), 20) as conn:
                conn.sendall(b"?")
                said = b""
                while piece := conn.recv(65536):
                    said += piece
            found.append(json.loads(said))
        return found

    def earn(self, client: ssl.SSLContext, worker: int) -> Session:
        """A session of a full handshake with one of them, which is in the store then."""
        with socket.create_connection(("127.0.0.1", self.ports[worker]), 20) as raw:
            with client.wrap_socket(raw, server_hostname="localhost") as conn:
                conn.sendall(b"ping")
                assert conn.recv(100) == b"ping"
                session = get_session(conn)
                conn.unwrap()
        assert session is not None
        return session

    def replay(self, flight: bytes, worker: int) -> None:
        """Sends it, and waits until the worker has done with it."""
        with socket.create_connection(("127.0.0.1", self.ports[worker]), 20) as conn:
            with contextlib.suppress(OSError):
                conn.sendall(flight)
                conn.shutdown(socket.SHUT_WR)
                while conn.recv(65536):
                    pass

    def replay_everywhere(self, flight: bytes, times: int) -> None:
        """So many times, at all workers at once."""

        def work(worker: int) -> None:
            for _ in range(times // WORKERS):
                self.replay(flight, worker)

        threads = [threading.Thread(target=work, args=[worker]) for worker in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.fixture(params=["sqlite", "redis", "memcached"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """How a worker makes its store, in Python."""
    if request.param == "sqlite":
        yield f"SQLiteStore({str(tmp_path / 'own' / 's.db')!r}, timeout=5)"
        return
    pytest.importorskip("redis" if request.param == "redis" else "pymemcache")
    pytest.importorskip("cryptography")
    with (redis_server if request.param == "redis" else memcached)() as server:
        if request.param == "redis":
            yield f"RedisStore('redis://127.0.0.1:{server.port}', secret={SECRET!r}, timeout=5)"
        else:
            yield f"MemcachedStore(['127.0.0.1:{server.port}'], secret={SECRET!r}, timeout=5)"


@pytest.fixture(
    params=[
        pytest.param(True, id="ring", marks=pytest.mark.skipif(not HAS_RINGS, reason="no rings here")),
        pytest.param(False, id="ids"),
    ]
)
def fleet(
    request: pytest.FixtureRequest, ca: Authority, server_identity: Identity, store: str
) -> Iterator[Fleet]:
    with Fleet(ca, server_identity, store, request.param) as fleet:
        yield fleet


def record(client: ssl.SSLContext, session: Session) -> bytes:
    out = ssl.MemoryBIO()
    conn = client.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    set_session(conn, session)
    assert write_early_data(conn, REQUEST) == len(REQUEST)
    return out.read()


def exactly_once(fleet: Fleet, ca: Authority, times: int, sessions: int) -> None:
    client = client_context(ca, version="1.3")
    for number in range(sessions):
        flight = record(client, fleet.earn(client, number % WORKERS))
        fleet.replay_everywhere(flight, times)
        told = [early for each in fleet.stats() for early in each["told"]]
        assert told == [REQUEST.decode()] * (number + 1)
    stats = fleet.stats()
    accepted, refused = (sum(each[what] for each in stats) for what in ("early_data", "early_data_refused"))
    assert accepted == sessions
    # A ticket that is an id is gone with its first time: the others resume nothing, and nobody is asked.
    assert refused == (sessions * (times - 1) if fleet.ring else 0)
    assert sum(each["store_errors"] for each in stats) == 0


def test_a_thousand_times_at_four_workers(fleet: Fleet, ca: Authority) -> None:
    exactly_once(fleet, ca, 1000, 1)


@pytest.mark.soak
def test_soak_twenty_sessions_a_thousand_times_each(fleet: Fleet, ca: Authority) -> None:
    exactly_once(fleet, ca, 1000, 20)
