"""What a server must not resume, each beside its honest twin: what a store has that is not as it was put there."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import entries, refill, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context, server_context
from helpers.servers import FULL, IDS, RESUMED, STATEFUL, Serving, Way, earn, offer, params
from sslsession import ClientSessionCache, ServerSessionCache, Session, SessionHooks, StoreError
from sslsession.server import PREFIX, key_of
from sslsession.stores import Entry, MemoryStore

pytestmark = pytest.mark.binding

Change = Callable[[bytes], bytes]


@pytest.fixture(params=params(IDS, STATEFUL))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(way: Way, ca: Authority) -> ssl.SSLContext:
    return way.client(ca)


def alter(store: MemoryStore, change: Change) -> None:
    """Have the store contain something else under each key."""
    refill(store, [each._replace(value=change(each.value)) for each in entries(store)])


class TestItsHonestTwin:
    def test_what_is_put_back_as_it_was(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        serving.attach(server)
        session = earn(client, server)
        alter(serving.store, lambda value: value)
        assert offer(client, server, session) == RESUMED


class TestMoved:
    def test_to_another_id(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """Each of two sessions under the other's id: OpenSSL would fail the handshake over it."""
        serving.attach(server)
        sessions = [earn(client, server) for _ in range(2)]
        all_of_them = entries(serving.store)
        values = [each.value for each in all_of_them]
        refill(
            serving.store, [each._replace(value=value) for each, value in zip(all_of_them, reversed(values))]
        )
        assert [offer(client, server, each) for each in sessions] == [FULL, FULL]
        assert serving.cache.stats()["refused"] == 2

    def test_to_the_other_version(self, ca: Authority, server: ssl.SSLContext) -> None:
        """A TLS 1.3 client proposes an id under which the store has a TLS 1.2 session that says it has this id."""
        stores = MemoryStore(), MemoryStore()
        twelve, thirteen = Serving(IDS, stores[0]), Serving(STATEFUL, stores[1])
        other = server_context_like(server, ca)
        twelve.attach(other)
        thirteen.attach(server)
        earn(IDS.client(ca), other)
        client = STATEFUL.client(ca)
        session = earn(client, server)
        (old,) = entries(stores[0])
        old_id = old.key[len(PREFIX) + 1 :]
        refill(
            stores[1],
            [
                each._replace(value=old.value.replace(old_id, each.key[len(PREFIX) + 1 :]))
                for each in entries(stores[1])
            ],
        )
        assert offer(client, server, session) == FULL
        twelve.close()
        thirteen.close()

    def test_to_a_cache_of_another_context_id(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity
    ) -> None:
        apart = serving.twin(context_id="apart")
        other = apart.attach(server_context(server_identity))
        serving.attach(server)
        assert offer(client, other, earn(client, server)) == FULL
        assert offer(client, other, earn(client, other)) == RESUMED
        apart.close()


def server_context_like(server: ssl.SSLContext, ca: Authority) -> ssl.SSLContext:
    """Another context, which need not be resumed at."""
    return server_context(ca.issue("localhost"))


