"""OpenSSL below `ssl`, for tests that state what OpenSSL itself does, through the library's own binding."""

from __future__ import annotations

import ctypes
import ssl
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar

from sslsession import _libssl
from sslsession._borrow import borrow, context_pointer
from sslsession._libssl import ffi, lib

SESS_NUMBER, SET_CACHE_SIZE, SET_CACHE_MODE, GET_CACHE_MODE = 20, 42, 44, 45
CACHE_OFF, CACHE_CLIENT, CACHE_SERVER, NO_INTERNAL_STORE = 0x000, 0x001, 0x002, 0x200
FAR_FUTURE = 2**31 - 1


class OpenSSL:
    """Functions of the interpreter's OpenSSL that the library's Python is not shown, by their names."""

    _TYPES: ClassVar = {
        "ERR_peek_last_error": "unsigned long(*)(void)",
        "SSL_CTX_flush_sessions": "void(*)(SSL_CTX *, long)",
        "SSL_CTX_get_info_callback": "info_cb(*)(SSL_CTX *)",
        "SSL_CTX_remove_session": "int(*)(SSL_CTX *, SSL_SESSION *)",
        "SSL_CTX_sess_get_get_cb": "get_session_cb(*)(SSL_CTX *)",
        "SSL_CTX_sess_get_new_cb": "new_session_cb(*)(SSL_CTX *)",
        "SSL_CTX_sess_get_remove_cb": "remove_session_cb(*)(SSL_CTX *)",
        "SSL_CTX_sess_set_get_cb": "void(*)(SSL_CTX *, get_session_cb)",
        "SSL_CTX_sess_set_new_cb": "void(*)(SSL_CTX *, new_session_cb)",
        "SSL_CTX_sess_set_remove_cb": "void(*)(SSL_CTX *, remove_session_cb)",
        "SSL_CTX_set_info_callback": "void(*)(SSL_CTX *, info_cb)",
        "SSL_ctrl": "long(*)(SSL *, int, long, void *)",
        "SSL_get1_session": "SSL_SESSION *(*)(SSL *)",
    }

    def __init__(self) -> None:
        # Now, and not as they are called: in a child of a fork the loader's lock may be held for ever.
        library = ctypes.CDLL(_libssl.path_of()) if _libssl.problem is None else None
        for name, kind in self._TYPES.items():
            if hasattr(library, name):
                address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
                setattr(self, name, ffi.cast(kind, address))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this OpenSSL has no {name}, or its type is not known here")


openssl = OpenSSL()


def cached(ctx: ssl.SSLContext) -> int:
    """How many sessions OpenSSL's internal cache of `ctx` holds."""
    return int(lib.SSL_CTX_ctrl(context_pointer(ctx), SESS_NUMBER, 0, ffi.NULL))


def cache_mode(ctx: ssl.SSLContext) -> int:
    """`SSL_SESS_CACHE_*` bits."""
    return int(lib.SSL_CTX_ctrl(context_pointer(ctx), GET_CACHE_MODE, 0, ffi.NULL))


def set_cache_mode(ctx: ssl.SSLContext, mode: int) -> None:
    """Set the `SSL_SESS_CACHE_*` bits."""
    lib.SSL_CTX_ctrl(context_pointer(ctx), SET_CACHE_MODE, mode, ffi.NULL)


def set_cache_size(ctx: ssl.SSLContext, size: int) -> None:
    """How many sessions OpenSSL's internal cache may hold before it evicts."""
    lib.SSL_CTX_ctrl(context_pointer(ctx), SET_CACHE_SIZE, size, ffi.NULL)


def flush(ctx: ssl.SSLContext, now: int = FAR_FUTURE) -> None:
    """Remove what has expired at `now` (epoch seconds) from the internal cache: all of it, unless given."""
    openssl.SSL_CTX_flush_sessions(context_pointer(ctx), now)


def remove_from_cache(ctx: ssl.SSLContext, conn: ssl.SSLSocket | ssl.SSLObject) -> None:
    """Remove a connection's session from the internal cache of `ctx`."""
    openssl.SSL_CTX_remove_session(context_pointer(ctx), lib.SSL_get_session(borrow(conn).ssl))


