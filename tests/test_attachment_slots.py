"""Whose callbacks stand in an `SSL_CTX`: what was there before is kept, called, and put back."""

from __future__ import annotations

import ssl
import threading
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.openssl_calls import (
    CACHE_CLIENT,
    CACHE_OFF,
    CACHE_SERVER,
    RawCallbacks,
    cache_mode,
    flush,
    lasting_callback,
    openssl,
    set_cache_mode,
    slots,
)
from helpers.peers import client_context, connect, server_context
from helpers.sessions import handle
from sslsession._borrow import context_pointer
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding

NAMES = ("new", "remove", "get")


def ignore(*_: object) -> None: ...


def hooks_on(ctx: ssl.SSLContext, *names: str, call: Any = ignore) -> sslsession.SessionHooks:
    return sslsession.SessionHooks(ctx, **dict.fromkeys(names or NAMES, call))


def exercise(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """A handshake, an offered session that the server lost, and the end of its cache: each callback is called."""
    pair = connect(client, server)
    session = sslsession.get_session(pair.client)
    pair.close()
    flush(server)
    assert session is not None
    connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session)).close()
    flush(server)


@pytest.fixture
def server(server_identity: Identity) -> ssl.SSLContext:
    return server_context(server_identity, session_tickets=False)


def test_only_the_slots_that_somebody_wants_are_taken(client: ssl.SSLContext) -> None:
    empty = slots(client)
    assert set(empty.values()) == {ffi.NULL}
    for name in NAMES:
        with hooks_on(client, name):
            taken = {slot for slot, held in slots(client).items() if held != ffi.NULL}
            assert taken == {name, "info"}
        assert slots(client) == empty
    with sslsession.SessionHooks(client):
        assert slots(client) == empty


def test_callbacks_set_before_are_called_as_often_and_come_back(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    raw = RawCallbacks(server)
    before = slots(server)
    exercise(client, server)
    alone = {name: raw.calls.count(name) for name in set(raw.calls)}
    assert set(alone) == {*NAMES, "info"}
    raw.calls.clear()
    calls: list[str] = []
    hooks = sslsession.SessionHooks(
        server,
        new=lambda *_: calls.append("new"),
        remove=lambda *_: calls.append("remove"),
        get=lambda *_: calls.append("get"),
    )
    assert all(held != before[name] for name, held in slots(server).items())
    exercise(client, server)
    hooks.close()
    assert {name: raw.calls.count(name) for name in set(raw.calls)} == alone
    assert {name: calls.count(name) for name in NAMES} == {name: alone[name] for name in NAMES}
    assert slots(server) == before
    raw.calls.clear()
    exercise(client, server)
    assert {name: raw.calls.count(name) for name in set(raw.calls)} == alone


def test_a_callback_that_took_the_session_keeps_its_reference(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    taken: list[Any] = []

    def keep(handle: Any, pointer: Any) -> int:
        taken.append(ffi.gc(pointer, lib.SSL_SESSION_free))
        return 1

    callback = lasting_callback("new_session_cb", keep)
    openssl.SSL_CTX_sess_set_new_cb(context_pointer(server), callback)
    with hooks_on(server, "new"):
        connect(client, server).close()
    flush(server)
    assert taken
    assert all(lib.SSL_SESSION_get_protocol_version(pointer) for pointer in taken)


def test_a_get_callback_set_before_answers_where_the_hook_does_not(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    kept: list[sslsession.Session] = []
    with sslsession.SessionHooks(server, new=lambda conn, session: kept.append(session)):
        pair = connect(client, server)
        session = sslsession.get_session(pair.client)
        pair.close()
        flush(server)

    def get(handle: Any, data: Any, length: int, copy: Any) -> Any:
        assert copy[0] == 1
        copy[0] = 0
        return lib.SSL_SESSION_dup(kept[-1]._pointer)

    callback = lasting_callback("get_session_cb", get)
    openssl.SSL_CTX_sess_set_get_cb(context_pointer(server), callback)
    assert session is not None
    with hooks_on(server, "get"):
        again = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
        assert again.client.session_reused
        again.close()


@pytest.mark.parametrize("mode", [CACHE_OFF, CACHE_CLIENT, CACHE_SERVER, 0x203], ids=hex)
def test_the_cache_mode_is_restored(client: ssl.SSLContext, server: ssl.SSLContext, mode: int) -> None:
    for ctx, needed in ((client, CACHE_CLIENT), (server, CACHE_SERVER)):
        set_cache_mode(ctx, mode)
        first, second = hooks_on(ctx, "new"), hooks_on(ctx, "new")
        assert cache_mode(ctx) & needed
        first.close()
        assert cache_mode(ctx) & needed
        second.close()
        assert cache_mode(ctx) == mode
        with hooks_on(ctx, "remove", "get"):
            assert cache_mode(ctx) == mode


def test_a_thread_that_was_on_its_way_into_ours_finds_theirs(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    raw = RawCallbacks(server, "new")
    with hooks_on(server, "new"):
        ours = openssl.SSL_CTX_sess_get_new_cb(context_pointer(server))
    pair = connect(client, server)
    before = raw.calls.count("new")
    ours(handle(pair.server), lib.SSL_get_session(handle(pair.server)))
    assert raw.calls.count("new") == before + 1
    pair.close()


def test_another_library_that_came_after_us_stays(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    seen: list[str] = []
    hooks = hooks_on(server, "new", call=lambda *_: seen.append("ours"))
    ours = openssl.SSL_CTX_sess_get_new_cb(context_pointer(server))

    def chained(handle: Any, pointer: Any) -> int:
        seen.append("theirs")
        return int(ffi.cast("new_session_cb", ours)(handle, pointer))

    theirs = lasting_callback("new_session_cb", chained)
    openssl.SSL_CTX_sess_set_new_cb(context_pointer(server), theirs)
    connect(client, server).close()
    assert set(seen) == {"theirs", "ours"}
    hooks.close()
    assert slots(server)["new"] == theirs
    seen.clear()
    connect(client, server).close()
    assert set(seen) == {"theirs"}
    seen.clear()
    with hooks_on(server, "new", call=lambda *_: seen.append("ours")):
        connect(client, server).close()
    assert seen[:2] == ["theirs", "ours"]
    assert seen.count("theirs") == seen.count("ours")


def test_joining_and_leaving_while_handshakes_run(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client = client_context(ca, version=tls_version)
    server = server_context(server_identity, session_tickets=False)
    raw = RawCallbacks(server)
    before, stop = slots(server), threading.Event()

    def restless() -> None:
        while not stop.is_set():
            hooks_on(server).close()

    threads = [threading.Thread(target=restless) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            exercise(client, server)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert slots(server) == before
    assert raw.calls.count("new") == 60 * (2 if tls_version == "1.3" else 1)
