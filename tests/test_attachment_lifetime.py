"""Hooks, contexts and connections die in any order: callbacks that come late, addresses that come back."""

from __future__ import annotations

import gc
import ssl
import sys
import weakref
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.openssl_calls import flush, slots
from helpers.peers import Pair, client_context, connect, server_context
from sslsession._borrow import context_pointer
from sslsession._callbacks import handlers
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding

PYPY = sys.implementation.name == "pypy"


class Seen(list):
    """A new hook that keeps what it is given."""

    def __call__(self, conn: Any, session: sslsession.Session) -> None:
        self.append((conn, session))


class Hook:
    """A hook that can be referred to weakly."""

    def __call__(self, *_: object) -> None: ...


def collect() -> None:
    for _ in range(3):
        gc.collect()


def unread_ticket(client: ssl.SSLContext, server: ssl.SSLContext) -> Pair:
    """A TLS 1.3 connection whose tickets are sent and not yet read."""
    return Pair(client, server).handshake()


def test_fact_42_a_ticket_may_come_when_the_context_object_is_gone(
    ca: Authority, server_identity: Identity
) -> None:
    client, seen = client_context(ca, version="1.3"), Seen()
    hooks = sslsession.SessionHooks(client, new=seen)
    pair = unread_ticket(client, server_context(server_identity))
    del client
    collect()
    pair.exchange()
    assert len(seen) == 2
    assert all(conn is pair.client and session.is_resumable for conn, session in seen)
    hooks.close()


@pytest.mark.skipif(PYPY, reason="what dies when is CPython's")
def test_fact_42_a_ticket_may_come_when_the_connection_object_is_gone(
    ca: Authority, server_identity: Identity
) -> None:
    client, seen = client_context(ca, version="1.3"), Seen()
    with sslsession.SessionHooks(client, new=seen):
        pair = unread_ticket(client, server_context(server_identity))
        bare = pair.client._sslobj  # type: ignore[attr-defined]
        del pair.client
        with pytest.raises(ssl.SSLWantReadError):
            bare.read(1)
    assert [(conn, session.is_resumable) for conn, session in seen] == [(None, True)] * 2


def test_fact_42_a_ticket_may_come_when_the_hooks_are_closed_or_dropped(
    ca: Authority, server_identity: Identity
) -> None:
    client, seen = client_context(ca, version="1.3"), Seen()
    hooks = sslsession.SessionHooks(client, new=seen)
    closed = unread_ticket(client, server_context(server_identity))
    hooks.close()
    closed.exchange()
    assert seen == []
    sslsession.SessionHooks(client, new=seen)
    dropped = unread_ticket(client, server_context(server_identity))
    collect()
    dropped.exchange()
    assert len(seen) == 2, "hooks stay until they are closed, like OpenSSL's"


def test_hooks_outlive_their_context(ca: Authority, server_identity: Identity, tls_version: str) -> None:
    client = client_context(ca, version=tls_version)
    hooks = sslsession.SessionHooks(client, new=Seen(), remove=Seen(), get=Seen())
    connect(client, server_context(server_identity)).close()
    del client
    collect()
    assert isinstance(hooks.new, Seen)
    hooks.close()
    hooks.close()
    assert hooks.new is None


def test_a_context_that_went_takes_its_hooks_along(ca: Authority) -> None:
    ctx, hook = client_context(ca), Hook()
    gone = weakref.ref(hook)
    sslsession.SessionHooks(ctx, new=hook)
    del ctx, hook
    collect()
    sslsession.SessionHooks(client_context(ca)).close()
    collect()
    assert gone() is None


def test_contexts_that_come_and_go_leave_nothing_behind(ca: Authority) -> None:
    sslsession.SessionHooks(client_context(ca)).close()
    before = len(handlers)
    for _ in range(200):
        sslsession.SessionHooks(client_context(), new=Hook(), remove=Hook(), get=Hook())
    collect()
    sslsession.SessionHooks(client_context(ca)).close()
    assert len(handlers) <= before + 2
    assert lib.sslsession_events_queued() == 0


def test_a_context_without_hooks_is_freed_as_always(ca: Authority) -> None:
    ctx = client_context(ca)
    sslsession.SessionHooks(ctx, new=Hook()).close()
    gone = weakref.ref(ctx)
    del ctx
    collect()
    assert gone() is None


