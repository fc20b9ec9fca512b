"""Exceptions in hooks: never in the way of a handshake, never lost, and never a session kept or resumed by accident."""

from __future__ import annotations

import signal
import ssl
import sys
import threading
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.openssl_calls import Unraisables, cached, flush, openssl
from helpers.peers import Pair, SocketPair, client_context, connect, server_context
from sslsession._callbacks import callback_errors
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding

ALLOW_CLIENT_RENEGOTIATION, NO_RESUMPTION_ON_RENEGOTIATION = 0x100, 0x10000


class Oops(Exception):
    pass


def failing(*_: object) -> Any:
    raise Oops("from a hook")


def test_fact_45_a_new_hook_that_raises_keeps_nothing(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client = client_context(ca, version=tls_version)
    server = server_context(server_identity, session_tickets=False, tickets=1)
    before = callback_errors()
    with sslsession.SessionHooks(server, new=failing), Unraisables() as reported:
        pair = connect(client, server)
        session = sslsession.get_session(pair.client)
        pair.close()
        assert cached(server) == 0
        assert [type(error) for error in reported.errors] == [Oops]
        assert callback_errors() == before + 1
        assert session is not None
        again = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
        assert not again.client.session_reused
        again.close()


def test_a_client_hook_that_raises_leaves_the_connection_working(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    with sslsession.SessionHooks(client, new=failing), Unraisables() as reported:
        pair = connect(client, server)
        pair.exchange(b"still here")
        pair.close()
    assert len(reported.errors) == (2 if tls_version == "1.3" else 1)


@pytest.mark.parametrize("result", [Oops("from get"), b"junk", b"", 7, "text", object()], ids=repr)
def test_fact_45_a_get_hook_that_fails_means_a_full_handshake(
    ca: Authority, server_identity: Identity, tls_version: str, result: Any
) -> None:
    def get(conn: Any, session_id: bytes) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    client = client_context(ca, version=tls_version)
    server = server_context(server_identity, session_tickets=False)
    with sslsession.SessionHooks(server, get=get), Unraisables() as reported:
        first = connect(client, server)
        session = sslsession.get_session(first.client)
        first.close()
        flush(server)
        assert session is not None
        again = connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session))
        assert not again.client.session_reused
        again.close()
    (error,) = reported.errors
    expected = {bytes: sslsession.InvalidSession, Oops: Oops}.get(type(result), TypeError)
    assert isinstance(error, expected)


def test_fact_22_exceptions_of_a_remove_hook_go_to_unraisablehook(
    ca: Authority, server_identity: Identity
) -> None:
    server = server_context(server_identity, session_tickets=False, tickets=1)
    before = callback_errors()
    calls = []

    def remove(ctx: Any, session: Any) -> None:
        calls.append(session)
        raise Oops("from remove")

    with Unraisables() as reported:
        with sslsession.SessionHooks(server, remove=remove):
            for _ in range(3):
                connect(client_context(ca), server).close()
            flush(server)
        assert len(calls) == 3
        assert [type(error) for error in reported.errors] == [Oops] * 3
    assert callback_errors() == before + 3


def test_an_unraisablehook_that_raises_does_not_end_the_deliveries(
    ca: Authority, server_identity: Identity
) -> None:
    done = run_python(
        """
        import queue, sys
        import sslsession
        from helpers import child_contexts
        from helpers.openssl_calls import flush
        from helpers.peers import connect

        def broken(unraisable):
            raise RuntimeError("broken hook")

        removed = queue.Queue()
        def remove(ctx, session):
            removed.put(session)
            raise ValueError("from remove")

        sys.unraisablehook = broken
        server = child_contexts.server(session_tickets=False, tickets=1)
        client = child_contexts.client()
        hooks = sslsession.SessionHooks(server, remove=remove)
        for _ in range(3):
            connect(client, server).close()
            flush(server)
            removed.get(timeout=20)
        sys.unraisablehook = sys.__unraisablehook__
        print("delivered")
        """,
        args=arguments(ca, server_identity),
    )
    assert done.stdout == "delivered\n"


def test_by_default_an_exception_is_printed_with_its_traceback(
    ca: Authority, server_identity: Identity
) -> None:
    done = run_python(
        """
        import sslsession
        from helpers import child_contexts
        from helpers.peers import connect

        def new_hook_of_mine(conn, session):
            raise ValueError("what went wrong")

        client = child_contexts.client(version="1.2")
        with sslsession.SessionHooks(client, new=new_hook_of_mine):
            connect(client, child_contexts.server()).close()
        """,
        args=arguments(ca, server_identity),
    )
    assert "Exception ignored in" in done.stderr
    assert "new_hook_of_mine" in done.stderr
    assert "ValueError: what went wrong" in done.stderr


