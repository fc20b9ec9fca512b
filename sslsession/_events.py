"""The Python end of the C queue: removals, contexts that went, sessions that a fatal alert withdrew.

OpenSSL's remove callback may run with the context's lock held, so C only queues. The queue is drained whenever this
library is entered, and, while somebody waits for removals, by one daemon thread.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any, Callable

from sslsession import _callbacks
from sslsession._libssl import ffi, lib, problem

REMOVED, CONTEXT_GONE, WITHDRAWN = 1, 2, 3
IDLE_MILLISECONDS = 60_000
receivers: dict[int, Callable[[Any], None]] = {}
_lock = threading.Lock()
_listener: threading.Thread | None = None
_listening = False


def drain() -> None:
    """Delivers everything that is queued now."""
    if lib.sslsession_events_queued():
        event = ffi.new("sslsession_event *")
        while _deliver(event, 0):
            pass


def _deliver(event: Any, milliseconds: int, *, tell: bool = True) -> bool:
    if not lib.sslsession_next_event(event, milliseconds):
        return False
    try:
        receiver = receivers.get(event.kind)
        if receiver is not None and tell:
            receiver(event)
    except BaseException as caught:
        _callbacks.report(caught, "a remove hook of sslsession")
    finally:
        if event.session != ffi.NULL:
            lib.SSL_SESSION_free(event.session)
            event.session = ffi.NULL
    return True


def listen() -> None:
    """Starts the thread that delivers removals as they come, once."""
    global _listener, _listening
    with _lock:
        if _listener is None or not _listener.is_alive():
            _listening = True
            _listener = threading.Thread(target=_run, name="sslsession-removals", daemon=True)
            _listener.start()


def stop_listening() -> None:
    """Ends the thread; what is still queued waits for ``drain``."""
    global _listener, _listening
    with _lock:
        thread, _listener, _listening = _listener, None, False
    if thread is not None and thread is not threading.current_thread():
        while thread.is_alive():
            lib.sslsession_wake_events()
            thread.join(0.05)


def _run() -> None:
    event = ffi.new("sslsession_event *")
    me = threading.current_thread()
    while _listening and _listener in (me, None):
        _deliver(event, IDLE_MILLISECONDS)


def _forget_after_fork() -> None:
    """What was queued before a fork is the parent's to deliver; the thread is the parent's too."""
    global _lock, _listener
    _lock = threading.Lock()
    event = ffi.new("sslsession_event *")
    while _deliver(event, 0, tell=False):
        pass
    if _listener is not None:
        _listener = None
        listen()


if problem is None:
    atexit.register(stop_listening)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_after_fork)
