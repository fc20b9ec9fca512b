"""A Redis that is killed, hangs, is full, read-only or somebody else's: handshakes go on, and resumption comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.bad_days import GENEROUS, NAMES, TIMEOUT, Clients, Proxy, in_time, stock
from helpers.certs import Authority
from helpers.clients import Home, eventually
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context, server_context
from helpers.stores import OTHER_SECRET, SECRET, Server, new_prefix, redis_server
from sslsession import ClientSessionCache, StoreError
from sslsession.stores import RedisStore, Store

redis = pytest.importorskip("redis")
pytest.importorskip("cryptography")


@pytest.fixture
def server(ca: Authority) -> ssl.SSLContext:
    return server_context(ca.issue("*.days.example"))


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    with redis_server() as running:
        yield running.port


def store_at(port: int, secret: str = SECRET, prefix: str | None = None, timeout: float = TIMEOUT) -> Store:
    return RedisStore(
        f"redis://127.0.0.1:{port}", secret=secret, prefix=prefix or new_prefix(), timeout=timeout
    )


def carries(port: int, prefix: str, client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """Whether sessions go from one process to the next through the store."""
    home = Home(store_at(port, prefix=prefix))
    home.visit(client, server, "another.days.example")
    home.restart()
    reused = home.visit(client, server, "another.days.example").reused
    home.close()
    home.store.close()
    return reused


def killed_and_restarted(
    ca: Authority, server: ssl.SSLContext, version: str, rounds: int, seconds: float
) -> None:
    """A TLS 1.2 session stays near and asks the store once: there each connection is to another peer."""
    names = NAMES if version == "1.3" else tuple(f"{number}.days.example" for number in range(20_000))
    prefix, client, other = new_prefix(), *(client_context(ca, version=version) for _ in range(2))
    with contextlib.ExitStack() as stack:
        running: Server = stack.enter_context(redis_server())
        port = running.port
        store = store_at(port, prefix=prefix)
        cache = ClientSessionCache(store)
        cache.attach(client)

        def more(count: str, by: int) -> None:
            wanted = cache.stats()[count] + by
            eventually(lambda: cache.stats()[count] >= wanted)

        with Clients(lambda: client, server, threads=8, names=names) as clients:
            for _ in range(rounds):
                more("stored", 10)
                assert carries(port, prefix, other, server)
                os.kill(running.process.pid, signal.SIGKILL)
                more("store_errors", 1)
                clients.run(seconds)
                running = stack.enter_context(redis_server(port=port))
                more("stored", 10)
                eventually(lambda: carries(port, prefix, other, server))
        assert clients.errors == [], "no handshake failed"
        assert clients.longest < TIMEOUT + GENEROUS
        if version == "1.3":
            assert sum(clients.reused) > len(clients.reused) / 2
            clients.account.each_once()
        cache.close()
        store.close()


def test_killed_and_restarted_under_load(
    ca: Authority, server: ssl.SSLContext, tls_version: str, unraisables: Unraisables
) -> None:
    killed_and_restarted(ca, server, tls_version, rounds=1, seconds=0.4)
    assert 1 <= len(unraisables.errors) <= 20, "told when it begins, and not at each handshake"
    assert {type(error) for error in unraisables.errors} == {StoreError}


@pytest.mark.soak
def test_soak_killed_and_restarted_under_load(
    ca: Authority, server: ssl.SSLContext, tls_version: str, unraisables: Unraisables
) -> None:
    killed_and_restarted(ca, server, tls_version, rounds=10, seconds=3)


class TestAServerThatHangs:
    @pytest.fixture
    def proxy(self, redis_port: int) -> Iterator[Proxy]:
        with Proxy(redis_port) as proxy:
            yield proxy

    @pytest.fixture
    def home(self, proxy: Proxy, client: ssl.SSLContext, server: ssl.SSLContext) -> Iterator[Home]:
        """Whose sessions are all in the store."""
        patient = store_at(proxy.port, prefix=(prefix := new_prefix()), timeout=10)
        stock(patient, client, server, NAMES)
        patient.close()
        home = Home(store_at(proxy.port, prefix=prefix))
        yield home
        proxy.silent, proxy.delay = False, 0
        home.close()
        home.store.close()

    def test_each_answer_late_but_in_time(
        self, home: Home, proxy: Proxy, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        proxy.delay = 0.005
        home.attach(client)
        eventually(lambda: any(home.visit(client, server, name).reused for name in NAMES))

    @pytest.mark.parametrize("how", ["each answer too late", "no answer"])
    def test_too_late(
        self,
        home: Home,
        proxy: Proxy,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        how: str,
        unraisables: Unraisables,
    ) -> None:
        proxy.silent, proxy.delay = how == "no answer", 0.5
        for name in NAMES * 5:
            in_time(home, client, server, name)
        assert home.cache.stats()["store_errors"] >= 1
        assert 1 <= len(unraisables.errors) <= 2
        assert home.cache.stats()["resumed"] >= 10, "from this process's memory"
        proxy.silent, proxy.delay = False, 0
        eventually(lambda: home.cache.stats()["waiting"] == 0)


def fill(direct: Any) -> None:
    for number in range(10_000):
        direct.set(f"filler {number}", b"x" * 10_000)


class TestAServerThatTakesNothing:
    def visits(self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        for name in NAMES * 3:
            in_time(home, client, server, name)
        eventually(lambda: home.cache.stats()["store_errors"] >= 1)
        assert home.cache.stats()["stored"] == 0

    def test_it_is_full(
        self, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        with redis_server("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as running:
            direct = redis.Redis(port=running.port)
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                fill(direct)
            home = Home(store_at(running.port))
            self.visits(home, client, server)
            with pytest.raises(StoreError):
                home.cache.flush()
            assert {type(error) for error in unraisables.errors} == {StoreError}
            direct.flushall()
            direct.close()
            eventually(lambda: home.cache.stats()["stored"] >= 1)
            home.close()
            home.store.close()

    def test_it_is_read_only(
        self, redis_port: int, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        """A replica: taking a ticket is writing, too."""
        with redis_server("--replicaof", "127.0.0.1", str(redis_port)) as running:
            home = Home(store_at(running.port))
            self.visits(home, client, server)
            assert {type(error) for error in unraisables.errors} == {StoreError}
            home.close()
            home.store.close()

    def test_it_wants_a_password(
        self, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        with redis_server("--requirepass", "something that is not told") as running:
            home = Home(store_at(running.port))
            self.visits(home, client, server)
            assert all("something" not in str(error) for error in unraisables.errors)
            home.close()
            home.store.close()


class TestWhatIsThereIsNotOurs:
    def test_another_secret(
        self, redis_port: int, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        """Its names are others: nothing is found, and nothing is wrong."""
        prefix = new_prefix()
        first = Home(store_at(redis_port, prefix=prefix))
        first.visit(client, server, NAMES[0])
        first.restart()
        assert first.visit(client, server, NAMES[0]).reused
        first.close()
        stranger = Home(store_at(redis_port, OTHER_SECRET, prefix))
        assert not stranger.visit(client, server, NAMES[0]).reused
        assert stranger.visit(client, server, NAMES[0]).reused
        stranger.close()
        for home in (first, stranger):
            home.store.close()

    def test_keys_of_another_kind_and_version(
        self, redis_port: int, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        prefix = new_prefix()
        home = Home(store_at(redis_port, prefix=prefix))
        home.visit(client, server, NAMES[0])
        home.close()
        direct = redis.Redis(port=redis_port)
        keys = [*direct.scan_iter(match=prefix.replace("*", "\\*") + "*")]
        assert keys
        for key in keys:
            direct.delete(key)
            direct.lpush(key, b"\x09 of a version that is yet to come")
        home.cache = ClientSessionCache(home.store)
        home.cache.attach(client)
        assert not home.visit(client, server, NAMES[0]).reused
        eventually(lambda: home.cache.stats()["store_errors"] >= 1)
        direct.close()
        home.close()
        home.store.close()
        assert {type(error) for error in unraisables.errors} == {StoreError}
