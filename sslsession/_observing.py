"""What OpenSSL does not tell of a context's settings, seen as it is set: CA files and directories, and ALPN protocols.

No getter shows the directories that a context takes CAs from, nor what a client offers by ALPN. So three methods of an
attached *instance* are wrapped. An argument that was not loaded before moves the context's epoch, and what was earned
before is not offered there any more; loading the same again, which urllib3 and truststore do for each connection, moves
nothing. What was set before attaching is not known, and neither is what goes past the instance: for that, verifying
again has to do.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import ssl
import weakref
from collections.abc import Iterable
from typing import Any, Callable

from sslsession import _borrow
from sslsession._libssl import lib

OBSERVED = ("load_verify_locations", "set_default_verify_paths", "set_alpn_protocols")
LOADED_MOST = 1000
_watches = itertools.count(1)


class Watch:
    """Watches one context, until :meth:`end`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = weakref.ref(context)
        self._loaded: set[bytes] = set()
        self._epoch = next(_watches) << 32
        self._protocols = 0
        self._ours = {name: self._wrapped(context, name) for name in OBSERVED}
        vars(context).update(self._ours)
        self._tell(context)

    def end(self) -> None:
        """Takes the wrappers off, where nobody put his own over them."""
        context = self._context()
        for name, wrapper in self._ours.items():
            if context is not None and vars(context).get(name) is wrapper:
                delattr(context, name)

    def _wrapped(self, context: ssl.SSLContext, name: str) -> Callable[..., Any]:
        # No bound method in it: the context must not hold itself alive.
        method, before = getattr(type(context), name), vars(context).get(name)
        weak = self._context

        @functools.wraps(method)
        def observed(*arguments: Any, **named: Any) -> Any:
            context = weak()
            if context is None:
                raise ReferenceError(f"the context whose {name} this is was freed: keep a reference to it")
            try:
                return before(*arguments, **named) if before else method(context, *arguments, **named)
            finally:
                self._saw(context, name, *arguments, **named)

        return observed

    def _saw(self, context: ssl.SSLContext, name: str, *arguments: Any, **named: Any) -> None:
        if name == "set_alpn_protocols":
            self._protocols = _number_of(*arguments, **named)
        else:
            loaded = _digest(name, *arguments, **named)
            if loaded in self._loaded and len(self._loaded) < LOADED_MOST:
                return
            self._loaded.add(loaded)
            self._epoch += 1
        self._tell(context)

    def _tell(self, context: ssl.SSLContext) -> None:
        lib.sslsession_observed(_borrow.context_pointer(context), self._epoch, self._protocols)


def _number_of(alpn_protocols: Iterable[str] = ()) -> int:
    """Stands for the protocols; never 0."""
    offered = "\0".join(map(str, alpn_protocols)).encode()
    return int.from_bytes(hashlib.sha256(offered).digest()[:8], "big") or 1


def _digest(name: str, *arguments: Any, **named: Any) -> bytes:
    """Stands for what was loaded, a file's size and date too."""
    known = hashlib.sha256(name.encode())
    for argument in (*arguments, *itertools.chain.from_iterable(sorted(named.items()))):
        known.update(
            b"\0" + (bytes(argument) if isinstance(argument, (bytes, bytearray)) else repr(argument).encode())
        )
        if isinstance(argument, (str, bytes, os.PathLike)):
            try:
                status = os.stat(argument)
                known.update(f"{status.st_mtime_ns} {status.st_size} {status.st_ino}".encode())
            except (OSError, ValueError):
                pass  # no path but the certificates themselves, or a path that is gone
    return known.digest()
