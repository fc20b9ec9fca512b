"""What ClientSessionCache takes and refuses: its constructor, attach and detach."""

from __future__ import annotations

import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority
from helpers.clients import Home, entries, not_offered, visit
from helpers.openssl_calls import cache_mode, slots
from helpers.peers import client_context
from sslsession import (
    ClientSessionCache,
    SessionError,
    StoreError,
    stores,
)
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding
HOUR = 3600


class TestConstructor:
    @pytest.mark.parametrize(
        ("settings", "error", "says"),
        [
            ({"tickets_per_peer": 0}, ValueError, "1 or more"),
            ({"tickets_per_peer": -1}, ValueError, "1 or more"),
            ({"tickets_per_peer": "8"}, TypeError, "a number, not str"),
            ({"tickets_per_peer": 1.5}, TypeError, "a number, not float"),
            ({"tickets_per_peer": True}, TypeError, "a number, not bool"),
            ({"max_lifetime": 0}, ValueError, "more than 0 seconds"),
            ({"max_lifetime": -1}, ValueError, "more than 0 seconds"),
            ({"max_lifetime": float("nan")}, ValueError, "more than 0 seconds"),
            ({"idle_lifetime": 0}, ValueError, "more than 0 seconds"),
            ({"idle_lifetime": -0.5}, ValueError, "more than 0 seconds"),
            ({"partition": b"bytes"}, TypeError, "partition must be text"),
            ({"partition": None}, TypeError, "partition must be text"),
        ],
    )
    def test_settings_that_mean_nothing(
        self, settings: dict[str, Any], error: type[Exception], says: str
    ) -> None:
        with pytest.raises(error, match=says):
            ClientSessionCache(**settings)

    @pytest.mark.parametrize("store", [5, object(), {}, b"memory:"])
    def test_what_is_no_store(self, store: Any) -> None:
        with pytest.raises(TypeError):
            ClientSessionCache(store)

    @pytest.mark.parametrize("url", ["", "nonsense", "ftp://host", "sqlite:", "memory:x"])
    def test_urls_that_name_none(self, url: str) -> None:
        with pytest.raises(ValueError, match=r".|:"):
            ClientSessionCache(url)

    def test_a_network_store_without_a_secret(self) -> None:
        pytest.importorskip("redis")
        with pytest.raises(StoreError, match="secret"):
            ClientSessionCache("redis://127.0.0.1:1")

    def test_a_store_or_its_url(self, client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path) -> None:
        url = f"sqlite://{tmp_path}/private/sessions.db"
        for _ in range(2):
            with ClientSessionCache(url) as cache:
                cache.attach(client)
                done = visit(client, server)
                assert "sessions.db" in repr(cache)
        assert done.reused

    def test_a_store_of_one_s_own_class(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """The verbs are all that is asked for."""

        class Own:
            def __init__(self) -> None:
                self.inner = MemoryStore()
                self.add, self.peek, self.take = self.inner.add, self.inner.peek, self.inner.take
                self.discard = self.inner.discard

        home = Home(Own())
        home.visit(client, server)
        home.restart()
        assert home.visit(client, server).reused
        home.close()

    def test_a_store_that_was_handed_over_stays_open(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        pytest.importorskip("cryptography")
        store = stores.EncryptedStore(MemoryStore(), "x" * 32)
        with ClientSessionCache(store) as cache:
            cache.attach(client)
            visit(client, server)
        assert entries(store)


class TestAttach:
    def test_twice_is_once(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home()
        home.cache.attach(client)
        home.cache.attach(client)
        visit(client, server)
        assert home.cache.stats()["kept"] == (2 if visit(client, server).version == "TLSv1.3" else 1)
        home.cache.detach(client)
        assert not_offered(visit(client, server)), "one detach is enough"
        home.close()

    def test_detaching_leaves_the_context_as_it_was_found(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        before, mode, known = slots(client), cache_mode(client), dict(vars(client))
        cache = ClientSessionCache()
        cache.attach(client)
        assert slots(client) != before
        visit(client, server)
        cache.detach(client)
        assert (slots(client), cache_mode(client)) == (before, mode)
        assert vars(client) == known
        cache.detach(client)
        assert cache.stats()["sessions"] >= 1, "what was kept stays"
        cache.attach(client)
        assert visit(client, server).reused
        cache.close()

    def test_a_server_s_context(self, server: ssl.SSLContext) -> None:
        cache = ClientSessionCache()
        with pytest.raises(ValueError, match="is a server's"):
            cache.attach(server)
        cache.close()

    @pytest.mark.parametrize("what", [None, 5, "context", ssl.SSLContext, object()])
    def test_what_is_no_context(self, what: Any) -> None:
        cache = ClientSessionCache()
        for method in (cache.attach, cache.detach):
            with pytest.raises(TypeError):
                method(what)
        cache.close()

    @pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS is deprecated:DeprecationWarning")
    def test_a_context_for_either_side(self, ca: Authority, server: ssl.SSLContext) -> None:
        either = ssl.SSLContext(ssl.PROTOCOL_TLS)
        either.verify_mode = ssl.CERT_REQUIRED
        ca.trust(either)
        home = Home()
        home.earn(either, server)
        home.close()

    def test_a_subclass(self, ca: Authority, server: ssl.SSLContext, tls_version: str) -> None:
        class Mine(ssl.SSLContext):
            pass

        home = Home()
        home.earn(client_context(ca, version=tls_version, cls=Mine), server)
        home.close()

    def test_several_caches(self, client: ssl.SSLContext, server: ssl.SSLContext, tls_version: str) -> None:
        """A ticket goes to the last one alone, for in two it would be used twice; the last that has one offers it."""
        one, last = ClientSessionCache(), ClientSessionCache()
        one.attach(client)
        last.attach(client)
        visit(client, server)
        kept = [cache.stats()["kept"] for cache in (one, last)]
        assert kept == ([0, 2] if tls_version == "1.3" else [1, 1])
        assert visit(client, server).reused
        assert [cache.stats()["offered"] for cache in (one, last)] == [0, 1]
        last.clear()
        assert visit(client, server).reused is (tls_version == "1.2")
        assert one.stats()["offered"] == (tls_version == "1.2")
        one.close()
        last.close()

    def test_after_closing(self, client: ssl.SSLContext) -> None:
        cache = ClientSessionCache()
        cache.close()
        with pytest.raises(SessionError, match="is closed"):
            cache.attach(client)

    def test_the_cache_lives_as_long_as_its_contexts(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        cache = ClientSessionCache()
        cache.attach(client)
        gone = weakref.ref(cache)
        del cache
        gc.collect()
        visit(client, server)
        assert visit(client, server).reused
        assert gone() is not None

    def test_a_cache_does_not_keep_a_context_alive(self, ca: Authority) -> None:
        cache, client = ClientSessionCache(), client_context(ca)
        cache.attach(client)
        gone = weakref.ref(client)
        del client
        gc.collect()
        assert gone() is None
        cache.close()

    def test_a_context_of_its_own_that_died_is_no_error(
        self, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        cache = ClientSessionCache()
        for _ in range(20):
            client = client_context(ca, version=tls_version)
            cache.attach(client)
            done = visit(client, server)
        assert done.reused, "what one context earned is another's"
        cache.close()


class TestRepr:
    def test_it_says_how_many_and_where(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home(MemoryStore())
        home.visit(client, server)
        home.cache.flush()
        said = repr(home.cache)
        assert said.startswith("<ClientSessionCache of ")
        assert "MemoryStore" in said
        home.close()
        assert "store=None" in repr(ClientSessionCache())
