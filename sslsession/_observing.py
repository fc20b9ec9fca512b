"""What OpenSSL does not tell of a context's settings, seen as it is set: CA files and directories, ALPN, groups.

No getter shows the directories that a context takes CAs from, nor what a client offers by ALPN or which groups it
allows. So a few methods of an attached *instance* are wrapped. An argument that was not loaded before moves the
context's epoch, and what was earned before is not offered there any more; loading the same again, which urllib3 and
truststore do for each connection, moves nothing. What was set before attaching is not known, and neither is what goes
past the instance: for that, verifying again has to do.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import ssl
import weakref
from collections import OrderedDict
from typing import Any, Callable

from sslsession import _borrow
from sslsession._libssl import lib

LOADING = ("load_verify_locations", "set_default_verify_paths")
SETTING = (
    "set_alpn_protocols",
    "set_ecdh_curve",
    "set_groups",
    "set_client_sigalgs",
    "set_server_sigalgs",
    "set_psk_client_callback",
)
"""Those of them that this Python has."""
LOADED_MOST = 1000
_watches = itertools.count(1)


class Watch:
    """Watches one context, until :meth:`end`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = weakref.ref(context)
        self._loaded: OrderedDict[bytes, None] = OrderedDict()
        self._epoch = next(_watches) << 32
        self._settings: dict[str, str] = {}
        self._ours = {
            name: self._wrapped(context, name) for name in (*LOADING, *SETTING) if hasattr(context, name)
        }
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
        if name in SETTING:
            plain = all(map(_is_plain, (*arguments, *named.values())))
            # A function's repr is its address, which another one gets when it is gone.
            self._settings[name] = repr((arguments, sorted(named.items())) if plain else next(_watches))
        else:
            loaded = _digest(name, *arguments, **named)
            known = loaded in self._loaded
            self._loaded[loaded] = None
            self._loaded.move_to_end(loaded)
            if len(self._loaded) > LOADED_MOST:
                self._loaded.popitem(last=False)
            if known:
                return
            self._epoch += 1
        self._tell(context)

    def _tell(self, context: ssl.SSLContext) -> None:
        digest = hashlib.sha256(repr(sorted(self._settings.items())).encode()).digest()
        unseen = int.from_bytes(digest[:8], "big") or 1 if self._settings else 0
        lib.sslsession_observed(_borrow.context_pointer(context), self._epoch, unseen)


def _is_plain(argument: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return all(map(_is_plain, argument))
    return argument is None or isinstance(argument, (str, bytes, int))


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
