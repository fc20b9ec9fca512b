"""A new session, or new keys, in the middle of a connection: ``send_new_ticket``, ``renegotiate``, ``update_keys``."""

from __future__ import annotations

import ssl
from typing import Any

from sslsession import _borrow, _callbacks
from sslsession._libssl import ffi, lib
from sslsession.errors import SessionError, UnsupportedError
from sslsession.resumption import TLS1_3

KEY_UPDATE_REQUESTED = 1
NO_SESSION_RESUMPTION_ON_RENEGOTIATION = 1 << 16


def send_new_ticket(conn: Any) -> None:
    """Sends a TLS 1.3 client another ticket, after the handshake (servers).

    On an ``SSLObject`` the ticket waits in its outgoing BIO; elsewhere it is on its way. The client's session changes
    when it reads. Source: SSL_new_session_ticket(3), RFC 8446 4.6.1. Errors: :class:`UnsupportedError` before TLS 1.3,
    and on OpenSSL 1.1.1; :class:`SessionError` on a client or before the handshake is done.
    """
    borrowed = _established(conn)
    if not lib.SSL_is_server(borrowed.ssl):
        raise SessionError("only a server sends tickets; a client gets a new one by connecting")
    if lib.SSL_version(borrowed.ssl) < TLS1_3:
        raise UnsupportedError("a ticket after the handshake needs TLS 1.3; on TLS 1.2 use renegotiate(conn)")
    _begin(lib.SSL_new_session_ticket, borrowed.ssl)
    _go_on(borrowed)


def renegotiate(conn: Any) -> None:
    """Begins a full handshake inside a TLS 1.2 connection, which gives it a new session.

    A server asks, and the handshake happens while it reads; a client's blocking socket is done on return, elsewhere the
    handshake goes on with each read. Peers may refuse: OpenSSL 3.0 servers refuse clients unless told otherwise.
    Source: SSL_renegotiate(3), RFC 5246 7.4.1, RFC 5746. Errors: :class:`UnsupportedError` in TLS 1.3, which has
    :func:`update_keys` and :func:`send_new_ticket`; :class:`SessionError` where this side forbids it
    (``OP_NO_RENEGOTIATION``); ``ssl.SSLError`` where the peer refuses.
    """
    borrowed = _established(conn)
    if lib.SSL_version(borrowed.ssl) >= TLS1_3:
        raise UnsupportedError(
            "TLS 1.3 has no renegotiation: use update_keys(conn), or send_new_ticket(conn)"
        )
    if lib.SSL_is_server(borrowed.ssl):
        # Asked by a server, OpenSSL's clients offer the session they have; this server is to make a new one.
        lib.SSL_set_options(borrowed.ssl, NO_SESSION_RESUMPTION_ON_RENEGOTIATION)
    _begin(lib.SSL_renegotiate, borrowed.ssl)
    _go_on(borrowed)


def update_keys(conn: Any) -> None:
    """Changes the traffic keys of a TLS 1.3 connection in both directions; the session stays.

    Source: SSL_key_update(3), RFC 8446 4.6.3. Errors: :class:`UnsupportedError` before TLS 1.3;
    :class:`SessionError` before the handshake is done, or while a write is half done.
    """
    borrowed = _established(conn)
    if lib.SSL_version(borrowed.ssl) < TLS1_3:
        raise UnsupportedError("a key update needs TLS 1.3; on TLS 1.2 use renegotiate(conn)")
    _begin(lib.SSL_key_update, borrowed.ssl, KEY_UPDATE_REQUESTED)
    _go_on(borrowed)


def _established(conn: Any) -> _borrow.Borrowed:
    borrowed = _borrow.borrow(conn)
    if not lib.SSL_is_init_finished(borrowed.ssl):
        raise SessionError("the handshake is not done: call do_handshake() first")
    return borrowed


def _begin(function: Any, *arguments: Any) -> None:
    lib.ERR_clear_error()
    if not function(*arguments):
        code = lib.ERR_get_error()
        text = ffi.string(lib.ERR_reason_error_string(code)).decode() if code else "no reason given"
        lib.ERR_clear_error()
        raise SessionError(f"OpenSSL refused: {text}")


def _go_on(borrowed: _borrow.Borrowed) -> None:
    """Lets ssl itself move the bytes; on a connection that does not block, the rest comes with its reads and writes."""
    owner = borrowed.owner
    if owner is None:
        raise SessionError("the connection's socket is gone")
    with _callbacks.reraising():
        try:
            owner.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
