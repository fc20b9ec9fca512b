"""Stores that fail, limits that moved, clocks that differ, clients that lie or go: none of it has early data come."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.bad_days import GENEROUS, TIMEOUT, FakeStore
from helpers.certs import Authority, Identity
from helpers.clients import eventually
from helpers.early import (
    ACCEPTED,
    MOST,
    NOT_SENT,
    REJECTED,
    REQUEST,
    Site,
    each_way,
    earned,
    meet,
    read_all,
    replay,
)
from helpers.memory import Pair
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context
from helpers.servers import STATEFUL, TICKETS13, Way
from helpers.sessions import TIME_TAG, aged, offering, with_der, with_integer
from helpers.stores import SECRET, redis_server
from sslsession import Session, early_data_status, read_early_data, write_early_data
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding
way = each_way

MAX_EARLY_DATA_TAG = 15


class TestStores:
    @pytest.fixture
    def store(self) -> Iterator[FakeStore]:
        """A full collection of garbage can take longer than its timeout: there is none meanwhile."""
        gc.collect()
        gc.disable()
        store = FakeStore()
        yield store
        store.state = "well"
        gc.enable()

    @pytest.fixture
    def site(
        self, way: Way, store: FakeStore, ca: Authority, server_identity: Identity, unraisables: Unraisables
    ) -> Iterator[Site]:
        site = Site(ca, server_identity, way, store=store)
        site.serving.cache.flush()
        yield site
        store.state = "well"
        site.close()

    @pytest.mark.parametrize("state", ["down", "stalled"])
    def test_it_fails_between_the_ticket_and_its_use(self, site: Site, store: FakeStore, state: str) -> None:
        """The data is sent again, and the handshake waits no longer than the store's timeout."""
        store.state = state
        began = time.monotonic()
        told = site.speak()
        assert time.monotonic() - began < 2 * TIMEOUT + GENEROUS
        assert told.status is REJECTED
        assert told.reused is site.serving.way.ring

    def test_once_it_is_well_again_so_is_early_data(self, site: Site, store: FakeStore) -> None:
        store.state = "down"
        assert site.speak().status is REJECTED
        store.state = "well"
        eventually(lambda: site.speak().status is ACCEPTED)

    def test_what_it_gives_late_is_gone(self, site: Site, store: FakeStore) -> None:
        """The ticket's one time was when it was asked for."""
        flight = site.record()
        store.state = "stalled"
        assert replay(flight, site.server) is None
        store.state = "well"
        eventually(lambda: not site.serving.cache._shelf._far._lookups._busy)  # type: ignore[union-attr]
        twin = site.twin()
        assert [replay(flight, each) for each in (site.server, twin)] == [None, None]

    @pytest.mark.parametrize("state", ["down", "full"])
    def test_a_token_that_it_never_got(self, site: Site, store: FakeStore, state: str) -> None:
        """It is dropped rather than written twice."""
        store.state = state
        site.visit()
        with contextlib.suppress(Exception):
            site.serving.cache.flush()
        store.state = "well"
        flight = site.record()
        took = [replay(flight, each) for each in (site.twin(), site.server, site.twin(), site.server)]
        assert [each for each in took if each] in ([], [REQUEST])

    def test_what_waits_to_be_written_is_given_by_one(self, site: Site, store: FakeStore) -> None:
        """Either the server that made it takes it back, or it is in the store for all."""
        for _ in range(20):
            site.visit()
            flight = site.record()
            took = [replay(flight, each) for each in (site.server, site.twin(), site.server)]
            site.serving.cache.flush()
            took += [replay(flight, each) for each in (site.server, site.twin())]
            assert len([each for each in took if each]) <= 1

    @pytest.mark.parametrize("given", [True, False, 0, b"", b"0", "1", object()])
    def test_what_is_no_token(
        self, ca: Authority, server_identity: Identity, given: Any, unraisables: Unraisables
    ) -> None:
        """A store of somebody's own may say anything."""

        class Odd(MemoryStore):
            def take(self, key: Any) -> Any:
                return given

        site = Site(ca, server_identity, TICKETS13, store=Odd())
        assert site.speak().status is REJECTED
        site.close()

    def test_redis_is_killed(self, way: Way, ca: Authority, server_identity: Identity) -> None:
        pytest.importorskip("redis")
        pytest.importorskip("cryptography")
        from sslsession.stores import RedisStore

        with Unraisables(), redis_server() as server:
            store = RedisStore(f"redis://127.0.0.1:{server.port}", secret=SECRET, timeout=5)
            site = Site(ca, server_identity, way, store=store)
            site.serving.cache.flush()
            assert site.speak().status is ACCEPTED
            site.serving.cache.flush()
            os.kill(server.process.pid, signal.SIGKILL)
            assert server.process.ends(20)
            told = site.speak()
            assert told.status is REJECTED
            assert told.reused is way.ring
            site.close()
            store.close()


