"""``SSL *`` and ``SSL_CTX *`` out of ssl's own objects, and the proof that they are what they seem.

CPython keeps ``SSL_CTX *`` right behind the object header of ``_ssl._SSLContext``, and ``SSL *`` one pointer further
in ``_ssl._SSLSocket``; PyPy shows both as cdata. Nothing promises that, so a throw-away context and ``SSLObject`` prove
it once, before the first use. A candidate is first read through the kernel (a wild address is an error there, not a
fault) and must hold what only the real object holds; OpenSSL's functions are asked after that.

The pointers are borrowed: they live as long as the Python object does, so whoever uses one holds that object.
"""

from __future__ import annotations

import _ctypes
import _ssl
import os
import ssl
import sys
import threading
from typing import Any, Callable, NamedTuple, Optional, Union

from sslsession import _libssl
from sslsession._libssl import ffi, lib
from sslsession.errors import SessionError, UnsupportedInterpreter

Owner = Optional[Union[ssl.SSLSocket, ssl.SSLObject]]
PYPY = sys.implementation.name == "pypy"
POINTER = ffi.sizeof("void *")
SSL_PLACE, ADDRESS = ffi.typeof("SSL **"), ffi.typeof("uintptr_t")
CONTEXT_OFFSET = getattr(object, "__basicsize__", 0)
SSL_OFFSET = CONTEXT_OFFSET + POINTER
CONNECTION_KINDS = (
    "an ssl.SSLSocket, an ssl.SSLObject, a TLSConnection, an asyncio transport or writer "
    '(get_extra_info("ssl_object")), or an object with a .sock (http.client, ftplib, smtplib, ...)'
)
_lock = threading.Lock()
_verdict: str | None = None
_keeper_type: type | None = None


class Borrowed(NamedTuple):
    """A connection's pointer, the object that keeps it alive, and the socket or SSLObject people know."""

    ssl: Any
    keeper: Any
    owner: Owner


def prove() -> None:
    """Raises :class:`UnsupportedInterpreter` unless this process's pointers were proved; the proof is made once."""
    global _verdict
    if _verdict is None:
        with _lock:
            if _verdict is None:
                _verdict = _libssl.explain() or _describe_failure(_try_proof())
    if _verdict:
        raise UnsupportedInterpreter(_verdict)


def verdict() -> str:
    """Why this process's pointers cannot be used, in the words of the exception; empty where they were proved."""
    try:
        prove()
    except UnsupportedInterpreter as error:
        return str(error)
    return ""


def _describe_failure(failure: str) -> str:
    if not failure:
        return ""
    return (
        f"sslsession cannot prove where this interpreter keeps its OpenSSL pointers: {failure} "
        f"(found {_libssl.path_of() or 'a libssl'} through {_libssl.found_by}). {_libssl.ADVICE}"
    )


def _try_proof() -> str:
    """Why the pointers cannot be trusted; empty where they can."""
    global _keeper_type
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    keeper = connection._sslobj  # type: ignore[attr-defined]
    _keeper_type = type(keeper)
    context = connection.context  # not the same, where truststore has put its own class into ssl
    if not PYPY and not _structure_holds(context, keeper):
        return "what stands there is no SSL_CTX of this libssl, or no SSL of that SSL_CTX"
    ctx, handle = _context_at(context), _ssl_at(keeper)
    running = ffi.string(lib.OpenSSL_version(0)).decode()
    if lib.SSL_CTX_get_ssl_method(ctx) != lib.TLS_client_method():
        return "the context's method belongs to another copy of libssl"
    if lib.SSL_get_SSL_CTX(handle) != ctx:
        return "the connection does not name its context"
    address = int(ffi.cast("uintptr_t", lib.SSL_get_ex_data(handle, 0)))
    if (not PYPY and address != id(keeper)) or (PYPY and _keeper_of(handle) is not keeper):
        return "the connection does not name its Python object"
    if running != ssl.OPENSSL_VERSION:
        return f"this libssl is {running}, and ssl uses {ssl.OPENSSL_VERSION}"
    return ""


def _structure_holds(context: ssl.SSLContext, keeper: Any) -> bool:
    ctx = _word(id(context) + CONTEXT_OFFSET)
    handle = _word(id(keeper) + SSL_OFFSET)
    method = int(ffi.cast("uintptr_t", lib.TLS_client_method()))
    return bool(ctx and handle) and _holds(ctx, 4, method) and _holds(handle, 512, ctx)


def _word(address: int) -> int:
    target = ffi.new("uintptr_t *")
    return target[0] if _read(address, target, POINTER) and target[0] % POINTER == 0 else 0


def _read(address: int, target: Any, size: int) -> bool:
    """Copies what may be wild. Errors: ``OSError`` where no file descriptor is left to ask the kernel by."""
    read = lib.sslsession_read_memory(ffi.cast("void *", address), target, size)
    if read < 0:
        raise OSError(ffi.errno, f"sslsession cannot prove its pointers now: {os.strerror(ffi.errno)}")
    return bool(read)


def _holds(address: int, words: int, value: int) -> bool:
    """Whether ``value`` is among the ``words`` words at ``address``, as far as they can be read."""
    target = ffi.new("uintptr_t[]", words)
    while words and not _read(address, target, words * POINTER):
        words //= 2
    return value in list(target)[:words]


