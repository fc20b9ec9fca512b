"""Stores that fail behind a `ServerSessionCache`: no handshake fails or waits, and it ends well."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.bad_days import GENEROUS, TIMEOUT, FakeStore, at_once
from helpers.certs import Authority, Identity
from helpers.clients import eventually
from helpers.openssl_calls import Unraisables
from helpers.peers import server_context
from helpers.servers import FULL, IDS, RESUMED, STATEFUL, Serving, Way, earn, offer, params, renew
from helpers.sockets import dial
from sslsession import StoreError

pytestmark = pytest.mark.binding

MANY = 20


@pytest.fixture(params=params(IDS, STATEFUL))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """A full collection of garbage can take longer than its timeout: there is none meanwhile."""
    gc.collect()
    gc.disable()
    store = FakeStore()
    yield store
    store.state = "well"
    gc.enable()


@pytest.fixture
def serving(way: Way, store: FakeStore, server: ssl.SSLContext) -> Iterator[Serving]:
    serving = Serving(way, store)
    serving.attach(server)
    yield serving
    store.state = "well"
    serving.close()


def in_time(
    client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession
) -> tuple[str, ssl.SSLSession]:
    """A connection that does not wait longer than the store's timeout."""
    began = time.monotonic()
    done = renew(client, server, session)
    assert time.monotonic() - began < TIMEOUT + GENEROUS
    return done


def comes_back(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """Whether a new session resumes."""
    return offer(client, server, earn(client, server)) == RESUMED


class TestStates:
    @pytest.mark.parametrize("state", ["down", "stalled", "full"])
    def test_no_handshake_fails_or_waits(
        self,
        serving: Serving,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        state: str,
        unraisables: Unraisables,
    ) -> None:
        sessions = [earn(client, server) for _ in range(MANY)]
        serving.cache.flush()
        store.state = state
        outcomes = [in_time(client, server, each)[0] for each in sessions]
        if state != "full":
            assert outcomes == [FULL] * MANY
        elif serving.way == IDS:
            assert outcomes == [RESUMED] * MANY, "which asks for no writing"
        earn(client, server)
        eventually(lambda: serving.cache.stats()["store_errors"] >= 1)
        assert 1 <= len(unraisables.errors) <= 2, "of sessions, and of what others withdrew"
        assert {type(error) for error in unraisables.errors} == {StoreError}
        store.state = "well"
        eventually(lambda: comes_back(client, server))

    def test_what_waits_to_be_written_is_not_lost(
        self,
        serving: Serving,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Any,
    ) -> None:
        """In this process a session resumes before the store has it."""
        store.state = "stalled"
        first, second = earn(client, server), earn(client, server)
        assert in_time(client, server, second)[0] == RESUMED
        store.state = "well"
        serving.cache.flush()
        assert offer(client, server, first) == RESUMED

    def test_it_is_left_alone_for_a_while(
        self,
        serving: Serving,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Any,
    ) -> None:
        """A connection in some waits for the timeout, not each."""
        sessions = [earn(client, server) for _ in range(MANY)]
        serving.cache.flush()
        store.state = "stalled"
        began = time.monotonic()
        for each in sessions:
            renew(client, server, each)
        assert time.monotonic() - began < MANY * TIMEOUT / 2 + GENEROUS
        assert store.lookups <= 5

    def test_many_at_once(
        self,
        serving: Serving,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Any,
    ) -> None:
        sessions = [earn(client, server) for _ in range(MANY)]
        serving.cache.flush()
        store.state, began = "stalled", time.monotonic()
        outcomes: list[str] = []
        at_once(lambda number: outcomes.append(renew(client, server, sessions[number])[0]))
        assert outcomes == [FULL] * MANY
        assert time.monotonic() - began < MANY * TIMEOUT + GENEROUS

    def test_withdrawals_wait_for_the_store_and_no_handshake_for_them(
        self,
        serving: Serving,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Any,
    ) -> None:
        """Whoever listens for what others withdrew may hang at the store: nobody waits for him."""
        session = earn(client, server)
        serving.cache.flush()
        asked = store.asked["peek"]
        store.state = "stalled"
        eventually(lambda: store.asked["peek"] > asked)
        session = in_time(client, server, session)[1]
        in_time(client, server, session)
        began = time.monotonic()
        serving.cache.stats()
        assert time.monotonic() - began < GENEROUS

    def test_revoking_while_it_is_down(
        self,
        way: Way,
        serving: Serving,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        server_identity: Identity,
        unraisables: Any,
    ) -> None:
        """It says so, counts here at once, and others hear of it when the store is back."""
        twin = serving.twin()
        other = twin.attach(server_context(server_identity))
        here, there = earn(client, server), earn(client, server)
        serving.cache.flush()
        store.state = "down"
        with pytest.raises(StoreError):
            serving.cache.revoke(server_name="localhost")
        store.state = "well"
        eventually(lambda: serving.cache._poll() or twin.cache._poll() or twin.cache._withdrawn._set.entries)
        assert offer(client, other, there) == FULL
        assert offer(client, server, here) == FULL
        twin.close()


def test_an_asyncio_server_s_loop_is_blocked_no_longer_than_the_timeout(
    way: Way,
    serving: Serving,
    store: FakeStore,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    unraisables: Unraisables,
) -> None:
    """A heartbeat beside a server whose store stalls while clients propose sessions."""
    sessions = [earn(client, server) for _ in range(MANY)]
    serving.cache.flush()
    gaps: list[float] = []

    async def beat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        await writer.drain()
        writer.close()

    def visit(port: int, session: ssl.SSLSession) -> bool:
        with dial(port, client, session=session) as conn:
            conn.sendall(b"ping")
            assert conn.recv(4) == b"ping"
            return bool(conn.session_reused)

    async def main() -> list[bool]:
        listener = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server)
        port = listener.sockets[0].getsockname()[1]
        heart = asyncio.create_task(beat())
        store.state = "stalled"
        loop = asyncio.get_running_loop()
        reused = [await loop.run_in_executor(None, visit, port, each) for each in sessions]
        store.state = "well"
        heart.cancel()
        listener.close()
        return reused

    assert asyncio.run(main()) == [False] * MANY
    assert max(gaps) < TIMEOUT + GENEROUS
    assert sorted(gaps)[-MANY // 2] < TIMEOUT, "most do not wait at all"