class TestLimits:
    def lying(self, site: Site, ca: Authority, most: int) -> tuple[ssl.SSLContext, Session]:
        """A client whose session says that so much is allowed."""
        client = client_context(ca, version="1.3")
        session = earned(client, site.server)
        return client, with_der(session, lambda der: with_integer(der, MAX_EARLY_DATA_TAG, most))

    @pytest.mark.parametrize("writes", [1, 4])
    def test_a_client_that_sends_too_much(
        self, way: Way, ca: Authority, server_identity: Identity, writes: int
    ) -> None:
        """Its connection ends with an alert; that of the next one does not."""
        site = Site(ca, server_identity, way)
        client, session = self.lying(site, ca, 100 * MOST)
        pair = Pair(client, site.server, prepare=offering(session))
        for _ in range(writes):
            assert write_early_data(pair.client, b"x" * (2 * MOST)) == 2 * MOST
        with pytest.raises(ssl.SSLError) as caught:
            read_all(pair.server)
        assert caught.value.reason == "TOO_MUCH_EARLY_DATA"
        pair.client.do_handshake()
        with pytest.raises(ssl.SSLError, match=r"(?i)unexpected.message"):
            pair.client.read()
        pair.drop()
        assert site.speak().status is ACCEPTED
        site.close()

    def test_a_client_that_lies_and_sends_no_more_than_is_allowed(
        self, way: Way, ca: Authority, server_identity: Identity
    ) -> None:
        site = Site(ca, server_identity, way)
        client, session = self.lying(site, ca, 100 * MOST)
        told = site.speak(b"x" * MOST, client=client, prepare=offering(session))
        assert told.status is ACCEPTED
        site.close()

    @pytest.mark.parametrize("size", [100, 10 * MOST])
    def test_a_server_that_allows_less_than_before(
        self, way: Way, ca: Authority, server_identity: Identity, size: int
    ) -> None:
        """Its clients have tickets that allow more, for as long as these live."""
        site = Site(ca, server_identity, way, most=20 * MOST)
        server = site.twin(max_early_data=MOST)
        try:
            assert site.speak(b"x" * size, server=server).status in (REJECTED, ACCEPTED)
        finally:
            site.close()

    def test_a_server_that_allows_more_than_before(
        self, way: Way, ca: Authority, server_identity: Identity
    ) -> None:
        site = Site(ca, server_identity, way)
        server = site.twin(max_early_data=2 * MOST)
        assert site.speak(b"x" * 2 * MOST, server=server).status is NOT_SENT
        assert site.speak(b"x" * 2 * MOST, server=server).status is ACCEPTED
        site.close()

    @pytest.mark.parametrize("reads", [True, False])
    @pytest.mark.parametrize("records", [100, 1000])
    def test_a_byte_a_record_that_nobody_reads(
        self, way: Way, ca: Authority, server_identity: Identity, reads: bool, records: int
    ) -> None:
        site = Site(ca, server_identity, way, most=1000, accept_early_data=lambda *_: False)
        try:
            pair = Pair(site.client, site.server)
            for _ in range(records):
                assert write_early_data(pair.client, b"x")
            meet(pair) if reads else pair.handshake()
            assert early_data_status(pair.client) is REJECTED
        finally:
            site.close()


class TestClocks:
    @pytest.mark.parametrize("seconds", [3600, 60])
    def test_hosts_whose_clocks_differ(
        self, way: Way, ca: Authority, server_identity: Identity, seconds: int
    ) -> None:
        """The server compares how old its ticket is with what its client says: ten seconds less at most, one more."""
        site = Site(ca, server_identity, way)
        client = client_context(ca, version="1.3")
        session = aged(earned(client, site.server), seconds)
        told = site.speak(client=client, prepare=offering(session))
        assert told.status in (REJECTED, NOT_SENT)
        site.close()

    def test_a_session_from_the_future(self, way: Way, ca: Authority, server_identity: Identity) -> None:
        """Older OpenSSLs say of it that it is ages old; for newer ones it was made just now, and is used once."""
        site = Site(ca, server_identity, way)
        client = client_context(ca, version="1.3")
        session = aged(earned(client, site.server), -100)
        told = site.speak(client=client, prepare=offering(session))
        assert replay(told.flight, site.server) is None
        assert site.counts[0] == int(told.status is ACCEPTED)
        site.close()

    @pytest.mark.parametrize(("seconds", "accepted"), [(0, True), (7, True), (13, False), (3600, False)])
    def test_a_recorded_flight_grows_old(
        self, ca: Authority, server_identity: Identity, seconds: int, accepted: bool
    ) -> None:
        """Its age stands against it after ten seconds, should anybody have the token again."""
        site = Site(ca, server_identity, STATEFUL)
        client = client_context(ca, version="1.3")
        session = earned(client, site.server)
        pair = Pair(client, site.server, prepare=offering(session))
        assert write_early_data(pair.client, REQUEST)
        store = site.serving.store
        for each in list(store.entries()):
            value = with_integer(each.value, TIME_TAG, int(time.time()) - seconds)
            store.add(each.key, value, expires_at=each.expires_at)
        assert replay(pair.to_server.read(), site.server) == (REQUEST if accepted else None)
        pair.drop()
        site.close()


class TestClientsThatGo:
    def test_abruptly_and_their_sessions_stay(
        self, way: Way, ca: Authority, server_identity: Identity
    ) -> None:
        """OpenSSL's own cache would lose them."""
        site = Site(ca, server_identity, way)
        assert [site.speak(drop=True).status for _ in range(5)] == [ACCEPTED] * 5
        site.close()

    def test_before_the_end_of_their_early_data(
        self, way: Way, ca: Authority, server_identity: Identity
    ) -> None:
        site = Site(ca, server_identity, way)
        pair = Pair(site.client, site.server)
        write_early_data(pair.client, REQUEST)
        assert read_all(pair.server) == REQUEST
        pair.to_server.write_eof()
        with pytest.raises((ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            read_early_data(pair.server)
        pair.drop()
        site.visit()
        assert site.speak().status is ACCEPTED
        site.close()

    def test_with_a_record_that_is_none(self, way: Way, ca: Authority, server_identity: Identity) -> None:
        site = Site(ca, server_identity, way)
        pair = Pair(site.client, site.server)
        write_early_data(pair.client, REQUEST)
        assert read_all(pair.server) == REQUEST
        pair.to_server.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(ssl.SSLError):
            read_early_data(pair.server)
        assert early_data_status(pair.server) is ACCEPTED
        site.close()
