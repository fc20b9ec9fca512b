"""The Python end of the C queue: sessions that OpenSSL removed, and contexts that went.

OpenSSL's remove callback may run with the context's lock held, so C only queues. Removals are delivered by one daemon
thread, which lives while somebody waits for them, and by whoever leaves; never in the middle of another call of a
user's, who may hold a lock that his hook wants.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import functools
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

from sslsession import _callbacks
from sslsession._libssl import ffi, lib, problem

REMOVED = 1
CONTEXT_GONE = 2
IDLE_MILLISECONDS = 60_000
Task = Callable[[], object]
EXIT_SECONDS = 2.0
receivers: dict[int, Callable[[Any], list[Task]]] = {}
"""By kind: what is to be done for an event, told inside the ``section`` and done outside."""
_lock = threading.RLock()
_inside = threading.local()
_listener: threading.Thread | None = None
_left_behind: list[object] = []


@contextlib.contextmanager
def section() -> Iterator[None]:
    """Held while users come and go, and while an event leaves its queue and finds its hearers: who leaves loses none.

    The garbage collector may run a finalizer in the middle of it, on this very thread, which closes hooks and so would
    wait for itself: what it asks for (``postponed``) is done after the section. One that attaches to a context of its
    own is let in.
    """
    if getattr(_inside, "later", None) is not None:
        with _lock:
            yield
        return
    later: list[Task] = []
    _inside.later = later
    try:
        with _lock:
            yield
    finally:
        _inside.later = None
    for task in later:
        task()


def postponed(task: Task) -> bool:
    """Whether this thread is inside the ``section`` already; the task is then done after it."""
    later: list[Task] | None = getattr(_inside, "later", None)
    if later is None:
        return False
    later.append(task)
    return True


def deliver_removals() -> None:
    """Delivers every removal until now."""
    if lib.sslsession_events_queued() and getattr(_inside, "later", None) is None:
        event = ffi.new("sslsession_event *")
        while _deliver(event):
            pass


def sweep() -> None:
    """Forgets contexts that went; where a thread listens, that is its work."""
    if _listener is None:
        deliver_removals()


def _deliver(event: Any) -> bool:
    with section():
        if not lib.sslsession_next_event(event):
            return False
        try:
            tasks = receivers[event.kind](event)
        except Exception as caught:
            tasks = [functools.partial(_callbacks.report, caught, "sslsession, which took note of an event")]
        finally:
            _let_go(event)
    for task in tasks:
        try:
            task()
        except KeyboardInterrupt:
            _thread.interrupt_main()
        except BaseException as caught:
            _callbacks.report(caught, "a remove hook of sslsession")
    return True


def _let_go(event: Any) -> None:
    if event.session != ffi.NULL:
        lib.SSL_SESSION_free(event.session)
        event.session = ffi.NULL


def listen() -> None:
    """Starts the thread that delivers removals as they come, once. Called inside the ``section``."""
    global _listener
    if _listener is None or not _listener.is_alive():
        _listener = threading.Thread(target=_run, name="sslsession-removals", daemon=True)
        _listener.start()


def dismiss() -> threading.Thread | None:
    """Tells the thread to end; what is still queued waits for ``deliver_removals``. Called inside the ``section``."""
    global _listener
    thread, _listener = _listener, None
    return thread


def wait_for(thread: threading.Thread | None, seconds: float = float("inf")) -> None:
    """Waits until a dismissed thread has ended, and with it the hook that it may be in; not inside the ``section``."""
    until = time.monotonic() + seconds
    while thread is not None and thread is not threading.current_thread() and thread.is_alive():
        lib.sslsession_wake_events()
        thread.join(0.05)
        if time.monotonic() > until:
            break


def _end() -> None:
    """At the interpreter's exit, which a hook that never returns must not hold up."""
    wait_for(dismiss(), EXIT_SECONDS)


def _run() -> None:
    me = threading.current_thread()
    while _listener is me:
        lib.sslsession_await_removal(IDLE_MILLISECONDS)
        deliver_removals()


def leave_behind(copies: object) -> None:
    """In a child: forgets what a fork copied, and frees none of it: a lock of OpenSSL's may be held for ever there."""
    _left_behind.append(copies)


def _forget_after_fork() -> None:
    """What was queued before a fork is the parent's to deliver; the thread is the parent's too."""
    global _lock, _listener
    _lock = threading.RLock()
    event = ffi.new("sslsession_event *")
    while lib.sslsession_next_event(event):
        pass  # freed by nobody: the parent may have held one of OpenSSL's locks at the fork
    if _listener is not None:
        _listener = None
        listen()


if problem is None:
    atexit.register(_end)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_after_fork)
