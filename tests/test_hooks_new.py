"""`SessionHooks`: the getters, and the hook for new sessions (SSL_CTX_sess_set_new_cb)."""

from __future__ import annotations

import gc
import ssl
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.openssl_calls import (
    CACHE_CLIENT,
    CACHE_OFF,
    CACHE_SERVER,
    RawCallbacks,
    cached,
    set_cache_mode,
)
from helpers.peers import Pair, client_context, connect, server_context

pytestmark = pytest.mark.binding

IDS = {"session_tickets": False}
NOBODY = (None, ssl.PROTOCOL_TLS_CLIENT, object(), "context")


class Seen(list):
    """A new hook that keeps what it is given: (conn, session) pairs."""

    answer: bool | None = None

    def __call__(self, conn: Any, session: sslsession.Session) -> bool | None:
        self.append((conn, session))
        return self.answer

    @property
    def ids(self) -> list[bytes]:
        return [session.id for _, session in self]


def test_fact_19_the_getters_return_what_was_set_and_none_where_nothing_is(ca: Authority) -> None:
    def new(conn: Any, session: Any) -> None: ...
    def remove(ctx: Any, session: Any) -> None: ...
    def get(conn: Any, session_id: Any) -> None: ...

    ctx = client_context(ca)
    with sslsession.SessionHooks(ctx, new=new, remove=remove, get=get) as hooks:
        assert (hooks.new, hooks.remove, hooks.get) == (new, remove, get)
    assert (hooks.new, hooks.remove, hooks.get) == (None, None, None)
    with sslsession.SessionHooks(ctx) as hooks:
        assert (hooks.new, hooks.remove, hooks.get) == (None, None, None)
    with sslsession.SessionHooks(ctx, get=get) as hooks:
        assert (hooks.new, hooks.remove, hooks.get) == (None, None, get)


@pytest.mark.parametrize("ctx", NOBODY, ids=repr)
def test_what_is_no_context_is_a_type_error(ctx: Any) -> None:
    with pytest.raises(TypeError, match=r"ssl\.SSLContext"):
        sslsession.SessionHooks(ctx)


@pytest.mark.parametrize("name", ["new", "remove", "get"])
def test_a_hook_that_cannot_be_called_is_a_type_error(ca: Authority, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} hook"):
        sslsession.SessionHooks(client_context(ca), **{name: 7})


def test_closing_again_does_nothing(ca: Authority) -> None:
    hooks = sslsession.SessionHooks(client_context(ca), new=Seen())
    hooks.close()
    hooks.close()


@pytest.mark.parametrize(
    ("mode", "called"),
    [(CACHE_OFF, False), (CACHE_SERVER, False), (CACHE_CLIENT, True)],
    ids=["off", "server", "client"],
)
def test_fact_20_openssl_tells_a_client_of_new_sessions_in_its_cache_mode_only(
    ca: Authority, server_identity: Identity, mode: int, called: bool
) -> None:
    ctx = client_context(ca)
    set_cache_mode(ctx, mode)
    raw = RawCallbacks(ctx, "new")
    connect(ctx, server_context(server_identity)).close()
    assert bool(raw.calls) is called


@pytest.mark.parametrize("mode", [CACHE_OFF, CACHE_CLIENT], ids=["off", "client"])
def test_fact_20_openssl_tells_a_server_of_none_in_other_modes(
    ca: Authority, server_identity: Identity, mode: int, tls_version: str
) -> None:
    server = server_context(server_identity, version=tls_version, **IDS)
    set_cache_mode(server, mode)
    raw = RawCallbacks(server, "new")
    connect(client_context(ca), server).close()
    assert raw.calls == []


def test_fact_20_a_hook_is_called_whatever_the_mode_was(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity, **IDS)
    for ctx in (client, server):
        set_cache_mode(ctx, CACHE_OFF)
    at_client, at_server = Seen(), Seen()
    with sslsession.SessionHooks(client, new=at_client), sslsession.SessionHooks(server, new=at_server):
        pair = connect(client, server)
        tickets = 2 if tls_version == "1.3" else 1
        assert (len(at_client), len(at_server)) == (tickets, tickets)
        assert all(conn is pair.client for conn, _ in at_client)
        assert all(conn is pair.server for conn, _ in at_server)
        pair.close()


def test_fact_20_a_tls12_server_that_issues_tickets_never_calls(
    ca: Authority, server_identity: Identity
) -> None:
    server = server_context(server_identity, version="1.2")
    seen = Seen()
    with sslsession.SessionHooks(server, new=seen):
        connect(client_context(ca), server).close()
    assert seen == []


def test_what_a_client_hook_was_given_resumes(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    seen = Seen()
    with sslsession.SessionHooks(client, new=seen):
        connect(client, server).drop()
        for _, session in list(seen):
            assert session.is_resumable
            with Pair(
                client, server, prepare=lambda conn, s=session: sslsession.set_session(conn, s)
            ) as pair:
                assert pair.client.session_reused


@pytest.mark.parametrize("returned", [0, 1])
def test_fact_21_for_openssl_the_session_stays_in_its_cache_whatever_new_cb_returns(
    ca: Authority, server_identity: Identity, tls_version: str, returned: int
) -> None:
    server = server_context(server_identity, version=tls_version, tickets=1, **IDS)
    raw = RawCallbacks(server, "new", new_returns=0)
    connect(client_context(ca), server).close()
    assert (raw.calls, cached(server)) == (["new"], 1)
    assert raw.resumable == [True]


@pytest.mark.parametrize(("answer", "kept"), [(False, 0), (None, 1), (True, 1)])
def test_fact_21_a_hook_that_returns_false_takes_it_out_of_the_cache(
    ca: Authority, server_identity: Identity, tls_version: str, answer: bool | None, kept: int
) -> None:
    client = client_context(ca, version=tls_version)
    server = server_context(server_identity, tickets=1, **IDS)
    seen = Seen()
    seen.answer = answer
    with sslsession.SessionHooks(server, new=seen):
        first = connect(client, server)
        session = sslsession.get_session(first.client)
        first.close()
        assert cached(server) == kept
        assert session is not None
        again = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
        assert again.client.session_reused is bool(kept)
        again.close()


def test_fact_21_refusing_one_ticket_of_two_leaves_the_other_usable(
    ca: Authority, server_identity: Identity
) -> None:
    client, server = client_context(ca, version="1.3"), server_context(server_identity, tickets=2, **IDS)
    at_client, at_server = Seen(), Seen()

    def first_refused(conn: Any, session: sslsession.Session) -> bool:
        at_server(conn, session)
        return len(at_server) != 1

    with sslsession.SessionHooks(client, new=at_client), sslsession.SessionHooks(server, new=first_refused):
        connect(client, server).close()
        reused = []
        for _, session in list(at_client):
            again = connect(client, server, prepare=lambda conn, s=session: sslsession.set_session(conn, s))
            reused.append(again.client.session_reused)
            again.close()
    assert reused == [False, True]
    assert [session.is_resumable for _, session in at_server[:2]] == [True, True]


def test_fact_21_a_client_hook_that_returns_false_leaves_the_connection_alone(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    seen = Seen()
    seen.answer = False
    with sslsession.SessionHooks(client, new=seen):
        pair = connect(client, server)
        pair.exchange(b"again")
        pair.close()
    assert seen


def test_sessions_of_a_hook_own_their_memory(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    seen = Seen()
    with sslsession.SessionHooks(client, new=seen):
        connect(client, server).drop()
    sessions = [session for _, session in seen]
    seen.clear()
    del client, server
    gc.collect()
    assert all(session.to_der() and session.master_secret and session.server_name for session in sessions)
