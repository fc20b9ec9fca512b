"""The hook that finds sessions by id for a server (SSL_CTX_sess_set_get_cb)."""

from __future__ import annotations

import ssl
from typing import Any, Callable

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.openssl_calls import (
    CACHE_OFF,
    CACHE_SERVER,
    NO_INTERNAL_STORE,
    RawCallbacks,
    Unraisables,
    cached,
    flush,
    openssl,
    set_cache_mode,
)
from helpers.peers import Pair, client_context, connect, server_context
from sslsession import Session
from sslsession._borrow import context_pointer
from sslsession._libssl import ffi

pytestmark = pytest.mark.binding


class Store:
    """New and get hooks over a dictionary: what a server shares with other processes."""

    def __init__(self, form: Callable[[Session], Any] = lambda session: session) -> None:
        self.kept: dict[bytes, Any] = {}
        self.asked: list[tuple[Any, bytes]] = []
        self._form = form

    def new(self, conn: Any, session: Session) -> None:
        self.kept[session.id] = self._form(session)

    def get(self, conn: Any, session_id: bytes) -> Any:
        self.asked.append((conn, session_id))
        return self.kept.get(session_id)


def by_id(identity: Identity, version: str, **settings: Any) -> ssl.SSLContext:
    return server_context(identity, version=version, session_tickets=False, tickets=1, **settings)


def take(client: ssl.SSLContext, server: ssl.SSLContext) -> Session:
    """A client's session from a new connection, closed cleanly."""
    pair = connect(client, server)
    session = sslsession.get_session(pair.client)
    pair.close()
    assert session is not None
    assert session.is_resumable
    return session


def resume(client: ssl.SSLContext, server: ssl.SSLContext, session: Session) -> bool:
    pair = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
    reused = pair.client.session_reused
    assert pair.server.session_reused is reused
    pair.close()
    return bool(reused)