def _context_at(context: Any) -> Any:
    if PYPY:
        return ffi.cast("SSL_CTX *", context.ctx)
    return ffi.cast("SSL_CTX **", id(context) + CONTEXT_OFFSET)[0]


def _ssl_at(keeper: Any) -> Any:
    if PYPY:
        return ffi.cast("SSL *", keeper.ssl)
    return ffi.cast(SSL_PLACE, id(keeper) + SSL_OFFSET)[0]


def context_pointer(context: ssl.SSLContext) -> Any:
    """The ``SSL_CTX *`` of ``context``, for as long as it lives.

    Errors: ``TypeError`` for anything but an ``ssl.SSLContext``; :class:`UnsupportedInterpreter`.
    """
    prove()
    if not isinstance(context, _ssl._SSLContext):
        raise TypeError(f"an ssl.SSLContext is needed, not {type(context).__name__}")
    return _context_at(context)


def protocol_of(context: ssl.SSLContext) -> int:
    """``PROTOCOL_TLS_CLIENT``, ``PROTOCOL_TLS_SERVER`` or older ones, also of a subclass's object that is half made."""
    ssls_own = next(each for each in type(context).__mro__ if each.__module__ == "ssl")
    return int(ssls_own.protocol.fget(context))  # type: ignore[attr-defined]


def true_context(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context whose ``SSL_CTX`` the connections of ``context`` really use.

    ``truststore.SSLContext`` is an ``SSLContext`` whose own ``SSL_CTX`` is never used: a throw-away connection tells.
    Errors: :class:`SessionError` where that cannot be told.
    """
    context_pointer(context)
    inner = _context_of_trial(context)
    if inner is None or (inner is not context and _context_of_trial(context) is not inner):
        raise SessionError(
            f"{type(context).__name__} hides the SSL_CTX that its connections use, so sslsession cannot attach to it. "
            "Attach to the ssl.SSLContext inside it."
        )
    return inner


def _context_of_trial(context: ssl.SSLContext) -> ssl.SSLContext | None:
    """The context that a throw-away connection of ``context`` names; None where it uses another."""
    server = context.protocol == ssl.PROTOCOL_TLS_SERVER
    name = "localhost" if not server and context.check_hostname else None
    trial = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=server, server_hostname=name)
    inner: ssl.SSLContext = trial.context
    return inner if lib.SSL_get_SSL_CTX(borrow(trial).ssl) == context_pointer(inner) else None


def borrow(connection: Any) -> Borrowed:
    """The ``SSL *`` behind whatever holds a TLS connection: see ``CONNECTION_KINDS``.

    Errors: ``TypeError`` where nothing of ssl's is behind it; :class:`SessionError` where the socket has no TLS object
    (not connected yet, or closed); :class:`UnsupportedInterpreter`.
    """
    if _verdict != "":
        prove()
    owner: Any = connection if isinstance(connection, (ssl.SSLSocket, ssl.SSLObject)) else _unwrap(connection)
    keeper = owner._sslobj
    if keeper is None:
        raise SessionError(
            "the socket has no TLS connection: it is not connected yet, or was closed or unwrapped"
        )
    if type(keeper) is not _keeper_type:
        raise TypeError(f"{type(owner).__name__} holds no connection of ssl's but {type(keeper).__name__}")
    # Every handshake passes here: tuple's own constructor takes a third of the named one's time.
    return tuple.__new__(Borrowed, (_ssl_at(keeper), keeper, owner))


def _unwrap(connection: Any) -> Any:
    seen = connection
    for _ in range(4):
        if isinstance(seen, (ssl.SSLSocket, ssl.SSLObject)):
            return seen
        ask = getattr(seen, "get_extra_info", None)
        inner = ask("ssl_object") if callable(ask) else getattr(seen, "sock", None)
        if inner is None and hasattr(seen, "sock"):
            raise SessionError(
                f"{type(connection).__name__} has no socket: it is not connected yet, or was closed"
            )
        if inner is None:
            break
        seen = inner
    raise TypeError(
        f"no ssl connection is behind {type(connection).__name__}: give {CONNECTION_KINDS}. "
        "pyOpenSSL's connections belong to another OpenSSL."
    )


def borrow_pointer(handle: Any) -> Borrowed:
    """The same, from inside a callback that OpenSSL makes while a method of the connection runs."""
    keeper = _keeper_of(handle)
    return Borrowed(handle, keeper, keeper.owner if keeper is not None else None)


def _keeper_of(handle: Any) -> Any:
    data = lib.SSL_get_ex_data(handle, 0)
    if data == ffi.NULL:
        return None
    if PYPY:
        return ffi.from_handle(data)
    return _object_at(int(ffi.cast(ADDRESS, data)))


def _cast(address: int) -> Any:
    import ctypes

    return ctypes.cast(address, ctypes.py_object).value


_object_at: Callable[[int], Any] = getattr(_ctypes, "PyObj_FromPtr", _cast)
"""The object at an address, which an ``SSL *`` named: ctypes' own way takes ten times as long."""


def _new_lock_after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)