@pytest.mark.skipif(PYPY, reason="contexts are not freed at once there")
def test_fact_59_an_ssl_ctx_at_the_address_of_a_dead_one_has_no_hooks(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    server, seen, reused = server_context(server_identity), Seen(), 0
    for _ in range(20):
        client = client_context(ca, version=tls_version)
        address, number = address_of(client), lib.sslsession_context_id(context_pointer(client))
        hooks = sslsession.SessionHooks(client, new=seen, remove=seen, get=seen)
        del client
        fresh = client_context(ca, version=tls_version)
        reused += address_of(fresh) == address
        assert lib.sslsession_context_id(context_pointer(fresh)) != number
        assert set(slots(fresh).values()) == {ffi.NULL}
        connect(fresh, server).close()
        hooks.close()
    assert seen == []
    if not reused:
        pytest.skip("this allocator, as valgrind's, gives no address out again")


def address_of(ctx: ssl.SSLContext) -> int:
    return int(ffi.cast("uintptr_t", context_pointer(ctx)))


def test_fact_59_after_sni_callback_the_first_context_s_hooks_are_called(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    """Even where its Python object is gone by then."""
    contexts = [
        server_context(server_identity, version=tls_version, session_tickets=False, tickets=1)
        for _ in range(2)
    ]
    seen = Seen(), Seen()
    hooks = [sslsession.SessionHooks(ctx, new=new) for ctx, new in zip(contexts, seen)]
    second, gone = contexts.pop(), weakref.ref(contexts[0])

    def choose(conn: Any, name: Any, ctx: Any) -> None:
        conn.context = second

    contexts[0].sni_callback = choose
    pair = Pair(client_context(ca), contexts.pop()).handshake()
    collect()
    if not PYPY:
        assert gone() is None
    pair.exchange()
    assert pair.server.context is second
    assert ([conn for conn, _ in seen[0]], list(seen[1])) == ([pair.server], [])
    pair.close()
    for each in hooks:
        each.close()


def test_a_context_set_before_the_handshake_may_be_freed_after_it_changed_again(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    """The record of a connection must not point into the second of three contexts."""
    contexts = [server_context(server_identity, version=tls_version, session_tickets=False) for _ in range(3)]
    seen = Seen()
    hooks = [sslsession.SessionHooks(ctx, new=seen, remove=Hook(), get=Hook()) for ctx in contexts]
    third = contexts.pop()

    def choose(conn: Any, name: Any, ctx: Any) -> None:
        conn.context = third

    contexts[1].sni_callback = choose
    pair = Pair(client_context(ca), contexts[0])
    gone = weakref.ref(contexts[1])
    pair.server.context = contexts.pop()
    pair.handshake()
    collect()
    if not PYPY:
        assert gone() is None
    pair.exchange()
    assert pair.server.context is third
    assert seen
    pair.close()
    flush(contexts[0])
    for each in hooks:
        each.close()


def test_fact_60_the_policy_is_of_the_handshake_s_start(ca: Authority, server_identity: Identity) -> None:
    client = client_context(version="1.3", verify=False)
    seen = Seen()
    with sslsession.SessionHooks(client, new=seen):
        pair = unread_ticket(client, server_context(server_identity))
        client.verify_mode = ssl.CERT_REQUIRED
        client.check_hostname = True
        ca.trust(client)
        pair.exchange()
        strict = connect(client, server_context(server_identity))
    lax_sessions, strict_sessions = seen[:2], seen[2:]
    assert {session.policy.verify_mode for _, session in lax_sessions} == {ssl.CERT_NONE}
    assert {session.policy.verifies for _, session in lax_sessions} == {False}
    assert {session.cert_data.verified for _, session in lax_sessions} == {False}
    assert {session.policy.verify_mode for _, session in strict_sessions} == {ssl.CERT_REQUIRED}
    assert {session.cert_data.verified for _, session in strict_sessions} == {True}
    strict.close()
    pair.close()


def test_fact_60_a_lax_session_does_not_pass_where_verification_is_asked_for(
    ca: Authority, other_ca: Authority, server_identity: Identity
) -> None:
    client, seen = client_context(version="1.3", verify=False), Seen()
    server = server_context(server_identity)
    with sslsession.SessionHooks(client, new=seen):
        pair = unread_ticket(client, server)
        client.verify_mode = ssl.CERT_REQUIRED
        other_ca.trust(client)
        pair.exchange()
        fresh = Pair(client, server)
        with pytest.raises(sslsession.SessionMismatch):
            sslsession.set_session(fresh.client, seen[0][1])
    pair.close()
