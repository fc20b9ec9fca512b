"""The hook for removed sessions (SSL_CTX_sess_set_remove_cb): when it is called, how often, and from where."""

from __future__ import annotations

import queue
import ssl
import threading
import time
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.crowd import collect
from helpers.openssl_calls import (
    CACHE_SERVER,
    NO_INTERNAL_STORE,
    RawCallbacks,
    cached,
    flush,
    remove_from_cache,
    set_cache_mode,
    set_cache_size,
)
from helpers.peers import client_context, connect, server_context

pytestmark = pytest.mark.binding

WAIT = 20
MARKED = "this CPython marks a connection as shut down before it frees it (gh-116810), which removes nothing"


class Removed:
    """A remove hook that hands on what it is given."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[ssl.SSLContext | None, sslsession.Session]] = queue.Queue()
        self.threads: set[threading.Thread] = set()

    def __call__(self, ctx: ssl.SSLContext | None, session: sslsession.Session) -> None:
        self.threads.add(threading.current_thread())
        self._queue.put((ctx, session))

    def wait(self) -> tuple[ssl.SSLContext | None, sslsession.Session]:
        """The next removal, however long it takes to come."""
        return self._queue.get(timeout=WAIT)

    def rest(self) -> list[bytes]:
        """The ids of all that came and nobody waited for."""
        found = []
        while not self._queue.empty():
            found.append(self._queue.get()[1].id)
        return found


@pytest.fixture
def server(server_identity: Identity, tls_version: str) -> ssl.SSLContext:
    return server_context(server_identity, version=tls_version, session_tickets=False, tickets=1)


@pytest.fixture
def client(ca: Authority) -> ssl.SSLContext:
    return client_context(ca)


def make_one(client: ssl.SSLContext, server: ssl.SSLContext) -> bytes:
    """A session in the server's cache, its connection closed; its id."""
    pair = connect(client, server)
    session = sslsession.get_session(pair.server)
    pair.close()
    assert session is not None
    return session.id


