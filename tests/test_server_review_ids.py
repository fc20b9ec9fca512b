"""What strangers make a server do with ids: who proposes one has shown nothing, neither a key nor a certificate."""

from __future__ import annotations

import contextlib
import os
import ssl
import struct
from collections.abc import Sequence

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Clock
from helpers.contexts import client_context, server_context
from helpers.memory import Pair
from helpers.servers import FULL, RESUMED, STATEFUL, Serving, Way, earn, offer, params, step
from sslsession import ServerSessionCache, SessionHooks
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding

PRE_SHARED_KEY = 41
RECORD_MOST = 16384
FEW = 8
"""More ids than any client has tickets to propose at once."""


@pytest.fixture(params=params(STATEFUL))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def server(server_identity: Identity) -> ssl.SSLContext:
    return server_context(server_identity)


def extension(number: int, data: bytes) -> bytes:
    return struct.pack(">HH", number, len(data)) + data


def two(data: bytes) -> bytes:
    """With its length in two bytes."""
    return struct.pack(">H", len(data)) + data


def begun(pair: Pair) -> bytes:
    """A client's first flight, taken off the wire."""
    step(pair.client)
    return pair.to_server.read()


def proposing(hello: bytes, ids: Sequence[bytes]) -> bytes:
    """A ClientHello that proposes these ids in place of its own, in as many records as it takes."""
    body, at = hello[9:], 2 + 32
    at += 1 + body[at]
    at += 2 + struct.unpack_from(">H", body, at)[0]
    at += 1 + body[at]
    old, new = body[at + 2 :], b""
    while old:
        number, size = struct.unpack_from(">HH", old)
        new += old[: 4 + size] if number != PRE_SHARED_KEY else b""
        old = old[4 + size :]
    identities = b"".join(two(each) + bytes(4) for each in ids)
    new += extension(PRE_SHARED_KEY, two(identities) + two(b"\x20" + bytes(32)))
    body = body[:at] + two(new)
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    pieces = [message[each : each + RECORD_MOST] for each in range(0, len(message), RECORD_MOST)]
    return b"".join(b"\x16\x03\x01" + two(each) for each in pieces)


def say(server: ssl.SSLContext, hello: bytes) -> None:
    """A connection of somebody who says no more than this."""
    wire = ssl.MemoryBIO()
    wire.write(hello)
    with contextlib.suppress(ssl.SSLError):
        server.wrap_bio(wire, ssl.MemoryBIO(), server_side=True).do_handshake()


class TestManyAtOnce:
    """A ClientHello has room for 1,700 ids, and each may be a question to the store, one after the other."""

    def asked(self, serving: Serving, ca: Authority, server: ssl.SSLContext, count: int) -> int:
        serving.attach(server)
        client = serving.way.client(ca)
        hello = begun(Pair(client, server, session=earn(client, server)))
        before = serving.cache.stats()["misses"]
        say(server, proposing(hello, [os.urandom(32) for _ in range(count)]))
        return serving.cache.stats()["misses"] - before

    def test_one_is_looked_up(self, serving: Serving, ca: Authority, server: ssl.SSLContext) -> None:
        assert self.asked(serving, ca, server, 1) == 1

    def test_of_many_only_the_first_few(
        self, serving: Serving, ca: Authority, server: ssl.SSLContext
    ) -> None:
        assert self.asked(serving, ca, server, 1600) <= FEW

    @pytest.mark.parametrize(("count", "asked"), [(1, 1), (FEW, FEW), (1600, FEW)])
    def test_a_hook_is_asked_as_often(
        self, ca: Authority, server_identity: Identity, count: int, asked: int
    ) -> None:
        server, client, seen = server_context(server_identity), client_context(ca, version="1.3"), []
        server.options |= ssl.OP_NO_TICKET
        hello = begun(Pair(client, server, session=earn(client, server)))
        with SessionHooks(server, get=lambda _, session_id: seen.append(session_id)):
            say(server, proposing(hello, [os.urandom(32) for _ in range(count)]))
        assert len(seen) == asked


class TestOfTheOtherVersion:
    """Ids are on the wire for everybody to read; a TLS 1.3 one is taken out of the store by whoever proposes it."""

    def check(self, serving: Serving, ca: Authority, server: ssl.SSLContext, version: str) -> str:
        serving.attach(server)
        client = client_context(ca, version="1.2")
        session, stranger = earn(client, server), client_context(ca, version="1.3")
        hello = begun(Pair(stranger, server, session=earn(stranger, server)))
        if version == "1.3":
            say(server, proposing(hello, [session.id]))
        else:
            say(server, begun(Pair(client, server, session=session)))
        return offer(client, server, session)

    def test_a_tls_1_2_client_does_not_use_it_up(
        self, serving: Serving, ca: Authority, server: ssl.SSLContext
    ) -> None:
        assert self.check(serving, ca, server, "1.2") == RESUMED

    def test_a_tls_1_3_client_cannot_end_a_tls_1_2_session(
        self, serving: Serving, ca: Authority, server: ssl.SSLContext
    ) -> None:
        assert self.check(serving, ca, server, "1.3") == RESUMED


class TestIdleSessions:
    def check(self, ca: Authority, server: ssl.SSLContext, strangers: bool) -> str:
        """A session that its client leaves alone for 1,500 seconds, where 600 are the most."""
        clock = Clock()
        with ServerSessionCache(MemoryStore(clock=clock), idle_lifetime=600, clock=clock) as cache:
            cache.attach(server)
            client = client_context(ca, version="1.2")
            session = earn(client, server)
            hello = begun(Pair(client, server, session=session))
            for _ in range(3):
                clock.ahead += 500
                cache._poll()
                if strangers:
                    say(server, hello)
            return offer(client, server, session)

    def test_it_is_forgotten(self, ca: Authority, server: ssl.SSLContext) -> None:
        assert self.check(ca, server, strangers=False) == FULL

    def test_a_stranger_who_proposes_its_id_does_not_keep_it(
        self, ca: Authority, server: ssl.SSLContext
    ) -> None:
        assert self.check(ca, server, strangers=True) == FULL
