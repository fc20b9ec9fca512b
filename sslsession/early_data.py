"""Early data: what a client sends with its ClientHello, a round trip before the handshake is done (RFC 8446 2.3).

Whoever saw it on the wire can send it again, so only what is safe to do twice belongs there: never a payment, and of
HTTP only what RFC 9110 9.2.1 calls safe. Nothing travels early unless it is asked for, on either side.
"""

from __future__ import annotations

import enum
import socket
import ssl
import weakref
import zlib
from typing import Any, Callable, Union

from sslsession import _borrow
from sslsession._libssl import ffi, lib
from sslsession._waiting import perform, until
from sslsession.errors import SessionError
from sslsession.resumption import EarlyReason

Data = Union[bytes, bytearray, memoryview]
READ_SIZE = 16384
PIECE = 4000
"""Bytes written at once where a socket may keep one waiting: OpenSSL counts early data again each time that a write is
tried again, and ends the connection over too much. So much fits into its buffer, and only the flushing has to wait."""
BROKEN = (
    "the request had been sent early, and nobody knows whether it arrived. A server that has TLS 1.2 alone cannot read "
    "it: connect again, and nothing is sent early"
)
GOING_ON = (
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
    ssl.SSLCertVerificationError,
    TimeoutError,
    socket.timeout,
)
"""After these the connection goes on, or they say themselves what is wrong."""
permitting: set[int] = set()
"""By number, the client caches whose sessions may be used for early data."""


class EarlyData(enum.IntEnum):
    """What became of early data; ``str()`` is a sentence."""

    NOT_SENT = 0
    REJECTED = 1
    ACCEPTED = 2

    def __str__(self) -> str:
        return SENTENCES[self]


SENTENCES = {
    EarlyData.NOT_SENT: "no early data was sent",
    EarlyData.REJECTED: "early data was rejected, and has to be sent again",
    EarlyData.ACCEPTED: "early data was accepted",
}


def early_data_status(conn: Any) -> EarlyData:
    """What became of a connection's early data; on a client it is known when the handshake is done.

    Source: SSL_get_early_data_status(3). Errors: as :func:`get_session`.
    """
    return EarlyData(lib.SSL_get_early_data_status(_borrow.borrow(conn).ssl))


def write_early_data(conn: Any, data: Data) -> int:
    """Sends data before the handshake is done; how many bytes, which is all of them or none.

    On a client whose handshake has not begun (``do_handshake_on_connect=False``): with its ClientHello, if a session is
    offered that allows so much, under this connection's very settings, name and ALPN; else nothing is sent, and 0 is
    returned (:func:`why_not_early`). A cache's sessions are for that only if it was made with ``early_data=True``. Then
    call ``do_handshake()``; where :func:`early_data_status` is ``REJECTED`` after it, send the data again.
    :func:`send_replayable` does all of that.
    On a server, after :func:`read_early_data`: to a client that has proved nothing yet.

    A socket with a timeout waits so long, and then raises ``TimeoutError``. Source: SSL_write_early_data(3), RFC 8446
    4.2.10. Errors: :class:`SessionError` once the handshake went on, and on a server that has not read;
    ``SSLWantReadError``, ``SSLWantWriteError`` and ``TimeoutError``, after which it is called again with the same
    data; ``ssl.SSLError``, ``OSError``.
    """
    borrowed = _borrow.borrow(conn)
    view = memoryview(data).cast("B")
    state = _state_of(borrowed)
    owner, checksum = borrowed.owner, zlib.crc32(view)
    before, done = _halves.get(owner, (checksum, 0)) if state.waits else (checksum, 0)
    if state.waits and (state.waits, before) != (len(view), checksum):
        raise SessionError(f"a write of {state.waits} bytes is half done: call again with the same data")
    _check_time(borrowed, state)
    if not len(view) or not _may_send(borrowed, state, len(view)):
        return 0
    written, buffer, state.waits = ffi.new("size_t *"), ffi.from_buffer(view), len(view)
    piece, ends = PIECE if isinstance(owner, ssl.SSLSocket) else len(view), until(owner)
    try:
        while done < len(view):
            at, size = buffer + done, min(piece, len(view) - done)
            if not perform(owner, _writing(borrowed.ssl, at, size, written), ends):
                state.waits = state.most = 0  # conn.context or conn.session was set since that was looked at
                state.why = EarlyReason.POLICY_CHANGED
                return 0
            done += size
    finally:
        _halves[owner] = checksum, done
    state.sent, state.waits = state.sent + len(view), 0
    return len(view)


