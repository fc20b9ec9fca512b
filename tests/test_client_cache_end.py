"""flush, clear, close, export_to and the counts; and what the garbage collector finds."""

from __future__ import annotations

import gc
import ssl
import time
import weakref
from pathlib import Path

import pytest

from helpers.bad_days import FakeStore, flushed
from helpers.certs import Authority, Identity
from helpers.clients import Home, entries, eventually, not_offered, visit
from helpers.openssl_calls import CACHE_OFF, Unraisables, set_cache_mode
from helpers.peers import client_context, connect, server_context
from helpers.sessions import die_of_a_fatal_alert, take
from sslsession import ClientSessionCache, Session, StoreError, stores
from sslsession.stores import MemoryStore, SQLiteStore

pytestmark = pytest.mark.binding
KEYS = {
    "kept", "offered", "resumed", "declined", "hits", "store_hits", "misses", "expired", "refused", "withdrawn",
    "stored", "store_errors", "dropped", "sessions", "waiting",
}  # fmt: skip


class TestStats:
    def test_a_new_one_has_counted_nothing(self) -> None:
        assert ClientSessionCache().stats() == dict.fromkeys(KEYS, 0)

    def test_each_count(self, ca: Authority, server_identity: Identity) -> None:
        server, client = server_context(server_identity), client_context(ca, version="1.3")
        home = Home(MemoryStore())

        def counted() -> dict[str, int]:
            home.cache.flush()
            return {name: count for name, count in home.cache.stats().items() if count}

        home.visit(client, server)
        assert counted() == {"misses": 1, "kept": 2, "stored": 1, "sessions": 1}
        home.visit(client, server)
        assert counted() == {
            "misses": 1, "kept": 3, "stored": 1, "sessions": 1, "hits": 1, "offered": 1, "resumed": 1,
        }  # fmt: skip
        home.restart()
        home.visit(client, server)
        assert counted() == {
            "store_hits": 1, "kept": 1, "sessions": 1, "offered": 1, "resumed": 1,
        }  # fmt: skip
        home.visit(client, server_context(server_identity, tickets=0))
        assert counted() == {
            "store_hits": 1, "kept": 1, "offered": 2, "resumed": 1, "hits": 1, "declined": 1,
        }  # fmt: skip
        home.visit(client, server)
        die_of_a_fatal_alert(connect(client, server))
        assert counted()["withdrawn"] == 1
        assert "sessions" not in counted()
        home.close()

    def test_they_are_a_copy(self) -> None:
        cache = ClientSessionCache()
        cache.stats()["kept"] = 5
        assert cache.stats()["kept"] == 0


