"""A store that is down, full or silent: no handshake fails or waits for it, that is told once, and nothing is lost.

A fake store counts how often it was asked; real ones have their own bad days in the files beside this one.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from helpers.bad_days import MANY, FakeStore, flushed, name, stocked, timed, undisturbed
from helpers.certs import Authority
from helpers.clients import Home, entries, eventually, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context, server_context
from sslsession import StoreError


@pytest.fixture
def server(ca: Authority) -> ssl.SSLContext:
    return server_context(ca.issue("*.days.example"))


@pytest.fixture
def unraisables() -> Iterator[Unraisables]:
    with undisturbed() as caught:
        yield caught


@pytest.fixture
def store(client: ssl.SSLContext, server: ssl.SSLContext) -> FakeStore:
    """With sessions of many peers, which another process earned."""
    return stocked(client, server)


@pytest.mark.parametrize("state", ["down", "stalled"])
class TestAStoreThatDoesNotAnswer:
    def test_no_handshake_fails_and_few_ask(
        self,
        state: str,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Unraisables,
    ) -> None:
        store.state = state
        home, began = Home(store), time.monotonic()
        assert not any(done.reused for done in timed(home, client, server))
        pauses = (time.monotonic() - began) / 0.25
        assert 1 <= store.lookups <= 2 + 2 * pauses, "a circuit breaker spares the rest the waiting"
        assert home.cache.stats()["store_errors"] >= 1
        assert [type(error) for error in unraisables.errors] == [StoreError], "told once"
        store.state = "well"
        home.close()

    def test_what_is_near_resumes_all_the_same(
        self,
        state: str,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Unraisables,
    ) -> None:
        store.state = state
        home = Home(store)
        timed(home, client, server)
        assert all(done.reused for done in timed(home, client, server))
        store.state = "well"
        home.close()

    def test_resumption_is_back_when_the_store_is(
        self,
        state: str,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Unraisables,
    ) -> None:
        store.state = state
        home = Home(store)
        timed(home, client, server, range(2))
        store.state = "well"
        peers = iter(range(2, MANY))
        eventually(lambda: home.visit(client, server, name(next(peers))).reused or not pause())
        assert len(unraisables.errors) == 1
        home.cache.flush()
        before = home.cache.stats()
        store.state = state
        timed(home, client, server, range(MANY - 3, MANY))
        store.state = "well"
        assert home.cache.stats()["store_errors"] > before["store_errors"]
        home.close()

    def test_what_could_not_be_written_is_written_later(
        self,
        state: str,
        tls_version: str,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Unraisables,
    ) -> None:
        store = FakeStore(state)
        home = Home(store)
        timed(home, client, server, range(5))
        assert entries(store) == []
        assert home.cache.stats()["waiting"] >= 4
        store.state = "well"
        eventually(lambda: home.cache.stats()["waiting"] == 0)
        home.cache.flush()
        dropped = home.cache.stats()["dropped"]
        assert len(entries(store)) + dropped == 5
        assert dropped <= (2 if tls_version == "1.3" else 0), (
            "a ticket may have arrived, and is not written twice"
        )
        home.close()
        assert all(done.reused for done in timed(Home(store), client, server, range(5)))


def pause() -> bool:
    threading.Event().wait(0.3)
    return True


class TestAFullStore:
    def test_it_is_read_and_not_written(
        self,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Unraisables,
    ) -> None:
        store.state = "full"
        home = Home(store)
        reused = 0
        for number in range(MANY):
            reused += home.visit(client, server, name(number)).reused
        assert reused >= 1, "asked as often as it is thought to work"
        eventually(lambda: home.cache.stats()["store_errors"] >= 1 or not home.cache.stats()["waiting"])
        assert {type(error) for error in unraisables.errors} <= {StoreError}
        store.state = "well"
        home.close()

    def test_flush_says_so(self, ca: Authority, server: ssl.SSLContext, unraisables: Unraisables) -> None:
        store = FakeStore("full")
        home = Home(store)
        home.visit(client_context(ca, version="1.2"), server, name(0))
        with pytest.raises(StoreError, match="the store is full"):
            home.cache.flush()
        store.state = "well"
        eventually(lambda: flushed(home.cache))
        assert len(entries(store)) == 1
        home.close()

    def test_what_waits_is_bounded(
        self, ca: Authority, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        """A server that gives tickets without end to a client whose store takes none."""
        server.num_tickets = 50
        client, store = client_context(ca, version="1.3"), FakeStore("down")
        home = Home(store)
        for number in range(25):
            home.visit(client, server, name(number))
        stats = home.cache.stats()
        assert stats["kept"] == 25 * 50
        assert stats["waiting"] + stats["sessions"] <= 1100
        assert stats["dropped"] >= 100
        store.state = "well"
        home.close()


class TestAStoreThatMisbehaves:
    @pytest.mark.parametrize("error", [ValueError, OSError, MemoryError, RuntimeError])
    def test_whatever_it_raises(
        self, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables, error: type[Exception]
    ) -> None:
        class Raising(FakeStore):
            def _ask(self, verb: str) -> None:
                raise error("of its own")

        home = Home(Raising())
        timed(home, client, server, range(3))
        assert [type(caught) for caught in unraisables.errors] == [error]
        home.close()

    def test_a_store_without_a_timeout_is_trusted_to_answer(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """None says that it never waits for anything outside the process."""

        class Patient(FakeStore):
            timeout = None

        home, threads = Home(Patient()), threading.active_count()
        home.attach(client)
        visit(client, server, name(0))
        home.cache.flush()
        assert threading.active_count() <= threads + 1, "the writer, and nobody to look up"
        home.close()