def test_the_caller_of_a_direct_api_gets_the_hook_s_exception(
    ca: Authority, server_identity: Identity
) -> None:
    client, server = client_context(ca, version="1.3"), server_context(server_identity)
    pair = connect(client, server)
    with Unraisables() as reported, sslsession.SessionHooks(server, new=failing):
        with pytest.raises(Oops):
            sslsession.send_new_ticket(pair.server)
        assert reported.errors == []
        pair.exchange(b"and the connection works")
    pair.close()


def test_a_renegotiation_raises_what_a_client_s_hook_raised(ca: Authority, server_identity: Identity) -> None:
    server = server_context(server_identity, version="1.2")
    server.options |= ALLOW_CLIENT_RENEGOTIATION
    client = client_context(ca, version="1.2")
    with SocketPair(client, server) as pair:
        pair.exchange()
        answer = threading.Thread(target=lambda: pair.server.sendall(pair.server.recv(100)))
        answer.start()
        with Unraisables() as reported, sslsession.SessionHooks(client, new=failing):
            with pytest.raises(Oops):
                sslsession.renegotiate(pair.client)
        pair.client.sendall(b"on it goes")
        answer.join()
        assert pair.client.recv(100) == b"on it goes"
    assert reported.errors == []


def test_without_a_caller_of_ours_a_renegotiation_reports(ca: Authority, server_identity: Identity) -> None:
    server = server_context(server_identity, version="1.2", session_tickets=False)
    server.options |= NO_RESUMPTION_ON_RENEGOTIATION
    pair = connect(client_context(ca, version="1.2"), server)
    with Unraisables() as reported, sslsession.SessionHooks(server, new=failing):
        sslsession.renegotiate(pair.server)
        assert reported.errors == []
        pair.pump()
        assert [type(error) for error in reported.errors] == [Oops]
    pair.exchange(b"on it goes")
    pair.close()


def left_an_error() -> None:
    lib.d2i_X509(ffi.NULL, ffi.new("unsigned char **", ffi.from_buffer(b"\0\0")), 2)
    assert openssl.ERR_peek_last_error()


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_a_hook_leaves_in_openssl_s_error_queue_fails_no_handshake(
    ca: Authority, server_identity: Identity, tls_version: str, side: str
) -> None:
    client = client_context(ca, version=tls_version)
    server = server_context(server_identity, session_tickets=False)
    calls: list[str] = []

    def new(conn: Any, session: Any) -> None:
        calls.append("new")
        left_an_error()

    def get(conn: Any, session_id: Any) -> None:
        calls.append("get")
        left_an_error()

    with sslsession.SessionHooks(client if side == "client" else server, new=new, get=get):
        first = connect(client, server)
        session = sslsession.get_session(first.client)
        first.close()
        flush(server)
        assert session is not None
        connect(client, server, prepare=lambda conn: sslsession.set_session(conn, session)).close()
    assert set(calls) == ({"new"} if side == "client" else {"new", "get"})


def test_our_own_calls_leave_nothing_in_openssl_s_error_queue(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client = client_context(ca, version=tls_version, check_hostname=False)
    pair = connect(client, server_context(server_identity))
    for conn in (pair.server, pair.client):
        assert sslsession.get_session(conn) is not None
        assert not openssl.ERR_peek_last_error()
        with pytest.raises(ssl.SSLWantReadError):
            conn.read(1)
    session = sslsession.get_session(pair.client)
    assert session is not None
    sslsession.SessionHooks(client).close()
    fresh = Pair(client, server_context(server_identity))
    sslsession.set_session(fresh.client, session)
    assert not openssl.ERR_peek_last_error()
    pair.close()


def handshake_and_on(pair: Pair) -> None:
    """A signal is taken between two of the interpreter's instructions: let there be some."""
    pair.handshake()
    for _ in range(1000):
        pass


def test_fact_65_ctrl_c_inside_a_hook_is_not_lost(ca: Authority, server_identity: Identity) -> None:
    client, server = client_context(ca, version="1.2"), server_context(server_identity)

    def new(conn: Any, session: Any) -> None:
        raise KeyboardInterrupt

    with Unraisables() as reported, sslsession.SessionHooks(client, new=new):
        pair = Pair(client, server)
        with pytest.raises(KeyboardInterrupt):
            handshake_and_on(pair)
    assert reported.errors == []


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be raised at one thread there")
def test_fact_65_a_real_signal_inside_a_hook_arrives(ca: Authority, server_identity: Identity) -> None:
    client, server = client_context(ca, version="1.2"), server_context(server_identity)

    def new(conn: Any, session: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        for _ in range(1000):
            pass

    with sslsession.SessionHooks(client, new=new):
        pair = Pair(client, server)
        with pytest.raises(KeyboardInterrupt):
            handshake_and_on(pair)
