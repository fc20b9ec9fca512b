"""The Python end of the C queues: sessions that OpenSSL removed, contexts that went, sessions that an alert withdrew.

OpenSSL's remove callback may run with the context's lock held, so C only queues. Removals are delivered by one daemon
thread, which lives while somebody waits for them, and by whoever leaves; never in the middle of another call of a
user's, who may hold a lock that his hook wants. Withdrawals are this library's own, and taken whenever it needs them.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any, Callable

from sslsession import _callbacks
from sslsession._libssl import ffi, lib, problem

REMOVED = 1
CONTEXT_GONE = 2
WITHDRAWN = 3
REMOVALS = 0
WITHDRAWALS = 1
IDLE_MILLISECONDS = 60_000
Task = Callable[[], object]
receivers: dict[int, Callable[[Any], list[Task]]] = {}
"""By kind: what is to be done for an event, told under ``delivery`` and done without it."""
delivery = threading.Lock()
"""Held while an event leaves its queue and finds its hearers, so that who leaves meanwhile loses none."""
_lock = threading.Lock()
_listener: threading.Thread | None = None


def take_withdrawals() -> None:
    """Takes note of every withdrawal until now."""
    _drain(WITHDRAWALS)


def deliver_removals() -> None:
    """Delivers every removal until now."""
    _drain(REMOVALS)


def sweep() -> None:
    """Forgets contexts that went; where a thread listens, that is its work."""
    if _listener is None:
        _drain(REMOVALS)


def _drain(queue: int) -> None:
    if lib.sslsession_events_queued(queue):
        event = ffi.new("sslsession_event *")
        while _deliver(queue, event):
            pass


def _deliver(queue: int, event: Any) -> bool:
    with delivery:
        if not lib.sslsession_next_event(queue, event):
            return False
        try:
            tasks = receivers[event.kind](event)
        finally:
            _let_go(event)
    for task in tasks:
        try:
            task()
        except BaseException as caught:
            _callbacks.report(caught, "a remove hook of sslsession")
    return True


def _let_go(event: Any) -> None:
    if event.session != ffi.NULL:
        lib.SSL_SESSION_free(event.session)
        event.session = ffi.NULL


def listen() -> None:
    """Starts the thread that delivers removals as they come, once."""
    global _listener
    with _lock:
        if _listener is None or not _listener.is_alive():
            _listener = threading.Thread(target=_run, name="sslsession-removals", daemon=True)
            _listener.start()


def stop_listening() -> None:
    """Ends the thread; what is still queued waits for ``deliver_removals``."""
    global _listener
    with _lock:
        thread, _listener = _listener, None
    if thread is not None and thread is not threading.current_thread():
        while thread.is_alive():
            lib.sslsession_wake_events()
            thread.join(0.05)


def _run() -> None:
    me = threading.current_thread()
    while _listener is me:
        lib.sslsession_await_removal(IDLE_MILLISECONDS)
        deliver_removals()


def _forget_after_fork() -> None:
    """What was queued before a fork is the parent's to deliver; the thread is the parent's too."""
    global _lock, _listener, delivery
    _lock, delivery = threading.Lock(), threading.Lock()
    event = ffi.new("sslsession_event *")
    for queue in (REMOVALS, WITHDRAWALS):
        while lib.sslsession_next_event(queue, event):
            _let_go(event)
    if _listener is not None:
        _listener = None
        listen()


if problem is None:
    atexit.register(stop_listening)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_after_fork)
