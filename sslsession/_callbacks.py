"""Where C enters Python, and what becomes of an exception on its way back.

An exception cannot travel through OpenSSL. Each entry returns its error value instead, which fails closed: nothing is
resumed, nothing is kept. The exception is raised again by the call of ours that led there (``reraising``), where there
is one on this thread; else it goes to ``sys.unraisablehook`` and is counted. KeyboardInterrupt is delivered again.

At the interpreter's exit the C gate closes before Python goes: a callback that comes later finds nobody at home.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Callable, Protocol

from sslsession import _libssl
from sslsession._libssl import ffi, lib


class Handler(Protocol):
    """What an attachment does when OpenSSL calls."""

    def on_new(self, handle: Any, pointer: Any) -> bool:
        """A session came: whether it is to be kept."""

    def on_get(self, handle: Any, session_id: bytes) -> Any:
        """A session by its id, as a pointer with a reference for OpenSSL, or NULL."""

    def on_offer(self, handle: Any) -> None:
        """A client's handshake begins: the moment to offer a session on it."""

    def on_peer(self, handle: Any) -> None:
        """A client's handshake begins, and neither SNI nor socket tell C with whom."""

    def on_outcome(self, handle: Any, outcome: int, who: int) -> None:
        """What became of what was offered: declined, resumed, or withdrawn by a fatal alert."""


class Shelf(Protocol):
    """Where the sessions of servers are kept, as bytes."""

    def shelve(self, session_id: bytes, der: bytes, version: int, made_at: int) -> None:
        """OpenSSL made a session, or a ticket that is only an id; or, made at that time, it was resumed now."""

    def unshelve(self, session_id: bytes, version: int) -> bytes | None:
        """A client proposed this id."""

    def issue(self, token: bytes) -> None:
        """A ticket is sent that may be used for early data once, by this token."""

    def asked(self, handle: Any, token: bytes) -> bool:
        """Whether the early data of this connection is accepted; token: its ticket's, if that has one."""


handlers: dict[int, Handler] = {}
heirs: dict[int, Callable[[Any, bytes], None]] = {}
"""By a pool's number: who takes over facts that leave it, and their key."""
shelves: dict[int, Shelf] = {}
"""By a server cache's number: who keeps its sessions."""
_thread_state = threading.local()
_counted = {"callback_errors": 0}


def callback_errors() -> int:
    """How many exceptions of hooks and stores were reported rather than raised, in this process."""
    return _counted["callback_errors"]


@contextlib.contextmanager
def reraising() -> Iterator[None]:
    """Raises, at the end of the block, the first exception of a callback that the block led to on this thread."""
    outer = getattr(_thread_state, "kept", None)
    kept: list[BaseException] = []
    _thread_state.kept = kept
    try:
        yield
    finally:
        _thread_state.kept = outer
        if kept:
            raise kept[0]


def report(error: BaseException, where: str) -> None:
    """Hands an exception that nobody can be given to ``sys.unraisablehook``, or on: see the module."""
    kept = getattr(_thread_state, "kept", None)
    if kept is not None:
        kept.append(error)
        return
    _counted["callback_errors"] += 1
    if sys.unraisablehook is not sys.__unraisablehook__:
        try:
            sys.unraisablehook(
                SimpleNamespace(
                    exc_type=type(error),
                    exc_value=error,
                    exc_traceback=error.__traceback__,
                    err_msg=f"Exception ignored in {where}",
                    object=None,
                )
            )
            return
        except Exception as failure:
            error, where = failure, "sys.unraisablehook"
    if sys.stderr is not None:
        print(f"Exception ignored in {where}:", file=sys.stderr)
        import traceback

        traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)


def _interrupted_again(_kind: type[BaseException], error: BaseException, _trace: Any) -> None:
    """An exception out of ``guarded`` itself: a signal came while it was at its work."""
    if isinstance(error, KeyboardInterrupt):
        lib.sslsession_interrupt_later()
    else:
        report(error, "a callback of sslsession")


def _entry(error: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function as the Python side of the ``extern "Python"`` of its name."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def guarded(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except KeyboardInterrupt:
                lib.sslsession_interrupt_later()
            except BaseException as caught:
                report(caught, f"a callback of sslsession ({function.__name__})")
            return error

        ffi.def_extern(name=function.__name__, error=error, onerror=_interrupted_again)(guarded)
        return guarded

    return register


@_entry(error=0)
def sslsession_py_new(context: int, handle: Any, pointer: Any) -> int:
    handler = handlers.get(context)
    return 1 if handler is None else int(handler.on_new(handle, pointer))


@_entry(error=ffi.NULL)
def sslsession_py_get(context: int, handle: Any, session_id: Any, length: int) -> Any:
    handler = handlers.get(context)
    return ffi.NULL if handler is None else handler.on_get(handle, bytes(ffi.buffer(session_id, length)))


@_entry(error=None)
def sslsession_py_offer(context: int, handle: Any) -> None:
    handler = handlers.get(context)
    if handler is not None:
        handler.on_offer(handle)


@_entry(error=None)
def sslsession_py_outcome(context: int, handle: Any, outcome: int, who: int) -> None:
    handler = handlers.get(context)
    if handler is not None:
        handler.on_outcome(handle, outcome, who)


@_entry(error=None)
def sslsession_py_peer(context: int, handle: Any) -> None:
    handler = handlers.get(context)
    if handler is not None:
        handler.on_peer(handle)


@_entry(error=None)
def sslsession_py_hand_over(number: int, facts: Any, key: Any, size: int) -> None:
    facts, heir = ffi.gc(facts, lib.sslsession_facts_free), heirs.get(number)
    if heir is not None:
        heir(facts, bytes(ffi.buffer(key, size)))


@_entry(error=None)
def sslsession_py_shelve(
    number: int, key: Any, length: int, der: Any, size: int, version: int, made_at: int
) -> None:
    shelf = shelves.get(number)
    if shelf is not None:
        shelf.shelve(bytes(ffi.buffer(key, length)), bytes(ffi.buffer(der, size)), version, made_at)


@_entry(error=None)
def sslsession_py_token(number: int, token: Any, size: int) -> None:
    shelf = shelves.get(number)
    if shelf is not None:
        shelf.issue(bytes(ffi.buffer(token, size)))


@_entry(error=0)
def sslsession_py_early(number: int, handle: Any, token: Any, size: int) -> int:
    shelf = shelves.get(number)
    return int(shelf is not None and shelf.asked(handle, bytes(ffi.buffer(token, size))))


@_entry(error=0)
def sslsession_py_unshelve(number: int, key: Any, length: int, version: int, out: Any, most: int) -> int:
    shelf = shelves.get(number)
    found = shelf.unshelve(bytes(ffi.buffer(key, length)), version) if shelf is not None else None
    if found is None or len(found) > most:
        return 0
    ffi.memmove(out, found, len(found))
    return len(found)


def _close_gate() -> None:
    lib.sslsession_open_gate(0)


if _libssl.problem is None:
    lib.sslsession_open_gate(1)
    atexit.register(_close_gate)