def _writing(handle: Any, at: Any, size: int, written: Any) -> Callable[[], int]:
    return lambda: int(lib.sslsession_early_write(handle, at, size, written))


_halves: weakref.WeakKeyDictionary[Any, tuple[int, int]] = weakref.WeakKeyDictionary()
"""Of the data last written on a connection, a checksum, for OpenSSL sends what it was given first, whatever comes then;
and how much of it is done."""


def _state_of(borrowed: _borrow.Borrowed) -> Any:
    state = lib.sslsession_early_of(borrowed.ssl)
    if state == ffi.NULL:
        raise MemoryError("there is no memory left to follow the connection")
    return state


def _check_time(borrowed: _borrow.Borrowed, state: Any) -> None:
    if lib.SSL_is_init_finished(borrowed.ssl):
        raise SessionError("the handshake is done: write() the data")
    if lib.SSL_is_server(borrowed.ssl):
        if not state.begun:
            raise SessionError("a server reads before it writes: call read_early_data first")
        if getattr(borrowed.owner, "holds_early_data_back", False):
            raise SessionError(
                "this connection's validators have not seen the client yet: call wait_for_handshake"
            )
    elif not state.sent and not state.waits and not lib.SSL_in_before(borrowed.ssl):
        raise SessionError(
            "the handshake began already: wrap the socket with do_handshake_on_connect=False, "
            "call write_early_data, then do_handshake()"
        )


def _may_send(borrowed: _borrow.Borrowed, state: Any, size: int) -> bool:
    if state.waits or lib.SSL_is_server(borrowed.ssl):
        return True
    if not state.begun:
        lib.sslsession_early_begin(borrowed.ssl)
        if state.most and state.who and state.who not in permitting:
            state.most, state.why = 0, EarlyReason.NOT_PERMITTED
        if state.most and not getattr(borrowed.owner, "accepts_what_is_offered", True):
            state.most, state.why = 0, EarlyReason.NOT_VALID
    if state.most and state.sent + size > state.most:
        state.why = EarlyReason.TOO_LARGE
        return False
    return bool(state.most)


def why_not_early(conn: Any) -> EarlyReason:
    """What became of a client's early data, or why there was none; ``str()`` of it is a sentence.

    After the handshake it is the server's answer. Errors: :class:`SessionError` on a server, and those of
    :func:`get_session`.
    """
    borrowed = _borrow.borrow(conn)
    if lib.SSL_is_server(borrowed.ssl):
        raise SessionError("a server knows it by its cache's stats(), and early_data_status()")
    state = _state_of(borrowed)
    if not state.begun:
        return EarlyReason.NOT_ASKED
    if not state.sent:
        return EarlyReason(state.why) if state.why else EarlyReason.SENT
    if not lib.SSL_is_init_finished(borrowed.ssl):
        return EarlyReason.SENT
    accepted = lib.SSL_get_early_data_status(borrowed.ssl) == EarlyData.ACCEPTED
    return EarlyReason.ACCEPTED if accepted else EarlyReason.REJECTED


def send_replayable(conn: Any, data: Data) -> EarlyData:
    """Sends a client's first request, which must be safe to do twice, and ends the handshake.

    It travels with the ClientHello where that may be (:func:`write_early_data`), and after the handshake where it may
    not, or where the server rejected it: it arrives, and what became of the early copy is returned. conn: a connection
    whose handshake has not begun. A socket without a timeout of its own waits; elsewhere ``SSLWantReadError`` and
    ``SSLWantWriteError`` say to call again, with the same data. Errors: as :func:`write_early_data`, and all that
    ``do_handshake()`` raises.
    """
    borrowed = _borrow.borrow(conn)
    owner: Any = borrowed.owner
    view = memoryview(data).cast("B")
    request = len(view), zlib.crc32(view)
    if lib.SSL_is_server(borrowed.ssl):
        raise SessionError(
            "a server's first words are no request: use write_early_data, or wait for the handshake"
        )
    if _requests.get(owner, request) != request:
        raise SessionError("another request is half sent: call again with the same data")
    if owner not in _requests and not lib.SSL_in_before(borrowed.ssl):
        raise SessionError(
            "the handshake began already: wrap the socket with do_handshake_on_connect=False, or write() the data"
        )
    _requests[owner] = request
    state = _state_of(borrowed)
    try:
        if lib.SSL_in_before(borrowed.ssl) or state.waits:
            write_early_data(conn, view)
        owner.do_handshake()
    except GOING_ON:
        raise
    except OSError as error:
        if state.sent or state.waits:
            error.strerror = f"{error.strerror}; {BROKEN}"
        raise
    status = early_data_status(conn)
    if status is not EarlyData.ACCEPTED and len(view):
        owner.sendall(view) if isinstance(owner, ssl.SSLSocket) else owner.write(view)
    _requests.pop(owner, None)
    return status


