"""Stores of one's own behind a `ServerSessionCache` that raise anything, or give anything: no handshake fails."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.bad_days import TIMEOUT
from helpers.certs import Authority
from helpers.clients import eventually
from helpers.openssl_calls import Unraisables
from helpers.servers import FULL, IDS, RESUMED, STATEFUL, Serving, Way, earn, offer, params
from sslsession import StoreError
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture(params=params(IDS, STATEFUL))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


@pytest.fixture(params=[None, TIMEOUT])
def store(request: pytest.FixtureRequest) -> Odd:
    return Odd(request.param)


@pytest.fixture
def serving(way: Way, store: Odd, server: ssl.SSLContext) -> Iterator[Serving]:
    serving = Serving(way, store)
    serving.attach(server)
    yield serving
    store.error = store.given = None
    serving.close()


class Odd(MemoryStore):
    """A store that raises what it is told to, and gives what it is told to give."""

    error: BaseException | None = None
    given: Any = None

    def __init__(self, timeout: float | None) -> None:
        super().__init__()
        self.timeout = timeout

    def _oddly(self, found: Any) -> Any:
        if self.error is not None:
            raise self.error
        return found if self.given is None else self.given

    def add(self, *arguments: Any, **settings: Any) -> None:
        self._oddly(super().add(*arguments, **settings))

    def peek(self, key: Any) -> Any:
        return self._oddly(super().peek(key))

    def take(self, key: Any) -> Any:
        return self._oddly(super().take(key))

    def discard(self, key: Any) -> None:
        self._oddly(super().discard(key))


class TestOddOnes:
    @pytest.mark.parametrize(
        "error", [StoreError("gone"), ValueError("odd"), RecursionError(), MemoryError(), AttributeError("x")]
    )
    def test_any_exception(
        self,
        serving: Serving,
        store: Odd,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        error: Exception,
        unraisables: Unraisables,
    ) -> None:
        sessions = [earn(client, server) for _ in range(5)]
        serving.cache.flush()
        store.error = error
        assert [offer(client, server, each) for each in sessions].count(FULL) == 5
        serving.cache._poll()
        serving.cache._poll()
        assert serving.cache.stats()["store_errors"] >= 3
        assert 1 <= len(unraisables.errors) <= 3, "once for each thing that it no longer does"
        assert {type(each) for each in unraisables.errors} == {type(error)}
        store.error = None
        eventually(lambda: offer(client, server, earn(client, server)) == RESUMED)

    @pytest.mark.parametrize("given", [b"garbage", b"", "text", 7, [b"x"], bytearray(b"\x30x"), object()])
    def test_anything_given(
        self,
        serving: Serving,
        store: Odd,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        given: Any,
        unraisables: Unraisables,
    ) -> None:
        sessions = [earn(client, server) for _ in range(5)]
        serving.cache.flush()
        store.given = given
        assert [offer(client, server, each) for each in sessions] == [FULL] * 5
        for _ in range(2):
            serving.cache._poll()
        assert 1 <= len(unraisables.errors) <= 2
        assert serving.cache.stats()["store_errors"] >= 2
        store.given = None
        eventually(lambda: offer(client, server, earn(client, server)) == RESUMED)


def test_one_that_has_no_more_than_the_four_verbs(
    way: Way, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
) -> None:
    """It does not say how long it waits, so no handshake waits for it for long."""

    class Verbs:
        def __init__(self) -> None:
            kept = MemoryStore()
            self.add, self.peek, self.take, self.discard = kept.add, kept.peek, kept.take, kept.discard
            self.close = kept.close

    serving = Serving(way, Verbs())
    serving.attach(server)
    session = earn(client, server)
    serving.cache.flush()
    assert offer(client, server, session) == RESUMED
    serving.cache.revoke(server_name="localhost")
    serving.close()
    assert unraisables.errors == []
