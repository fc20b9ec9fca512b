"""Ending while the store is silent, failures that come together, and stores that give what is none of theirs."""

from __future__ import annotations

import gc
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from helpers.certs import Authority
from helpers.clients import FakeStore, Home, Visit, begin, entries, eventually
from helpers.openssl_calls import Unraisables
from helpers.peers import Pair, server_context
from sslsession import ClientSessionCache, StoreError, _far

pytestmark = pytest.mark.binding
GENEROUS = 1.0
"""Seconds that a slow machine may add to the store's timeout."""
MANY = 20


@pytest.fixture
def server(ca: Authority) -> ssl.SSLContext:
    return server_context(ca.issue("*.days.example"))


@pytest.fixture
def unraisables() -> Iterator[Unraisables]:
    """A full collection of garbage can take longer than the store's timeout: there is none meanwhile."""
    gc.collect()
    gc.disable()
    try:
        with Unraisables() as caught:
            yield caught
            for each in FakeStore.made:
                each.state = "well"
    finally:
        gc.enable()


@pytest.fixture
def store(client: ssl.SSLContext, server: ssl.SSLContext) -> FakeStore:
    """With sessions of many peers, which another process earned."""
    store = FakeStore()
    store.timeout = None
    home = Home(store)
    for number in range(MANY):
        home.visit(client, server, name(number))
    home.close()
    assert len(entries(store)) >= MANY
    store.asked.clear()
    store.timeout = FakeStore.timeout
    return store


def name(number: int) -> str:
    return f"{number}.days.example"


def timed(
    home: Home, client: ssl.SSLContext, server: ssl.SSLContext, numbers: range = range(MANY)
) -> list[Visit]:
    """A connection to each peer, none of which waits longer than the store's timeout."""
    done = []
    for number in numbers:
        began = time.monotonic()
        done.append(home.visit(client, server, name(number)))
        assert time.monotonic() - began < 0.05 + GENEROUS
    return done


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_far, "EXIT_SECONDS", 0.2)


class TestASilentStore:
    def test_closing_waits_for_a_few_seconds_at_most(
        self, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        store = FakeStore("stalled")
        home, began = Home(store), time.monotonic()
        timed(home, client, server, range(3))
        home.close()
        assert time.monotonic() - began < 5
        assert home.cache.stats()["dropped"] >= 1, "what was lost is counted"
        store.state = "well"

    def test_flushing_after_that_does_not_wait_for_ever(
        self, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        store = FakeStore("stalled")
        home = Home(store)
        timed(home, client, server, range(3))
        home.close()
        thread = threading.Thread(target=lambda: outcome.append(flushed(home.cache)), daemon=True)
        outcome: list[bool] = []
        store.state = "well"
        thread.start()
        thread.join(5)
        assert not thread.is_alive()


def flushed(cache: ClientSessionCache) -> bool:
    try:
        cache.flush()
    except StoreError:
        return False
    return True


class TestAStoreThatMisbehaves:
    @pytest.mark.parametrize("value", ["text", 5, None, object()])
    def test_whatever_it_returns(
        self, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables, value: object
    ) -> None:
        class Lying(FakeStore):
            def take(self, key: object) -> object:  # type: ignore[override]
                return value

            peek = take

        home = Home(Lying())
        assert not any(done.reused for done in timed(home, client, server, range(3)))
        assert len(unraisables.errors) <= 1
        home.close()


def test_failures_at_once_are_one(
    store: FakeStore, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
) -> None:
    """Those who were waiting when it went say nothing of when it will be back."""
    store.state = "stalled"
    home = Home(store)
    home.attach(client)

    def connect(number: int) -> None:
        begin(Pair(client, server, name(number)))

    threads = [threading.Thread(target=connect, args=[number]) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    store.state = "down"
    eventually(lambda: store.refused)
    store.state = "well"
    peers = iter(range(10_000))
    before = home.cache.stats()["stored"]

    def written() -> bool:
        home.visit(client, server, f"new{next(peers)}.days.example")
        return home.cache.stats()["stored"] > before

    assert eventually(written) < 1
    home.close()