def session_id(pointer: Any) -> bytes:
    """The id of an `SSL_SESSION *`."""
    length = ffi.new("unsigned int *")
    return bytes(ffi.buffer(lib.SSL_SESSION_get_id(pointer, length), length[0]))


_callbacks: list[Any] = []


def lasting_callback(kind: str, function: Callable[..., Any]) -> Any:
    """A C function pointer of the type `kind` that is never freed."""
    _callbacks.append(ffi.callback(kind, function))
    return _callbacks[-1]


class RawCallbacks:
    """C callbacks as another library would set them: each counts its calls, in `calls`.

    `new_returns` is what the new callback returns. They stay callable for as long as the process lives, since
    a context may be freed, and call them, long after the test.
    """

    def __init__(self, ctx: ssl.SSLContext, *names: str, new_returns: int = 0) -> None:
        self.calls: list[str] = []
        self.sessions: list[bytes] = []
        self.resumable: list[bool] = []
        self.copy: list[int] = []
        self.handles: dict[str, Any] = {}
        self._new_returns = new_returns
        for name in names or ("new", "remove", "get", "info"):
            self.install(ctx, name)

    def install(self, ctx: ssl.SSLContext, name: str) -> None:
        """Set the callback `new`, `remove`, `get` or `info` on the context."""
        kind = {"new": "new_session_cb", "remove": "remove_session_cb", "get": "get_session_cb"}.get(
            name, "info_cb"
        )
        self.handles[name] = lasting_callback(kind, getattr(self, f"_{name}"))
        setter = "SSL_CTX_set_info_callback" if name == "info" else f"SSL_CTX_sess_set_{name}_cb"
        getattr(openssl, setter)(context_pointer(ctx), self.handles[name])

    def _new(self, handle: Any, pointer: Any) -> int:
        self._saw("new", pointer)
        return self._new_returns

    def _remove(self, ctx: Any, pointer: Any) -> None:
        self._saw("remove", pointer)

    def _get(self, handle: Any, data: Any, length: int, copy: Any) -> Any:
        self.calls.append("get")
        self.sessions.append(bytes(ffi.buffer(data, length)))
        self.copy.append(copy[0])
        return ffi.NULL

    def _info(self, handle: Any, where: int, value: int) -> None:
        self.calls.append("info")

    def _saw(self, name: str, pointer: Any) -> None:
        self.calls.append(name)
        self.sessions.append(session_id(pointer))
        self.resumable.append(bool(lib.SSL_SESSION_is_resumable(pointer)))


def slots(ctx: ssl.SSLContext) -> dict[str, Any]:
    """What stands in each callback slot of `ctx` now, as pointers."""
    pointer = context_pointer(ctx)
    return {
        "new": openssl.SSL_CTX_sess_get_new_cb(pointer),
        "remove": openssl.SSL_CTX_sess_get_remove_cb(pointer),
        "get": openssl.SSL_CTX_sess_get_get_cb(pointer),
        "info": openssl.SSL_CTX_get_info_callback(pointer),
    }


class Unraisables:
    """What `sys.unraisablehook` is given inside the `with` block: the exceptions, in `errors`."""

    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []
        self.messages: list[str | None] = []

    def _hook(self, unraisable: Any) -> None:
        self.errors.append(unraisable.exc_value)
        self.messages.append(unraisable.err_msg)

    def __enter__(self) -> Unraisables:
        self._before = sys.unraisablehook
        sys.unraisablehook = self._hook
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.unraisablehook = self._before


def unbound(name: str, *arguments: Any) -> int:
    """Call a function of the interpreter's libssl that Python is not shown: pointers and small numbers, an int back."""
    function = getattr(ctypes.CDLL(_libssl.path_of()), name)
    given = [
        ctypes.c_void_p(int(ffi.cast("uintptr_t", each))) if isinstance(each, ffi.CData) else each
        for each in arguments
    ]
    return int(function(*given))
