"""`ServerSessionCache`: what it is given that is wrong, and how it ends."""

from __future__ import annotations

import gc
import ssl
import weakref
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.memory import Pair
from helpers.peers import server_context
from helpers.servers import CACHES, RESUMED, Serving, Way, earn, offer, params
from sslsession import ServerSessionCache
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


@pytest.fixture(params=params(*CACHES))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


class TestArguments:
    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"lifetime": 0}, ValueError),
            ({"lifetime": 604801}, ValueError),
            ({"lifetime": True}, ValueError),
            ({"lifetime": float("nan")}, ValueError),
            ({"idle_lifetime": -1}, ValueError),
            ({"authentication_limit": 0}, ValueError),
            ({"tickets": 0}, ValueError),
            ({"tickets": 256}, ValueError),
            ({"tickets": 2.0}, ValueError),
            ({"size": 0}, ValueError),
            ({"context_id": 7}, TypeError),
            ({"max_early_data": -1}, ValueError),
            ({"max_early_data": 2**32}, ValueError),
            ({"max_early_data": True}, ValueError),
            ({"accept_early_data": print}, ValueError),
            ({"max_early_data": 1, "accept_early_data": "yes"}, TypeError),
            ({"store": "no such store"}, ValueError),
            ({"store": object()}, TypeError),
            ({"store": MemoryStore}, TypeError),
        ],
    )
    def test_bad_ones(self, settings: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            ServerSessionCache(**settings)

    @pytest.mark.parametrize(
        ("what", "error"),
        [
            ({}, ValueError),
            ({"session_id": b""}, TypeError),
            ({"session_id": b"x" * 33}, TypeError),
            ({"session_id": "text"}, TypeError),
            ({"client_certificate": b"no DER"}, TypeError),
            ({"client_certificate": "no PEM"}, ValueError),
            ({"server_name": b"bytes"}, TypeError),
            ({"server_name": "a" * 64 + ".ü.example"}, ValueError),
        ],
    )
    def test_bad_ones_to_revoke(self, what: dict[str, Any], error: type[Exception]) -> None:
        with ServerSessionCache() as cache, pytest.raises(error):
            cache.revoke(**what)

    def test_a_closed_cache(self, server: ssl.SSLContext) -> None:
        cache = ServerSessionCache("memory:")
        cache.close()
        cache.close()
        with pytest.raises(ValueError, match="closed"):
            cache.attach(server)
        assert cache.stats()["resumed"] == 0
        cache._poll()

    def test_repr_shows_no_secret(self) -> None:
        with ServerSessionCache(context_id="for nobody else") as cache:
            assert repr(cache) == "<ServerSessionCache store=<MemoryStore of 0 entries, at most 20480>>"


class TestGarbage:
    def test_a_cache_lives_as_long_as_its_contexts(
        self, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server, cache = server_context(server_identity), ServerSessionCache(tickets=1)
        cache.attach(server)
        gone = weakref.ref(cache)
        del cache
        gc.collect()
        assert gone() is not None
        assert offer(client, server, earn(client, server)) == RESUMED
        del server
        gc.collect()
        ServerSessionCache().attach(server_context(server_identity))  # whoever attaches hears of what went
        gc.collect()
        assert gone() is None

    def test_a_context_dies_before_its_cache(
        self, serving: Serving, client: ssl.SSLContext, server_identity: Identity
    ) -> None:
        for _ in range(20):
            server = server_context(server_identity)
            serving.cache.attach(server)
            pair = Pair(client, server)
            gone = weakref.ref(server)
            del server
            pair.handshake().exchange()
            pair.drop()
            del pair
            gc.collect()
            assert gone() is None
        assert serving.cache.stats()["openssl_accept"] == 0, "of contexts that are there"

    def test_connections_outlive_both(self, client: ssl.SSLContext, server_identity: Identity) -> None:
        server, cache = server_context(server_identity), ServerSessionCache()
        cache.attach(server)
        pair = Pair(client, server)
        del server, cache
        gc.collect()
        pair.handshake().exchange()
        pair.drop()