FORMS = {
    "session": lambda s: s,
    "bytes": Session.to_bytes,
    "der": Session.to_der,
    "view": lambda s: memoryview(s.to_der()),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_second_server_resumes_what_the_first_made(
    ca: Authority, server_identity: Identity, tls_version: str, form: str
) -> None:
    store = Store(FORMS[form])
    first, second = by_id(server_identity, tls_version), by_id(server_identity, tls_version)
    client = client_context(ca, version=tls_version)
    with sslsession.SessionHooks(first, new=store.new):
        session = take(client, first)
    with sslsession.SessionHooks(second, get=store.get):
        assert resume(client, second, session)
    ((conn, _),) = store.asked
    assert isinstance(conn, ssl.SSLObject)
    assert conn.context is second


def test_fact_24_the_internal_cache_is_asked_first(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    store, client, server = (
        Store(),
        client_context(ca, version=tls_version),
        by_id(server_identity, tls_version),
    )
    with sslsession.SessionHooks(server, new=store.new, get=store.get):
        assert resume(client, server, take(client, server))
        assert store.asked == []
        session = take(client, server)
        flush(server)
        assert resume(client, server, session)
        assert len(store.asked) == 1


def test_fact_24_also_with_the_cache_off(ca: Authority, server_identity: Identity) -> None:
    store, client, server = Store(), client_context(ca, version="1.2"), by_id(server_identity, "1.2")
    with sslsession.SessionHooks(server, new=store.new):
        session = take(client, server)
    set_cache_mode(server, CACHE_OFF)
    flush(server)
    with sslsession.SessionHooks(server, get=store.get):
        resume(client, server, session)
    assert len(store.asked) == 1


def test_fact_24_never_for_tickets_that_the_server_reads_itself(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    store, client = Store(), client_context(ca, version=tls_version)
    server = server_context(server_identity, version=tls_version)
    with sslsession.SessionHooks(server, get=store.get):
        assert resume(client, server, take(client, server))
    assert store.asked == []


def test_fact_24_tls12_asks_for_ids_that_a_tls13_client_made_up(
    ca: Authority, server_identity: Identity
) -> None:
    """RFC 8446 D.4: such a client sends 32 random bytes for the sake of middleboxes."""
    store, server = Store(), by_id(server_identity, "1.2")
    with sslsession.SessionHooks(server, get=store.get):
        connect(client_context(ca, version="1.2"), server).close()
        assert store.asked == []
        connect(client_context(ca), server).close()
    assert [len(session_id) for _, session_id in store.asked] == [32]


def test_fact_24_never_on_clients(ca: Authority, server_identity: Identity, tls_version: str) -> None:
    store, client = Store(), client_context(ca, version=tls_version)
    server = by_id(server_identity, tls_version)
    with sslsession.SessionHooks(client, get=store.get):
        assert resume(client, server, take(client, server))
    assert store.asked == []


@pytest.mark.parametrize("form", ["session", "bytes"])
def test_fact_24_a_session_that_is_not_resumable_is_ignored(
    ca: Authority, server_identity: Identity, tls_version: str, form: str
) -> None:
    client, server, removed = (
        client_context(ca, version=tls_version),
        by_id(server_identity, tls_version),
        Store(FORMS[form]),
    )
    with sslsession.SessionHooks(server, remove=removed.new, get=removed.get) as hooks:
        session = take(client, server)
        flush(server)
        hooks.close()
    assert len(removed.kept) == 1
    with sslsession.SessionHooks(server, get=removed.get):
        assert not resume(client, server, session)
    assert len(removed.asked) == 1


def test_a_session_of_another_id_breaks_nothing(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server, store = (
        client_context(ca, version=tls_version),
        by_id(server_identity, tls_version),
        Store(),
    )
    with sslsession.SessionHooks(server, new=store.new):
        asked_for = take(client, server)
        store.kept.clear()
        take(client, server)
        flush(server)
    (wrong,) = store.kept.values()
    with sslsession.SessionHooks(server, get=lambda conn, session_id: wrong), Unraisables() as reported:
        assert not resume(client, server, asked_for)
    assert [type(error) for error in reported.errors] == [sslsession.SessionMismatch]


def test_fact_25_copy_arrives_as_1(ca: Authority, server_identity: Identity, tls_version: str) -> None:
    client, server = client_context(ca, version=tls_version), by_id(server_identity, tls_version)
    session = take(client, server)
    flush(server)
    raw = RawCallbacks(server, "get")
    assert not resume(client, server, session)
    assert raw.copy == [1]


def test_fact_25_one_session_serves_often_and_stays_the_hook_s(
    ca: Authority, server_identity: Identity
) -> None:
    store, client, server = Store(), client_context(ca, version="1.2"), by_id(server_identity, "1.2")
    with sslsession.SessionHooks(server, new=store.new, get=store.get):
        session = take(client, server)
        (kept,) = store.kept.values()
        for _ in range(20):
            flush(server)
            assert resume(client, server, session)
    assert len(store.asked) == 20
    assert kept.is_resumable
    assert Session.from_der(kept.to_der()).id == kept.id


def test_fact_26_the_id_is_a_copy(ca: Authority, server_identity: Identity, tls_version: str) -> None:
    client, server, store = (
        client_context(ca, version=tls_version),
        by_id(server_identity, tls_version),
        Store(),
    )
    expected = []
    with sslsession.SessionHooks(server, new=lambda conn, session: expected.append(session.id)):
        sessions = [take(client, server) for _ in range(5)]
        wanted = expected[:]
        flush(server)
        with sslsession.SessionHooks(server, get=store.get):
            for session in sessions:
                resume(client, server, session)
    assert [session_id for _, session_id in store.asked] == wanted
    assert {type(session_id) for _, session_id in store.asked} == {bytes}


@pytest.mark.parametrize("mode", [CACHE_SERVER, CACHE_SERVER | NO_INTERNAL_STORE], ids=["store", "no store"])
def test_fact_44_what_get_returned_goes_into_the_internal_cache_unless_it_stores_nothing(
    ca: Authority, server_identity: Identity, tls_version: str, mode: int
) -> None:
    store, client, server = (
        Store(),
        client_context(ca, version=tls_version),
        by_id(server_identity, tls_version),
    )
    with sslsession.SessionHooks(server, new=store.new, get=store.get):
        session = take(client, server)
        flush(server)
        set_cache_mode(server, mode)
        pair = Pair(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
        store_id = next(iter(store.kept))
        pair.handshake()
        assert pair.client.session_reused
        assert (store_id in cached_ids(server)) is (mode == CACHE_SERVER)
        pair.close()


def cached_ids(server: ssl.SSLContext) -> set[bytes]:
    """The ids that a flush tells of."""
    raw = RawCallbacks(server, "remove")
    flush(server)
    assert cached(server) == 0
    openssl.SSL_CTX_sess_set_remove_cb(context_pointer(server), ffi.NULL)
    return set(raw.sessions)
