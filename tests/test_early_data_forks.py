"""Children of a fork have their parent's memory, tokens and all: they accept nothing of what was before it."""

from __future__ import annotations

import os

import pytest

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.early import PYTHONPATH, each_way
from helpers.servers import Way

pytestmark = pytest.mark.binding
way = each_way


FORKING = """
    import os, ssl, sys, time
    import sslsession
    from helpers import child_contexts, early
    from helpers.certs import Authority
    from helpers.early import ACCEPTED, MOST, REQUEST, meet, record, replay
    from helpers.forks import in_child
    from helpers.memory import Pair
    from sslsession.stores import MemoryStore

    server = child_contexts.server()
    store = MemoryStore() if sys.argv[5] == "given" else None
    cache = sslsession.ServerSessionCache(store, max_early_data=MOST)
    cache.attach(server)
    if sys.argv[4] == "ring":
        ring = sslsession.TicketKeyRing.random()
        ring.attach(server)
    client = child_contexts.client(version="1.3")
    home = sslsession.ClientSessionCache(early_data=True)
    home.attach(client)

    def visit():
        pair = Pair(client, server)
        meet(pair)
        pair.exchange()
        pair.close()

    flights = []
    for _ in range(4):
        visit()
        flights.append(record(client, server))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
class TestForks:
    @pytest.fixture(params=["given", "own"])
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def run(self, ca: Authority, identity: Identity, way: Way, kind: str, code: str) -> str:
        done = run_python(
            FORKING + code,
            args=[*arguments(ca, identity), "ring" if way.ring else "ids", kind],
            env={"PYTHONPATH": PYTHONPATH},
        )
        assert done.stderr == ""
        return done.stdout

    def test_children_share_the_parent_s_memory(
        self, ca: Authority, server_identity: Identity, way: Way, kind: str
    ) -> None:
        """They accept nothing of before, whether they are asked before the parent or after it; it does, once."""
        said = self.run(
            ca,
            server_identity,
            way,
            kind,
            """
    def work():
        return [replay(each, server) for each in flights * 2]
    print(sum([in_child(work) for _ in range(3)], []).count(None))
    print(work().count(REQUEST))
    print(sum([in_child(work) for _ in range(3)], []).count(None))
    """,
        )
        assert said.split() == ["24", "4", "24"]

    def test_a_child_accepts_what_it_made_itself(
        self, ca: Authority, server_identity: Identity, way: Way, kind: str
    ) -> None:
        """From the second after the fork on: sessions know no more of their time. Nobody else does then.

        OpenSSL's clock is the kernel's coarse one, which is some milliseconds behind.
        """
        said = self.run(
            ca,
            server_identity,
            way,
            kind,
            """
    def work():
        from helpers.clients import eventually
        began = time.time()
        eventually(lambda: int(time.time() - 0.1) > began, 5)
        visit()
        flight = record(client, server)
        return replay(flight, server), replay(flight, server), flight
    first, second, flight = in_child(work)
    print(first == REQUEST, second is None, replay(flight, server) is None)
    """,
        )
        assert said.split() == ["True"] * 3

    def test_children_of_children(
        self, ca: Authority, server_identity: Identity, way: Way, kind: str
    ) -> None:
        said = self.run(
            ca,
            server_identity,
            way,
            kind,
            """
    def outer():
        visit()
        mine = record(client, server)
        inner = in_child(lambda: [replay(each, server) for each in (*flights, mine)])
        return inner.count(None)
    print(in_child(outer))
    """,
        )
        assert said.split() == ["5"]
