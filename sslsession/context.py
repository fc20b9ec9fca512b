"""Contexts that resume without another call: ``SSLContext``, ``create_default_context``, and all of this process's.

``inject_into_ssl`` wraps ``ssl.SSLContext.__new__``. Another class in the place of ``ssl.SSLContext`` would break
``super(SSLContext, SSLContext)`` inside ``ssl`` itself, and truststore does that already: its class derives from ssl's,
and it makes the context that connections really use from ssl's, so both ways of ordering the two injections lead here.
"""

from __future__ import annotations

import functools
import os
import ssl
import threading
from typing import Any

from sslsession import _borrow, _callbacks, handover
from sslsession.client import ClientSessionCache

_lock = threading.RLock()
_default: ClientSessionCache | None = None
_injected: ClientSessionCache | None = None
_ssls_own: Any = None


def default_cache() -> ClientSessionCache:
    """The cache of this process, in memory alone, which the contexts of this module use."""
    global _default
    with _lock:
        if _default is None:
            _default = ClientSessionCache()
        return _default


class SSLContext(ssl.SSLContext):
    """``ssl.SSLContext``, whose client connections resume by themselves, by way of one cache for the whole process.

    A server's context (``PROTOCOL_TLS_SERVER``) is left as it is. Errors: :class:`UnsupportedInterpreter`.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        # ssl's own has no __init__; one that truststore has put there has.
        if SSLContext.__mro__[1] is ssl_class():
            super().__init__()
        else:
            super().__init__(*arguments, **named)
        if self.protocol != ssl.PROTOCOL_TLS_SERVER:
            default_cache().attach(self)


def create_default_context(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, **named: Any) -> ssl.SSLContext:
    """``ssl.create_default_context(purpose, cafile=..., capath=..., cadata=...)``, for clients resuming by themselves.

    Errors: ssl's own; :class:`UnsupportedInterpreter`.
    """
    context = ssl.create_default_context(purpose, **named)
    if context.protocol != ssl.PROTOCOL_TLS_SERVER:
        default_cache().attach(context)
    return context


def inject_into_ssl(cache: ClientSessionCache | None = None) -> None:
    """Attaches every client context made in this process from now on, whoever makes it, until :func:`extract_from_ssl`.

    cache: another one than that of the process. It goes together with ``truststore.inject_into_ssl()``, before or
    after. Calling it again exchanges the cache for the contexts to come.

    Errors: ``TypeError``; :class:`UnsupportedInterpreter`.
    """
    global _injected, _ssls_own
    if cache is not None and not isinstance(cache, ClientSessionCache):
        raise TypeError(f"a ClientSessionCache is needed, not {type(cache).__name__}")
    _borrow.prove()
    handover.id_context()  # which makes a context
    with _lock:
        _injected = cache if cache is not None else default_cache()
        if _ssls_own is None:
            _ssls_own = vars(ssl_class())["__new__"]
            setattr(ssl_class(), "__new__", staticmethod(_attaching(_ssls_own.__func__)))  # noqa: B010


def extract_from_ssl() -> None:
    """Ends what :func:`inject_into_ssl` began, for contexts to come; those that were made stay attached."""
    global _injected, _ssls_own
    with _lock:
        if _ssls_own is not None:
            setattr(ssl_class(), "__new__", _ssls_own)  # noqa: B010
        _injected = _ssls_own = None


def ssl_class() -> type:
    """The class that ``ssl`` itself defines, whatever was put in its place."""
    return next(each for each in ssl.SSLContext.__mro__ if each.__module__ == "ssl")


def _attaching(new: Any) -> Any:
    @functools.wraps(new)
    def attaching(cls: type, *arguments: Any, **named: Any) -> Any:
        context, cache = new(cls, *arguments, **named), _injected
        try:
            if cache is not None:
                cache._attach_new(context)
        except Exception as error:
            _callbacks.report(error, "sslsession, which was to attach to a new context")
        return context

    return attaching


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