_requests: weakref.WeakKeyDictionary[Any, tuple[int, int]] = weakref.WeakKeyDictionary()
"""Of a connection whose request is under way, its size and checksum: any other would be taken for sent."""


def read_early_data(conn: Any, size: int = READ_SIZE) -> bytes:
    """What a client sent early, on a server whose handshake has not begun or goes on; at most ``size`` bytes of it.

    ``b""``: there is no more, or there was none, or it is not accepted; then call ``do_handshake()``. Early data is
    accepted only by who calls this, on contexts of a ``ServerSessionCache(max_early_data=...)``. Act on it only if it
    is safe to do twice, or after :func:`wait_for_handshake`.

    A socket with a timeout waits so long, and then raises ``TimeoutError``. Source: SSL_read_early_data(3). Errors:
    ``ValueError``; :class:`SessionError` on a client, or where ``do_handshake()`` was called first;
    ``SSLWantReadError``, ``SSLWantWriteError``, ``TimeoutError``: call it again; ``ssl.SSLError``, ``OSError``.
    """
    if size < 1:
        raise ValueError(f"size is 1 or more, not {size!r}")
    borrowed = _borrow.borrow(conn)
    if not lib.SSL_is_server(borrowed.ssl):
        raise SessionError("read_early_data is for servers; a client's answer comes with read()")
    if getattr(borrowed.owner, "holds_early_data_back", False):
        raise SessionError(
            "this connection's validators look at the client when the handshake is done: "
            "call wait_for_handshake, which returns the early data then"
        )
    _leave_to_reader(borrowed)
    return read_early(borrowed, size)


def _leave_to_reader(borrowed: _borrow.Borrowed) -> None:
    """What is read here, the reader of an asyncio connection would miss."""
    if getattr(borrowed.owner, "reads_early_data", False) and not lib.SSL_is_init_finished(borrowed.ssl):
        raise SessionError("this connection's reader gets the early data: await handshake_done(writer)")


def read_early(borrowed: _borrow.Borrowed, size: int) -> bytes:
    """As :func:`read_early_data`, for who hands on what it reads."""
    state = _state_of(borrowed)
    if state.ended or lib.SSL_is_init_finished(borrowed.ssl):
        return b""
    if not state.begun and not lib.SSL_in_before(borrowed.ssl):
        raise SessionError("the handshake began already: call read_early_data, and do_handshake() after it")
    state.begun, size = 1, min(size, READ_SIZE)
    buffer, length = ffi.new("unsigned char[]", size), ffi.new("size_t *")
    if perform(
        borrowed.owner,
        lambda: int(lib.sslsession_early_read(borrowed.ssl, buffer, size, length)),
        until(borrowed.owner),
    ):
        return bytes(ffi.buffer(buffer, length[0]))
    state.ended = 1
    return b""


def wait_for_handshake(conn: Any) -> bytes:
    """Ends the handshake, for a handler that must not act on what may be a replay; early data not read before.

    Once it is done, the client has proved to be there, and early data is its own. On what does not block:
    ``SSLWantReadError``, ``SSLWantWriteError``: call it again. Errors: as ``do_handshake()`` and
    :func:`read_early_data`.
    """
    borrowed = _borrow.borrow(conn)
    owner: Any = borrowed.owner
    _leave_to_reader(borrowed)
    rest = _rests.setdefault(owner, bytearray())
    reads = lib.SSL_is_server(borrowed.ssl) and (_state_of(borrowed).begun or lib.SSL_in_before(borrowed.ssl))
    while reads:
        more = read_early(borrowed, READ_SIZE)
        if not more:
            break
        rest += more
    owner.do_handshake()
    return bytes(_rests.pop(owner, b""))


_rests: weakref.WeakKeyDictionary[Any, bytearray] = weakref.WeakKeyDictionary()
