"""A store that answers late, or never: a handshake waits for its timeout, and the next one has the use of it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator

import pytest

from helpers.bad_days import GENEROUS, MANY, TIMEOUT, FakeStore, at_once, name, stocked, undisturbed
from helpers.certs import Authority
from helpers.clients import Home, begin, entries, eventually, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import Pair, client_context, server_context
from sslsession import StoreError

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


class TestASilentStore:
    def test_a_late_answer_is_kept_for_the_next_handshake(
        self, ca: Authority, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        """A ticket was taken for a handshake that did not wait: it must not be lost."""
        client, store = client_context(ca, version="1.3"), FakeStore()
        home = Home(store, tickets_per_peer=2)
        home.visit(client, server, name(0))
        home.restart()
        held = len(entries(store))
        store.state = "stalled"
        pair = Pair(client, server, name(0))
        assert begin(pair) == ()
        store.state = "well"
        eventually(lambda: home.cache.stats()["sessions"] == 1)
        assert len(entries(store)) == held - 1
        pair.drop()
        assert home.visit(client, server, name(0)).reused
        home.close()

    def test_a_tls_1_2_session_too(
        self, ca: Authority, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        client, store = client_context(ca, version="1.2"), FakeStore()
        home = Home(store)
        home.visit(client, server, name(0))
        home.restart()
        store.state = "stalled"
        pair = Pair(client, server, name(0))
        assert begin(pair) == ()
        store.state = "well"
        eventually(lambda: home.cache.stats()["sessions"] == 1)
        pair.drop()
        assert home.visit(client, server, name(0)).reused
        home.close()

    def test_many_threads_wait_no_longer(
        self,
        store: FakeStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Unraisables,
    ) -> None:
        store.state = "stalled"
        home, waited = Home(store), []
        home.attach(client)

        def connect(number: int) -> None:
            pair = Pair(client, server, name(number))
            began = time.monotonic()
            begin(pair)
            waited.append(time.monotonic() - began)

        at_once(connect)
        assert len(waited) == MANY
        assert max(waited) < TIMEOUT + GENEROUS
        assert [type(error) for error in unraisables.errors] == [StoreError]
        store.state = "well"
        home.close()


def test_a_store_whose_own_connections_are_of_an_attached_context(
    ca: Authority, server: ssl.SSLContext, client: ssl.SSLContext
) -> None:
    """As Redis over TLS after inject_into_ssl(): asking the store to reach the store would never end."""

    class OverTLS(FakeStore):
        def _ask(self, verb: str) -> None:
            super()._ask(verb)
            if sum(self.asked.values()) < 100:
                visit(client, server, "store.days.example")

    store = OverTLS()
    store.timeout = None
    home = Home(store)
    for number in range(3):
        home.visit(client, server, name(number))
    home.cache.flush()
    assert sum(store.asked.values()) < 20
    assert home.visit(client, server, name(0)).reused
    home.close()
