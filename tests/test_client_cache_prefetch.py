"""`await cache.prefetch(host)`: an event loop fetches ahead, and no handshake of its waits for the store."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.bad_days import FakeStore
from helpers.certs import Authority
from helpers.clients import Home, entries, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import EchoServer, client_context, dial
from sslsession import ClientSessionCache
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture
def home(client: ssl.SSLContext, server: ssl.SSLContext) -> Iterator[Home]:
    """Whose sessions for localhost are in a store that is asked in threads."""
    store = FakeStore()
    home = Home(store)
    home.visit(client, server)
    home.restart()
    store.asked.clear()
    yield home
    store.state = "well"
    home.close()


def fetched(cache: ClientSessionCache, *arguments: Any) -> bool:
    return asyncio.run(cache.prefetch(*arguments))


async def over_asyncio(port: int, client: ssl.SSLContext) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
    writer.write(b"ping")
    assert await reader.readexactly(4) == b"ping"
    reused = bool(writer.get_extra_info("ssl_object").session_reused)
    writer.close()
    await asyncio.wait_for(writer.wait_closed(), 20)
    return reused


def test_the_handshake_asks_nobody(home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    assert fetched(home.cache, "localhost")
    assert home.cache.stats()["sessions"] == 1
    asked = home.store.lookups
    assert home.visit(client, server).reused
    assert home.store.lookups == asked
    assert home.cache.stats()["hits"] == 1


def test_what_is_near_is_enough(home: Home, client: ssl.SSLContext) -> None:
    for _ in range(3):
        assert fetched(home.cache, "LOCALHOST")
    assert home.store.lookups <= 2, "one look, at one or two keys"
    assert home.cache.stats()["sessions"] == 1


def test_a_miss(home: Home) -> None:
    assert not fetched(home.cache, "a.example")
    assert home.cache.stats()["sessions"] == 0


def test_for_a_port(home: Home, ca: Authority, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    with EchoServer(server) as running:
        with dial(running.port, client) as conn:
            conn.sendall(b"ping")
            assert conn.recv(4) == b"ping"
            conn.unwrap().close()
        home.restart()
        assert fetched(home.cache, "localhost", running.port)
        asked = home.store.lookups
        with dial(running.port, client) as conn:
            assert conn.session_reused
            conn.unwrap().close()
        assert home.store.lookups == asked


def test_over_asyncio(home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    async def both(port: int) -> bool:
        assert await home.cache.prefetch("localhost", port)
        home.store.state = "stalled"
        try:
            return await over_asyncio(port, client)
        finally:
            home.store.state = "well"

    with EchoServer(server) as running:
        assert asyncio.run(both(running.port))


def test_the_loop_goes_on_meanwhile(home: Home) -> None:
    """It waits in another thread."""
    home.store.state = "stalled"
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def both() -> bool:
        ticking = asyncio.create_task(tick())
        found = await home.cache.prefetch("localhost")
        ticking.cancel()
        return found

    with Unraisables() as unraisables:
        assert not asyncio.run(both())
        assert ticks > 10
        home.store.state = "well"
    assert len(unraisables.errors) == 1
    assert home.cache.stats()["store_errors"] == 1


def test_a_store_that_fails_is_counted_and_not_raised(home: Home) -> None:
    home.store.state = "down"
    with Unraisables() as unraisables:
        assert not fetched(home.cache, "localhost")
    assert len(unraisables.errors) == 1


@pytest.mark.parametrize(
    ("arguments", "error"), [(("",), ValueError), ((5,), TypeError), (("localhost", "443"), TypeError)]
)
def test_what_is_no_peer(home: Home, arguments: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        fetched(home.cache, *arguments)


def test_without_a_store_or_a_context(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    cache = ClientSessionCache()
    assert not fetched(cache, "localhost")
    cache.attach(client)
    assert not fetched(cache, "localhost")
    visit(client, server)
    assert fetched(cache, "localhost"), "it is here already"
    cache.close()


def test_many_at_once_take_each_ticket_once(ca: Authority, server: ssl.SSLContext) -> None:
    store, client = MemoryStore(), client_context(ca, version="1.3")
    home = Home(store)
    home.visit(client, server)
    home.restart()
    before = len(entries(store))

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*(home.cache.prefetch("localhost") for _ in range(20)))

    assert any(asyncio.run(all_of_them()))
    home.close()
    assert len(entries(store)) == before, "what was fetched and not used goes back"


def test_it_leaves_no_thread_behind(home: Home) -> None:
    threads = threading.active_count()
    for name in ("localhost", "a.example", "b.example"):
        fetched(home.cache, name)
    assert threading.active_count() <= threads + 5