def test_fact_22_expiry_removes(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    removed = Removed()
    with sslsession.SessionHooks(server, remove=removed):
        made = make_one(client, server)
        flush(server, int(time.time()) - 100)
        assert cached(server) == 1
        flush(server)
        ctx, session = removed.wait()
        assert (ctx, session.id) == (server, made)
    assert removed.rest() == []


def test_fact_22_a_connection_that_is_dropped_removes(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    removed, raw = Removed(), RawCallbacks(server, "remove")
    with sslsession.SessionHooks(server, remove=removed):
        pair = connect(client, server)
        session = sslsession.get_session(pair.server)
        pair.drop()
        assert session is not None
        if not raw.calls:
            pytest.skip(MARKED)
        assert removed.wait()[1].id == session.id
    assert removed.rest() == []


def test_fact_22_taking_it_out_of_the_cache_removes(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    removed = Removed()
    with sslsession.SessionHooks(server, remove=removed):
        pair = connect(client, server)
        session = sslsession.get_session(pair.server)
        remove_from_cache(server, pair.server)
        assert session is not None
        assert removed.wait()[1].id == session.id
        pair.close()
    assert removed.rest() == []


def test_fact_22_eviction_removes_the_oldest(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    removed = Removed()
    set_cache_size(server, 3)
    with sslsession.SessionHooks(server, remove=removed):
        made = [make_one(client, server) for _ in range(5)]
        left = cached(server)  # OpenSSL 3.0 keeps one fewer than it may
        assert 2 <= left <= 3
        assert [removed.wait()[1].id for _ in range(5 - left)] == made[: 5 - left]
    assert removed.rest() == []


def test_fact_22_the_end_of_its_context_removes_each(ca: Authority, server_identity: Identity) -> None:
    server = server_context(server_identity, session_tickets=False, tickets=1)
    client, removed = client_context(ca), Removed()
    hooks = sslsession.SessionHooks(server, remove=removed)
    made = {make_one(client, server) for _ in range(3)}
    del server
    collect()
    told = [removed.wait() for _ in made]
    assert {session.id for _, session in told} == made
    assert {ctx for ctx, _ in told} == {None}
    hooks.close()
    assert removed.rest() == []


def test_a_session_that_openssl_removes_twice_is_reported_once(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    removed = Removed()
    raw = RawCallbacks(server, "remove")
    with sslsession.SessionHooks(server, remove=removed):
        pair = connect(client, server)
        flush(server)
        remove_from_cache(server, pair.server)
        assert removed.wait()
    assert len(raw.calls) == 2, "OpenSSL tells of it twice"
    assert removed.rest() == []


def test_fact_23_openssl_has_withdrawn_it_when_remove_is_called(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    raw, removed = RawCallbacks(server, "remove"), Removed()
    with sslsession.SessionHooks(server, remove=removed):
        make_one(client, server)
        flush(server)
        assert raw.resumable == [False]
        assert not removed.wait()[1].is_resumable


def test_fact_23_a_hook_may_use_the_context_s_cache(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    done: queue.Queue[int] = queue.Queue()

    def remove(ctx: ssl.SSLContext | None, session: Any) -> None:
        assert ctx is not None
        flush(ctx)
        done.put(cached(ctx))

    with sslsession.SessionHooks(server, remove=remove):
        make_one(client, server)
        flush(server)
        assert done.get(timeout=WAIT) == 0


def test_removals_come_from_another_thread_than_openssl_s_call(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    removed = Removed()
    with sslsession.SessionHooks(server, remove=removed):
        make_one(client, server)
        flush(server)
        removed.wait()
    assert threading.current_thread() not in removed.threads


def test_closing_delivers_what_is_due_and_ends_the_thread(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    removed = Removed()
    before = set(threading.enumerate())
    for count in (1, 50):
        hooks = sslsession.SessionHooks(server, remove=removed)
        made = {make_one(client, server) for _ in range(count)}
        flush(server)
        hooks.close()
        assert set(removed.rest()) == made
    assert set(threading.enumerate()) <= before


def test_after_close_nothing_is_reported(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    removed, other = Removed(), Removed()
    sslsession.SessionHooks(server, remove=removed).close()
    with sslsession.SessionHooks(server, remove=other):
        make_one(client, server)
        flush(server)
        other.wait()
    assert removed.rest() == []


def test_a_hook_may_close_its_own_hooks(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    closed: queue.Queue[str] = queue.Queue()

    def remove(ctx: Any, session: Any) -> None:
        hooks.close()
        closed.put("closed")

    hooks = sslsession.SessionHooks(server, remove=remove)
    make_one(client, server)
    flush(server)
    assert closed.get(timeout=WAIT) == "closed"


def test_closing_the_last_hooks_waits_for_one_that_runs(ca: Authority, server_identity: Identity) -> None:
    done = run_python(
        """
        import threading
        import sslsession
        from helpers import child_contexts
        from helpers.openssl_calls import flush
        from helpers.peers import connect

        entered, go_on, done, at_close = threading.Event(), threading.Event(), [], []

        def remove(ctx, session):
            entered.set()
            go_on.wait(20)
            done.append(session)

        def close():
            hooks.close()
            at_close.append(len(done))

        server = child_contexts.server(session_tickets=False, tickets=1)
        hooks = sslsession.SessionHooks(server, remove=remove)
        connect(child_contexts.client(), server).close()
        flush(server)
        assert entered.wait(20)
        closer = threading.Thread(target=close)
        closer.start()
        go_on.set()
        closer.join(20)
        print(at_close)
        """,
        args=arguments(ca, server_identity),
    )
    assert done.stdout == "[1]\n"


def test_somebody_who_joins_while_the_last_one_leaves_hears_of_removals(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    removed, leaving = Removed(), True

    def leave_and_join() -> None:
        while leaving:
            sslsession.SessionHooks(server, remove=Removed()).close()

    restless = threading.Thread(target=leave_and_join)
    restless.start()
    try:
        for _ in range(30):
            with sslsession.SessionHooks(server, remove=removed):
                made = make_one(client, server)
                flush(server)
                assert removed.wait()[1].id == made
    finally:
        leaving = False
        restless.join()


def test_with_no_cache_of_openssl_s_a_drop_is_still_reported(
    ca: Authority, server_identity: Identity
) -> None:
    server = server_context(server_identity, session_tickets=False, tickets=1)
    set_cache_mode(server, CACHE_SERVER | NO_INTERNAL_STORE)
    removed, raw = Removed(), RawCallbacks(server, "remove")
    with sslsession.SessionHooks(server, remove=removed):
        connect(client_context(ca), server).drop()
        if not raw.calls:
            pytest.skip(MARKED)
        assert removed.wait()
    assert removed.rest() == []
