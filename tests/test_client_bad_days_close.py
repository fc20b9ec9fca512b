"""Ending while the store is silent, failures that come together, and stores that give what is none of theirs."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from helpers.bad_days import FakeStore, at_once, flushed, name, stocked, timed, undisturbed
from helpers.certs import Authority
from helpers.clients import Home, begin, eventually
from helpers.openssl_calls import Unraisables
from helpers.peers import Pair, server_context
from sslsession import _far

pytestmark = pytest.mark.binding


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

    at_once(connect)
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