class TestDamaged:
    def test_cut_anywhere(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        serving.attach(server)
        session = earn(client, server)
        whole = entries(serving.store)
        for less in range(
            1, min(len(each.value) for each in whole), 3
        ):  # numbers in them have a byte more or less
            refill(serving.store, [each._replace(value=each.value[:-less]) for each in whole])
            assert offer(client, server, session) == FULL
        refill(serving.store, whole)
        assert offer(client, server, session) == RESUMED

    @pytest.mark.parametrize("what", ["one byte", "much", "another session"])
    def test_something_behind_it(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, what: str
    ) -> None:
        more: dict[str, Change] = {
            "one byte": lambda value: value + b"\0",
            "much": lambda value: value + bytes(20_000),
            "another session": lambda value: value + value,
        }
        serving.attach(server)
        session = earn(client, server)
        alter(serving.store, more[what])
        assert offer(client, server, session) == FULL

    def test_each_byte(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """Bits that are turned: what is resumed then is what both sides have, or the handshake fails by itself."""
        serving.attach(server)
        session, untouched = earn(client, server), earn(client, server)
        whole = entries(serving.store)
        for at in range(1, len(whole[0].value), 2):
            damaged = [each._replace(value=flipped(each.value, at)) for each in whole]
            refill(serving.store, damaged)
            offer(client, server, session)
        refill(serving.store, whole)
        # From Python 3.14 on ssl's session is the connection's own, and dies with a handshake that fails.
        assert offer(client, server, untouched) == RESUMED

    @pytest.mark.parametrize(
        "garbage", [b"", b"x", b"0", b"\x30\x80", b"x" * 9, b"x" * 100_000, b"x" * 8 + b"0"]
    )
    def test_garbage(
        self,
        way: Way,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        garbage: bytes,
        unraisables: Unraisables,
    ) -> None:
        """Said once, if it is not even the beginning of a session."""
        serving = Serving(way, idle_lifetime=100)
        serving.attach(server)
        sessions = [earn(client, server) for _ in range(3)]
        alter(serving.store, lambda value: garbage)
        assert [offer(client, server, each) for each in sessions] == [FULL] * 3
        assert {type(error) for error in unraisables.errors} <= {StoreError}
        assert len(unraisables.errors) <= 3
        assert offer(client, server, earn(client, server)) == RESUMED
        serving.close()


def flipped(value: bytes, at: int) -> bytes:
    changed = bytearray(value)
    changed[min(at, len(value) - 1)] ^= 1 << at % 8
    return bytes(changed)


class TestStamps:
    """What a session brings along in its application data: to what it is bound, and since when."""

    def check(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, change: Change) -> None:
        serving.attach(server)
        session = earn(client, server)
        found = entries(serving.store)
        changed = []
        for each in found:
            stamp = Session.from_der(each.value).ticket_appdata
            assert stamp is not None
            assert each.value.count(stamp) == 1
            assert len(change(stamp)) == len(stamp)
            changed.append(each._replace(value=each.value.replace(stamp, change(stamp))))
        refill(serving.store, changed)
        assert offer(client, server, session) == FULL

    def test_of_another_version(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        self.check(serving, client, server, lambda stamp: b"\x52" + stamp[1:])

    def test_of_another_time(self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        self.check(serving, client, server, lambda stamp: stamp[:17] + bytes(6) + stamp[23:])

    def test_none_at_all(
        self, way: Way, client: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity
    ) -> None:
        """A session of OpenSSL's own making, put into the store by somebody."""
        plain = server_context(server_identity, session_tickets=False)
        kept: list[Session] = []
        hooks = SessionHooks(plain, new=lambda conn, session: kept.append(session))
        session = earn(client, plain)
        hooks.close()
        serving = Serving(way)
        serving.attach(server)
        for each in kept:
            serving.store.add(key_of(each.id, each.version), each.to_der(), expires_at=2e9)
        assert offer(client, server, session) == FULL
        assert serving.cache.stats()["refused"] == 1
        serving.close()


def at_once(many: int, what: Callable[[], str]) -> list[str]:
    """What it returns to each of many threads that begin together."""
    together, found = threading.Barrier(many), list[str]()

    def work() -> None:
        together.wait(20)
        found.append(what())

    threads = [threading.Thread(target=work) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


class TestReplayed:
    def test_by_many_at_once(self, ca: Authority, server: ssl.SSLContext) -> None:
        """Of TLS 1.3: of all who propose one ticket, exactly one has it."""
        serving = Serving(STATEFUL)
        serving.attach(server)
        client = client_context(ca, version="1.3")
        for _ in range(5):
            session = earn(client, server)
            outcomes = at_once(8, lambda session=session: offer(client, server, session))
            assert sorted(outcomes) == [FULL] * 7 + [RESUMED]
        serving.close()

    def test_an_old_copy_of_the_store(self, ca: Authority, server: ssl.SSLContext) -> None:
        """Brings tickets back that were used: whoever can write to the store is trusted that much."""
        serving, client = Serving(STATEFUL), client_context(ca, version="1.3")
        serving.attach(server)
        session = earn(client, server)
        copy: list[Entry] = entries(serving.store)
        assert [offer(client, server, session) for _ in range(2)] == [RESUMED, FULL]
        refill(serving.store, copy)
        assert offer(client, server, session) == RESUMED
        serving.close()


def test_a_client_s_cache_in_the_same_store(ca: Authority, server: ssl.SSLContext, tls_version: str) -> None:
    """Neither finds what is the other's."""
    store, client = MemoryStore(), client_context(ca, version=tls_version)
    with ServerSessionCache(store) as cache, ClientSessionCache(store) as others:
        cache.attach(server)
        others.attach(client)
        assert not visit(client, server).reused
        assert visit(client, server).reused
        assert cache.stats()["resumed"] == others.stats()["resumed"] == 1
