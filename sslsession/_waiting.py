"""Calls of OpenSSL that may have to wait, as ``ssl`` makes its own: by the socket's timeout, and with its errors."""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import time
from typing import Any, Callable

from sslsession._libssl import ffi, lib

WANT_READ, WANT_WRITE, SYSCALL, CLOSED = 2, 3, 5, 6
UNEXPECTED_EOF = 294
Poll = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""Not epoll, which forgets a socket that another thread closes, and sleeps on."""


def until(owner: Any) -> float | None:
    """Until when (of a clock that never goes back) a call waits: 0 not at all, None for ever."""
    timeout = owner.gettimeout() if isinstance(owner, ssl.SSLSocket) else 0.0
    return time.monotonic() + timeout if timeout else timeout


def perform(owner: Any, call: Callable[[], int], ends: float | None) -> bool:
    """Calls until it is done, for as long as the socket's timeout has it; False where there is no more to do."""
    while True:
        code = call()
        if code in (0, lib.EARLY_ENDED):
            return bool(code == 0)
        if code not in (WANT_READ, WANT_WRITE):
            raise _error(code)
        if ends == 0:
            kind = ssl.SSLWantReadError if code == WANT_READ else ssl.SSLWantWriteError
            raise _ssl_error(kind, code, "The operation did not complete", None)
        _await(owner, code, ends)


def _await(owner: Any, code: int, ends: float | None) -> None:
    if not is_ready(owner, selectors.EVENT_READ if code == WANT_READ else selectors.EVENT_WRITE, ends):
        raise TimeoutError(f"The {'read' if code == WANT_READ else 'write'} operation timed out")


def is_ready(sock: socket.socket, event: int, ends: float | None) -> bool:
    """Waits until a socket is ready for ``selectors.EVENT_READ`` or ``EVENT_WRITE``; False where time is up first.

    A timeout of the socket's own would be one for both directions.
    """
    with Poll() as selector:
        selector.register(sock, event)
        return bool(selector.select(None if ends is None else max(0.0, ends - time.monotonic())))


def _error(code: int) -> Exception:
    number = ffi.errno
    queued = lib.ERR_get_error()
    lib.ERR_clear_error()
    text = ffi.string(lib.ERR_reason_error_string(queued)).decode() if queued else "unknown error"
    reason = text.upper().replace(" ", "_") if queued else None
    if code == CLOSED:
        return _ssl_error(ssl.SSLZeroReturnError, CLOSED, "TLS/SSL connection has been closed (EOF)", reason)
    if queued & 0x7FFFFF == UNEXPECTED_EOF or (code == SYSCALL and not queued and not number):
        return _ssl_error(ssl.SSLEOFError, 8, "EOF occurred in violation of protocol", reason)
    if code == SYSCALL and not queued:
        return OSError(number, os.strerror(number))
    return _ssl_error(ssl.SSLError, code, f"[SSL: {reason or 'UNKNOWN_ERROR'}] {text}", reason)


def _ssl_error(kind: type[ssl.SSLError], code: int, text: str, reason: str | None) -> ssl.SSLError:
    """As ssl makes its own: by itself the class has no ``library`` and no ``reason``."""
    error = kind(code, text)
    # typeshed has both as text; ssl's own are None where OpenSSL queued nothing
    error.library, error.reason = "SSL" if reason else None, reason  # type: ignore[assignment]
    return error
