"""Four workers that share a ring whose key changes every second: no handshake fails, and every client that returns
resumes, whichever worker it comes to.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.rings import needs_ring

pytestmark = [needs_ring, pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")]
SOAK = float(os.environ.get("SSLSESSION_SOAK_SECONDS", "60"))

START = """
import contextlib, json, mmap, multiprocessing, os, random, struct, sys, threading, time, traceback, warnings
from helpers import child_contexts
from helpers.peers import connect
from helpers.rings import attached, key_of
from helpers.sessions import offering, session_of
from sslsession import Session, TicketKeyRing

warnings.filterwarnings("ignore", category=DeprecationWarning)  # 3.12: threads were running
version, url, made, seconds = sys.argv[4], sys.argv[5], sys.argv[6], float(sys.argv[7])
WORKERS, CLIENTS = 4, 4

def new_ring(**settings):
    return TicketKeyRing.shared(url, rotate_every=1, lifetime=10, **settings)

def serve(pipe, ring, server):
    "In a worker: a look, or a connection of a client that brings a session."
    client = child_contexts.client(version=version)
    while True:
        task, session = pipe.recv()
        if task == "end":
            os._exit(0)
        if task == "look":
            pipe.send(ring.refresh())
            continue
        try:
            prepare = offering(Session.from_bytes(session)) if session is not None else None
            pair = connect(client, server, prepare=prepare)
            found = session_of(pair.client)
            pair.close()
            pipe.send((pair.server.session_reused, found.to_bytes(), key_of(found), ring.stats()["errors"]))
        except BaseException:
            pipe.send(traceback.format_exc())

class Worker:
    "A forked process; its ring is its parent's, or its own of the same store."

    def __init__(self, ring, **settings):
        self.lock = threading.Lock()
        self.pipe, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if not self.pid:
            server = child_contexts.server()
            ring = ring or new_ring(**settings)
            serve(theirs, attached(ring, server), server)

    def ask(self, task, session=None):
        with self.lock:
            self.pipe.send((task, session))
            return self.pipe.recv()

    def end(self):
        self.pipe.send(("end", None))
        assert os.waitpid(self.pid, 0)[1] == 0

class Client:
    "One that comes again and again, each time with what it got the last time, to any worker."

    def __init__(self, number):
        self.chance = random.Random(number)
        self.session = None
        self.reused, self.full, self.keys, self.errors, self.failures = 0, 0, set(), 0, []

    def visit(self):
        answer = self.chance.choice(workers).ask("connect", self.session)
        if isinstance(answer, str):
            self.failures.append(answer)
            return
        reused, self.session, key, errors = answer
        self.reused += reused
        self.full += not reused
        self.keys.add(key)
        self.errors = max(self.errors, errors)

def tell():
    for worker in workers:
        worker.end()
    print(json.dumps({
        "reused": sum(each.reused for each in clients),
        "full": sum(each.full for each in clients),
        "keys": len(set().union(*(each.keys for each in clients))),
        "errors": max(each.errors for each in clients),
        "failures": [failure for each in clients for failure in each.failures][:3],
    }))
"""


def run(
    ca: Authority, identity: Identity, version: str, tmp_path: Path, code: str, made: str, seconds: float
) -> Any:
    url = f"sqlite:{tmp_path}/private/keys.db?timeout=5"
    args = [*arguments(ca, identity), version, url, made, str(seconds)]
    done = run_python(START + code, args=args, timeout=seconds + 100)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("made", ["before the fork", "in each worker"])
def test_a_few_seconds_of_rotation_under_an_injected_clock(
    ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path, made: str
) -> None:
    """In quarters of a second, as rings look; one of the workers is always late."""
    said = run(
        ca,
        server_identity,
        tls_version,
        tmp_path,
        """
shared = mmap.mmap(-1, 8)
clock = lambda: struct.unpack("d", shared[:8])[0]
now = float(int(time.time()))
shared[:8] = struct.pack("d", now)
ring = new_ring(clock=clock) if made == "before the fork" else None
workers = [Worker(ring, clock=clock) for _ in range(WORKERS)]
clients, chance = [Client(number) for number in range(CLIENTS)], random.Random(1)
for worker in workers * 2:
    worker.ask("look")
for quarter in range(int(4 * seconds)):
    shared[:8] = struct.pack("d", now + quarter / 4)
    late = workers[quarter % WORKERS]
    for worker in chance.sample(workers, WORKERS):
        if worker is not late:
            worker.ask("look")
        for client in clients:
            client.visit()
    late.ask("look")
tell()
""",
        made,
        8,
    )
    assert said["failures"] == []
    assert said["full"] == 4, "the first of each client"
    assert said["reused"] == 8 * 4 * 16 - 4
    assert said["keys"] >= 8
    assert said["errors"] == 0


@pytest.mark.soak
@pytest.mark.parametrize("made", ["before the fork", "in each worker"])
def test_soak_a_minute_of_rotation(
    ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path, made: str
) -> None:
    """The system's clock, and clients that come as fast as they can."""
    said = run(
        ca,
        server_identity,
        tls_version,
        tmp_path,
        """
ring = new_ring() if made == "before the fork" else None
workers = [Worker(ring) for _ in range(WORKERS)]
clients, until = [Client(number) for number in range(CLIENTS)], time.monotonic() + seconds

def come(client):
    while time.monotonic() < until:
        client.visit()

for worker in workers * 2:
    worker.ask("look")
threads = [threading.Thread(target=come, args=[client]) for client in clients]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
tell()
""",
        made,
        SOAK,
    )
    print(said)
    assert said["failures"] == []
    assert said["full"] == 4, "the first of each client"
    assert said["reused"] > 10 * SOAK
    assert said["keys"] >= SOAK - 5
