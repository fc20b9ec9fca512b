"""The same ClientHello and early data, byte for byte, sent again and again: accepted once, by one of all servers."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.early import MOST, REQUEST, Site, each_way, meet, replay, speak
from helpers.memory import Pair
from helpers.peers import client_context, server_context
from helpers.servers import TICKETS13, Serving, Way
from sslsession import stores, write_early_data
from sslsession.stores import MemoryStore, SQLiteStore

pytestmark = pytest.mark.binding
way = each_way

MANY = 50


def encrypted(store: Any, secret: str = "0123456789abcdef" * 4) -> Any:
    pytest.importorskip("cryptography")
    return stores.EncryptedStore(store, secret=secret)


@pytest.fixture(params=["memory", "encrypted memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: Any = {
        "memory": MemoryStore,
        "encrypted memory": lambda: encrypted(MemoryStore()),
        "sqlite": lambda: SQLiteStore(tmp_path / "own" / "s.db"),
    }[request.param]()
    yield made
    made.close()


@pytest.fixture
def site(way: Way, store: Any, ca: Authority, server_identity: Identity) -> Iterator[Site]:
    site = Site(ca, server_identity, way, store=store)
    yield site
    site.close()


class TestTwoServersOfOneStore:
    @pytest.mark.parametrize("first", [0, 1])
    def test_many_times_at_both(self, site: Site, first: int) -> None:
        servers = [site.server, site.twin()]
        flight = site.record()
        site.serving.cache.flush()
        took = [replay(flight, servers[(first + number) % 2]) for number in range(MANY)]
        assert took[0] == REQUEST
        assert took[1:] == [None] * (MANY - 1)

    def test_at_once(self, site: Site) -> None:
        """Of many threads at two servers one has it."""
        servers = [site.server, site.twin()]
        flights = [site.record()]
        site.serving.cache.flush()
        for _ in range(5):
            flight, took = flights.pop(), list[Any]()
            barrier = threading.Barrier(8)

            def run(number: int, flight: bytes = flight, took: Any = took, barrier: Any = barrier) -> None:
                barrier.wait(20)
                took.append(replay(flight, servers[number % 2]))

            threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert len(took) == 8
            assert [each for each in took if each is not None] == [REQUEST]
            site.visit()
            flights.append(site.record())
            site.serving.cache.flush()

    def test_after_all_processes_were_started_anew(self, site: Site) -> None:
        flight = site.record()
        site.serving.cache.flush()
        assert replay(flight, site.twin()) == REQUEST
        for _ in range(3):
            assert replay(flight, site.twin()) is None

    def test_the_one_who_was_there_is_told_to_send_again(self, site: Site) -> None:
        """An attacker was faster: the client's own connection is resumed or not, and its data arrives."""
        twin = site.twin()
        site.serving.cache.flush()
        pair = Pair(site.client, site.server)
        write_early_data(pair.client, REQUEST)
        flight = pair.to_server.read()
        assert replay(flight, twin) == REQUEST
        pair.to_server.write(flight)
        assert meet(pair) == b""
        pair.client.write(REQUEST)
        pair.pump()
        assert bytes(pair.server_received) == REQUEST


class TestParts:
    def test_each_cut_of_it(self, site: Site) -> None:
        """A ticket's one time is over as soon as its ClientHello was read, whatever followed it."""
        flight = site.record(b"x" * 100)
        site.serving.cache.flush()
        hello = 5 + int.from_bytes(flight[3:5], "big")
        assert replay(flight[: hello - 1], site.server) is None
        assert replay(flight[:hello], site.server) == b""
        assert replay(flight, site.server) is None

    def test_one_cut_in_the_middle_of_the_data(self, site: Site) -> None:
        flight = site.record(b"x" * 100)
        assert replay(flight[:-1], site.server) == b""
        assert replay(flight, site.server) is None

    def test_with_other_data_under_the_same_hello(self, site: Site) -> None:
        """The keys are of the ClientHello: what is not its client's cannot be read, and the ticket is gone."""
        flight = site.record(b"x" * 100)
        other = bytearray(flight)
        other[-1] ^= 1
        with pytest.raises(ssl.SSLError):
            replay(bytes(other), site.server)
        assert replay(flight, site.server) is None

    @pytest.mark.parametrize("offset", [11 + 5, 60, -40])
    def test_with_another_hello(self, site: Site, offset: int) -> None:
        """Its binder is over all of it. Where a ticket is an id, who saw it on the wire can spoil it, and no more."""
        flight = site.record(b"x" * 100)
        site.serving.cache.flush()
        end = 5 + int.from_bytes(flight[3:5], "big")
        other = bytearray(flight)
        other[offset if offset > 0 else end + offset] ^= 1
        try:
            assert replay(bytes(other), site.server) is None
        except ssl.SSLError:
            pass
        assert replay(flight, site.server) == (b"x" * 100 if site.serving.way.ring else None)


def test_each_ticket_has_its_own_time(ca: Authority, server_identity: Identity, way: Way) -> None:
    site = Site(ca, server_identity, way)
    flights = []
    for _ in range(4):
        site.visit()
        flights.append(site.record())
    assert [replay(each, site.server) for each in flights * 2] == [REQUEST] * 4 + [None] * 4
    site.close()


def test_memory_of_tokens_is_bounded(ca: Authority, server_identity: Identity, way: Way) -> None:
    """Who comes after the oldest went is refused."""
    store = MemoryStore(8)
    site = Site(ca, server_identity, way, store=store)
    flight = site.record()
    for _ in range(10):
        speak(client_context(ca, version="1.3"), site.server)
    assert len(list(store.entries())) <= 8
    assert replay(flight, site.server) is None
    site.visit()
    assert replay(site.record(), site.server) == REQUEST
    site.close()


def test_tokens_are_taken_by_time(ca: Authority, server_identity: Identity) -> None:
    store = MemoryStore()
    site = Site(ca, server_identity, TICKETS13, store=store, lifetime=100)
    (entry, *_) = store.entries()
    now = site.serving.cache._clock()
    assert now + 98 < entry.expires_at <= now + 100
    site.close()


def test_a_session_in_a_store_that_an_old_copy_brought_back(ca: Authority, server_identity: Identity) -> None:
    """That is why the documentation says that a store's old copy brings tickets back: nobody can tell."""
    store = MemoryStore()
    site = Site(ca, server_identity, TICKETS13, store=store)
    flight, before = site.record(), list(store.entries())
    assert replay(flight, site.server) == REQUEST
    store.clear()
    for key, value, expires_at in before:
        store.add(key, value, expires_at=expires_at)
    assert replay(flight, site.server) == REQUEST
    site.close()


def test_a_server_with_another_secret_has_nothing_of_it(
    ca: Authority, server_identity: Identity, way: Way
) -> None:
    """A store with tokens alone gives nobody a session."""
    store = MemoryStore()
    site = Site(ca, server_identity, way, store=encrypted(store))
    other = Serving(way, encrypted(store, "fedcba9876543210" * 4), max_early_data=MOST)
    context = other.attach(server_context(server_identity))
    flight = site.record()
    assert replay(flight, context) is None
    assert replay(flight, site.server) == REQUEST
    site.close()
    other.close()