class TestClear:
    def test_here_and_in_the_store(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home(MemoryStore())
        for name in ("localhost", "a.example"):
            home.visit(client, server, name)
        home.cache.flush()
        assert home.holds >= 2
        home.cache.clear()
        assert home.holds == 0
        assert not_offered(home.visit(client, server))
        home.close()

    def test_others_of_the_same_store_keep_theirs(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        one, other = Home(store := MemoryStore()), Home(store, partition="other")
        one.visit(client, server)
        one.cache.detach(client)
        other.visit(client, server)
        other.close()
        assert len(entries(store)) >= 1
        one.cache.clear()
        one.cache.flush()
        assert len(entries(store)) >= 1
        one.close()


class TestFlush:
    def test_all_is_written_then(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        store = FakeStore("stalled")
        home = Home(store)
        with Unraisables():
            home.visit(client, server)
            assert entries(store) == []
            store.state = "well"
            eventually(lambda: flushed(home.cache))
        assert home.cache.stats()["waiting"] == 0
        assert len(entries(store)) == 1
        home.close()

    def test_without_a_store_there_is_nothing_to_do(self) -> None:
        ClientSessionCache().flush()


class TestClose:
    def test_what_is_near_goes_to_the_store(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home(MemoryStore())
        home.visit(client, server)
        kept = home.cache.stats()["kept"]
        home.close()
        assert len(entries(home.store)) == kept

    def test_again_is_nothing(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        home = Home(MemoryStore())
        home.visit(client, server)
        home.close()
        before = entries(home.store)
        home.close()
        with home.cache:
            """Leaving closes it."""
        assert entries(home.store) == before
        home.cache.flush()
        home.cache.clear()
        assert home.cache.stats()["sessions"] == 0

    def test_a_store_from_a_url_is_closed(
        self, client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path
    ) -> None:
        """A connection to a file that is left open is a ResourceWarning from 3.13 on, which is an error here."""
        path = tmp_path / "private" / "sessions.db"
        cache = ClientSessionCache(f"sqlite://{path}")
        cache.attach(client)
        visit(client, server)
        cache.close()
        del cache
        gc.collect()
        with SQLiteStore(path) as store:
            assert entries(store)


class TestGarbage:
    def test_a_cache_without_contexts_ends_and_writes(
        self, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        store, client = MemoryStore(), client_context(ca, version=tls_version)
        cache = ClientSessionCache(store)
        cache.attach(client)
        visit(client, server)
        kept = cache.stats()["kept"]
        cache.detach(client)
        gone = weakref.ref(cache)
        del cache
        gc.collect()
        assert gone() is None
        assert len(entries(store)) == kept

    def test_a_cache_whose_context_died(
        self, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        """It is let go when the next context comes."""
        store, client = MemoryStore(), client_context(ca, version=tls_version)
        cache = ClientSessionCache(store)
        cache.attach(client)
        visit(client, server)
        kept, gone = cache.stats()["kept"], weakref.ref(cache)
        del cache, client
        for _ in range(5):
            gc.collect()
        other = ClientSessionCache()
        other.attach(client_context(ca))
        for _ in range(5):
            gc.collect()
        assert gone() is None
        assert len(entries(store)) == kept
        other.close()


class TestExport:
    def test_tickets_are_moved(self, ca: Authority, server: ssl.SSLContext) -> None:
        home, client, store = Home(), client_context(ca, version="1.3"), MemoryStore()
        for name in ("localhost", "a.example"):
            home.visit(client, server, name)
        assert home.cache.export_to(store) == 4
        assert home.cache.stats()["sessions"] == 0
        assert len(entries(store)) == 4
        home.cache.detach(client)
        other = Home(store)
        assert [other.visit(client, server, name).reused for name in ("localhost", "a.example")] == [True] * 2
        other.close()
        home.close()

    def test_tls_1_2_sessions_are_copied(self, ca: Authority, server: ssl.SSLContext) -> None:
        home, client, store = Home(), client_context(ca, version="1.2"), MemoryStore()
        home.visit(client, server)
        assert home.cache.export_to(store) == 1
        assert home.visit(client, server).reused
        home.cache.detach(client)
        other = Home(store)
        assert other.visit(client, server).reused
        other.close()
        home.close()

    def test_into_a_sealed_store(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pytest.importorskip("cryptography")
        home, store = Home(), stores.EncryptedStore(MemoryStore(), "x" * 32)
        home.visit(client, server)
        home.cache.export_to(store)
        home.close()
        other = Home(store)
        assert other.visit(client, server).reused
        other.close()

    def test_a_store_that_fails_costs_the_ticket_that_may_have_arrived(
        self, ca: Authority, server: ssl.SSLContext
    ) -> None:
        home, client = Home(), client_context(ca, version="1.3")
        home.visit(client, server)
        before = home.cache.stats()["sessions"]
        with pytest.raises(StoreError, match="the store is down"):
            home.cache.export_to(FakeStore("down"))
        after = home.cache.stats()
        assert (after["sessions"], after["dropped"]) == (before - 1, 1)
        assert home.visit(client, server).reused
        home.close()

    def test_a_tls_1_2_session_is_not_lost_to_a_store_that_fails(
        self, ca: Authority, server: ssl.SSLContext
    ) -> None:
        home, client = Home(), client_context(ca, version="1.2")
        home.visit(client, server)
        with pytest.raises(StoreError):
            home.cache.export_to(FakeStore("down"))
        assert home.cache.stats()["dropped"] == 0
        assert home.visit(client, server).reused
        home.close()

    def test_an_answer_that_is_lost_uses_no_ticket_twice(self, ca: Authority, server: ssl.SSLContext) -> None:
        class Lost(FakeStore):
            def add(self, *arguments: object, **more: object) -> None:
                super().add(*arguments, **more)  # type: ignore[arg-type]
                raise StoreError("no answer")

        home, client, store = Home(), client_context(ca, version="1.3"), Lost()
        home.visit(client, server)
        before = home.cache.stats()["sessions"]
        with pytest.raises(StoreError, match="no answer"):
            home.cache.export_to(store)
        assert home.cache.stats()["sessions"] + len(entries(store)) == before, "each ticket is in one place"
        home.close()

    def test_one_that_fails_half_way(self, ca: Authority, server: ssl.SSLContext) -> None:
        class Half(FakeStore):
            def add(self, *arguments: object, **more: object) -> None:
                if self.asked["add"] == 1:
                    self.state = "down"
                super().add(*arguments, **more)  # type: ignore[arg-type]

        home, client, store = Home(), client_context(ca, version="1.3"), Half()
        home.visit(client, server)
        with pytest.raises(StoreError):
            home.cache.export_to(store)
        store.state = "well"
        found = home.cache.stats()
        assert (found["sessions"], found["dropped"], len(entries(store))) == (0, 1, 1)
        home.close()

    def test_what_was_added_of_der_alone_stays(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """Nothing tells under which settings it was made, so that no other process could find it."""
        home, store = Home(), MemoryStore()
        home.cache.add(Session.from_der(take(client, server).to_der()), "localhost")
        assert home.cache.export_to(store) == 0
        assert home.visit(client, server).reused
        home.close()

    @pytest.mark.parametrize("what", [5, object(), "nonsense:"])
    def test_what_is_no_store(self, what: object) -> None:
        with pytest.raises((TypeError, ValueError)):
            ClientSessionCache().export_to(what)


def test_a_miss_is_remembered_for_a_moment(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """A peer that gives no sessions costs the store one look a second, and not one for each connection."""
    server.num_tickets = 0
    server.options |= ssl.OP_NO_TICKET
    set_cache_mode(server, CACHE_OFF)
    store = FakeStore()
    store.timeout = None
    home, began = Home(store), time.monotonic()
    for _ in range(20):
        home.visit(client, server)
    looks = store.lookups
    assert looks <= 2 * (1 + time.monotonic() - began)
    eventually(lambda: home.visit(client, server) and store.lookups > looks, 5)
    home.close()
