"""Many at once: threads on one context, hundreds of tasks, caches that come and go; and no ticket is offered twice.

The account is of the ClientHellos as they were on the wire, not the library's own.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
from typing import Any

import pytest

from helpers.bad_days import Clients
from helpers.certs import Authority
from helpers.clients import Account, Home, eventually
from helpers.openssl_calls import Unraisables
from helpers.peers import EchoServer, Pair, client_context, connect, server_context
from sslsession import ClientSessionCache
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding
NAMES = tuple(f"{number}.days.example" for number in range(8))
TASKS = 200


@pytest.fixture
def server(ca: Authority) -> ssl.SSLContext:
    return server_context(ca.issue("*.days.example"))


def crowd(
    ca: Authority,
    server: ssl.SSLContext,
    version: str,
    store: MemoryStore | None,
    seconds: float,
    threads: int = 32,
) -> None:
    client = client_context(ca, version=version)
    cache = ClientSessionCache(store)
    cache.attach(client)
    with Unraisables() as unraisables:
        with Clients(lambda: client, server, threads=threads, names=NAMES) as clients:
            clients.run(seconds)
        stats = cache.stats()
        assert len(clients.reused) == clients.account.hellos
        assert sum(clients.reused) == stats["resumed"]
        assert stats["offered"] == stats["resumed"], "both ends count alike, and no offer was in vain"
        assert sum(clients.reused) > len(clients.reused) / 2
        if version == "1.3":
            assert clients.account.each_once() == stats["offered"]
        cache.close()
    assert unraisables.errors == []


@pytest.mark.parametrize("stored", [False, True])
def test_threads_at_one_context(
    ca: Authority, server: ssl.SSLContext, tls_version: str, stored: bool
) -> None:
    crowd(ca, server, tls_version, MemoryStore() if stored else None, 1.0)


@pytest.mark.soak
@pytest.mark.parametrize("stored", [False, True])
def test_soak_threads_at_one_context(
    ca: Authority, server: ssl.SSLContext, tls_version: str, stored: bool
) -> None:
    crowd(ca, server, tls_version, MemoryStore() if stored else None, 60)


def restless(ca: Authority, server: ssl.SSLContext, version: str, seconds: float, contexts: int = 4) -> None:
    """Caches attach and detach, are made and closed, and contexts are replaced, while all connect."""
    store, clients_of = MemoryStore(), [client_context(ca, version=version) for _ in range(contexts)]
    turn = iter(range(10**9))

    def any_client() -> ssl.SSLContext:
        return clients_of[next(turn) % contexts]

    with Unraisables() as unraisables:
        with Clients(any_client, server, threads=6, names=NAMES) as clients:
            stop = threading.Timer(seconds, lambda: None)
            stop.start()
            rounds = 0
            while stop.is_alive():
                rounds += 1
                with ClientSessionCache(store, tickets_per_peer=100) as cache:
                    for each in clients_of:
                        cache.attach(each)
                    clients.run(0.02)
                    cache.detach(clients_of[rounds % contexts])
                    clients.run(0.02)
                    clients_of[rounds % contexts] = client_context(ca, version=version)
                if rounds % 10 == 0:
                    gc.collect()
            stop.join()
        assert any(clients.reused)
        if version == "1.3":
            clients.account.each_once()
    assert unraisables.errors == []


def test_caches_and_contexts_come_and_go_while_threads_connect(
    ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    restless(ca, server, tls_version, 1.0)


@pytest.mark.soak
def test_soak_caches_and_contexts_come_and_go_while_threads_connect(
    ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    restless(ca, server, tls_version, 60)


class TestLiveConnections:
    @pytest.mark.parametrize("how", ["detach", "close"])
    def test_a_cache_that_leaves_them(
        self, ca: Authority, server: ssl.SSLContext, tls_version: str, how: str
    ) -> None:
        """They go on as they were; tickets that come later are nobody's."""
        home, client = Home(), client_context(ca, version=tls_version)
        home.attach(client)
        begun, done = Pair(client, server, NAMES[0]), Pair(client, server, NAMES[1]).handshake()
        with pytest.raises(ssl.SSLWantReadError):
            begun.client.do_handshake()
        kept = home.cache.stats()["kept"]
        if how == "detach":
            home.cache.detach(client)
        else:
            home.close()
        begun.handshake().exchange()
        done.exchange()
        assert home.cache.stats()["kept"] == kept
        fresh = connect(client, server, NAMES[0])
        assert not fresh.client.session_reused
        for pair in (begun, done, fresh):
            pair.close()
        home.close()

    def test_a_context_that_is_gone_before_its_connections(
        self, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        home, client = Home(), client_context(ca, version=tls_version)
        home.attach(client)
        pair = Pair(client, server, NAMES[0]).handshake()
        home.contexts.clear()
        del client
        gc.collect()
        pair.exchange()
        pair.close()
        another = client_context(ca, version=tls_version)
        home.attach(another)
        assert home.visit(another, server, NAMES[0]).reused
        home.close()


class TestAsyncio:
    """asyncio's transports are memory BIOs inside; nothing of theirs is wrapped."""

    async def one(self, port: int, client: ssl.SSLContext) -> bool:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname="localhost"
        )
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        reused = bool(writer.get_extra_info("ssl_object").session_reused)
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), 20)
        return reused

    async def all(self, port: int, client: ssl.SSLContext, count: int) -> list[bool]:
        return await asyncio.gather(*(self.one(port, client) for _ in range(count)))

    def run(self, server: ssl.SSLContext, version: str, ca: Authority, rounds: int, **settings: Any) -> None:
        client, account = client_context(ca, version=version), Account()
        with ClientSessionCache(tickets_per_peer=2 * TASKS, **settings) as cache:
            cache.attach(client)
            with EchoServer(server, prepare=account.look) as running:
                reused = [sum(asyncio.run(self.all(running.port, client, TASKS))) for _ in range(rounds)]
                cache.flush()
            assert account.hellos == rounds * TASKS
            assert reused[0] < TASKS, "the first began before any ticket came"
            assert all(count == TASKS for count in reused[1:])
            assert sum(account.offered.values()) == sum(reused)
            if version == "1.3":
                account.each_once()

    def test_two_hundred_connections_at_once(
        self, ca: Authority, server_identity: Any, tls_version: str
    ) -> None:
        with Unraisables() as unraisables:
            self.run(server_context(server_identity), tls_version, ca, 2)
        assert unraisables.errors == []

    def test_with_a_store(self, ca: Authority, server_identity: Any, tls_version: str) -> None:
        with Unraisables() as unraisables:
            self.run(server_context(server_identity), tls_version, ca, 2, store=MemoryStore())
        assert unraisables.errors == []

    @pytest.mark.soak
    def test_soak_two_hundred_connections_at_once(
        self, ca: Authority, server_identity: Any, tls_version: str
    ) -> None:
        self.run(server_context(server_identity), tls_version, ca, 100)


@pytest.mark.skipif(not hasattr(gc, "set_threshold"), reason="its collector cannot be told when to run")
def test_garbage_collection_in_the_middle_of_everything(
    ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    """A collection may free connections, sessions and whole caches inside any call of ours."""
    threshold = gc.get_threshold()
    gc.set_threshold(50, 2, 2)
    try:
        client = client_context(ca, version=tls_version)
        cache = ClientSessionCache(MemoryStore())
        cache.attach(client)
        with Clients(lambda: client, server, threads=4, names=NAMES) as clients:
            for _ in range(20):
                loop: list[Any] = [ClientSessionCache(MemoryStore()), connect(client, server, NAMES[0])]
                loop[0].attach(client_context(ca))
                loop.append(loop)
                del loop
                clients.run(0.02)
        assert any(clients.reused)
        if tls_version == "1.3":
            clients.account.each_once()
        cache.close()
    finally:
        gc.set_threshold(*threshold)
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "sslsession-store"])
