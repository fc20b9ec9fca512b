"""Peers in memory that send and read early data, and what clients sent kept to be sent again."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from helpers.certs import Authority, Identity
from helpers.children import TESTS
from helpers.clients import Home
from helpers.memory import Pair, PrepareObject
from helpers.peers import client_context, server_context
from helpers.servers import STATEFUL, TICKETS13, Serving, Way, params
from helpers.sessions import session_of
from sslsession import (
    EarlyData,
    Session,
    early_data_status,
    read_early_data,
    write_early_data,
)

MOST = 4096
"""Bytes of early data that the servers of these tests allow, unless a test says otherwise."""
REQUEST = b"GET / HTTP/1.1\r\n\r\n"
ACCEPTED, REJECTED, NOT_SENT = EarlyData.ACCEPTED, EarlyData.REJECTED, EarlyData.NOT_SENT
PYTHONPATH = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
"""For children: as this process has it, and `helpers`."""


class Told(NamedTuple):
    """What came of one connection that had something to say early."""

    status: EarlyData
    """As the client has it; both sides agree."""
    early: bytes
    """What the server read before the handshake was done."""
    reused: bool
    flight: bytes
    """What the client sent before it heard anything."""


def read_all(server: ssl.SSLObject) -> bytes:
    """The early data that has come, until there is no more or the server waits."""
    early = bytearray()
    with contextlib.suppress(ssl.SSLWantReadError):
        while piece := read_early_data(server):
            early += piece
    return bytes(early)


def meet(pair: Pair) -> bytes:
    """Ends the handshake of a pair; what the server read early."""
    early, done = bytearray(), set()
    for _ in range(20):
        with contextlib.suppress(ssl.SSLWantReadError):
            while piece := read_early_data(pair.server):
                early += piece
            pair.server.do_handshake()
            done.add("server")
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.do_handshake()
            done.add("client")
        if len(done) == 2:
            return bytes(early)
    raise AssertionError("the handshake stalled")


def speak(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    *writes: bytes,
    name: str | None = "localhost",
    session: ssl.SSLSession | None = None,
    prepare: PrepareObject | None = None,
    prepare_server: PrepareObject | None = None,
    then: Callable[[Pair], object] | None = None,
    drop: bool = False,
) -> Told:
    """One connection in memory whose client writes this early (`REQUEST` unless told), tickets read, closed cleanly.

    What was not accepted is sent again, and arrives: each byte comes exactly once.
    """
    said = writes or (REQUEST,)
    pair = Pair(client, server, name, session, prepare, prepare_server)
    sent = b"".join(each for each in said if write_early_data(pair.client, each))
    flight = pair.to_server.read()
    pair.to_server.write(flight)
    early = meet(pair)
    status = early_data_status(pair.client)
    assert early_data_status(pair.server) is status or not sent
    assert early == (sent if status is ACCEPTED else b"")
    assert bool(pair.client.session_reused) is bool(pair.server.session_reused)
    rest = b"".join(said)[len(early) :]
    if rest:
        pair.client.write(rest)
    pair.pump()
    assert early + bytes(pair.server_received) == b"".join(said)
    pair.server_received.clear()
    pair.exchange()
    told = Told(status, early, bool(pair.server.session_reused), flight)
    if then is not None:
        then(pair)
    if not drop:
        pair.close()
    pair.drop()
    return told


def record(client: ssl.SSLContext, server: ssl.SSLContext, data: bytes = REQUEST, **more: Any) -> bytes:
    """A client's first flight, ClientHello and early data, that no server has seen; the client is gone."""
    pair = Pair(client, server, **more)
    assert write_early_data(pair.client, data) == len(data), "the session allows it"
    flight = pair.to_server.read()
    pair.drop()
    return flight


def replay(flight: bytes, server: ssl.SSLContext) -> bytes | None:
    """What a server reads early of a recorded flight; None where it accepts none of it."""
    incoming = ssl.MemoryBIO()
    incoming.write(flight)
    conn = server.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    early = read_all(conn)
    accepted = early_data_status(conn) is ACCEPTED
    assert accepted or not early
    return early if accepted else None


class Site:
    """A server that allows early data, and a client whose cache may use it; one visit was made, so it has tickets."""

    def __init__(
        self,
        ca: Authority,
        identity: Identity,
        way: Way = TICKETS13,
        *,
        most: int = MOST,
        store: Any = None,
        client: ssl.SSLContext | None = None,
        server: ssl.SSLContext | None = None,
        name: str | None = "localhost",
        **settings: Any,
    ) -> None:
        self.identity, self.name = identity, name
        self.serving = Serving(way, store, max_early_data=most, **settings)
        self.server = self.serving.attach(server or server_context(identity))
        self.home = Home(early_data=True)
        self.client = client or client_context(ca, version="1.3")
        self.home.attach(self.client)
        self.more: list[Serving] = []
        self.visit()

    def visit(self) -> None:
        """A connection that has nothing to say early; its client has tickets afterwards."""
        pair = Pair(self.client, self.server, self.name)
        meet(pair)
        pair.exchange()
        pair.close()

    def speak(self, *writes: bytes, **more: Any) -> Told:
        """As the function of that name."""
        more.setdefault("name", self.name)
        return speak(more.pop("client", self.client), more.pop("server", self.server), *writes, **more)

    def record(self, data: bytes = REQUEST) -> bytes:
        """As the function of that name."""
        return record(self.client, self.server, data, server_hostname=self.name)

    def twin(self, **changed: Any) -> ssl.SSLContext:
        """The context of another process with the same store and keys."""
        self.more.append(self.serving.twin(**changed))
        return self.more[-1].attach(server_context(self.identity))

    @property
    def counts(self) -> tuple[int, int]:
        """How often the server accepted early data, and refused it."""
        told = self.serving.cache.stats()
        return told["early_data"], told["early_data_refused"]

    def close(self) -> None:
        """Ends them all."""
        self.home.close()
        for each in (self.serving, *self.more):
            each.close()


@pytest.fixture(params=params(STATEFUL, TICKETS13))
def each_way(request: pytest.FixtureRequest) -> Way:
    """The two kinds of tickets: an id in a store, and a whole session under a ring's key."""
    way: Way = request.param
    return way


@pytest.fixture
def site_of_each_way(way: Way, ca: Authority, server_identity: Identity) -> Iterator[Site]:
    """A site whose server goes this test's way."""
    site = Site(ca, server_identity, way)
    yield site
    site.close()


def earned(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "localhost") -> Session:
    """A session that allows early data, from a connection that had none."""
    pair = Pair(client, server, name)
    meet(pair)
    pair.exchange()
    session = session_of(pair.client)
    assert session.max_early_data
    pair.close()
    return session
