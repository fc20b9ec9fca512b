"""Daemon threads that look after what has to be looked after from time to time; of what is gone they let go.

Each owner whose work may take long, for it asks a store, has a thread of its own, so that a store which hangs holds up
nobody else; all others share one. A thread is started when there is something to do, and again in the child of a fork.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Any, Callable

from sslsession import _callbacks

LEAST_PAUSE = 0.01


class Turn:
    """One thread, which calls bound methods again and again, each some seconds after its last call ended."""

    def __init__(self) -> None:
        self._start_anew()
        self._tasks: dict[int, tuple[weakref.WeakMethod[Any], float]] = {}

    def _start_anew(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._due: dict[int, float] = {}

    def every(self, seconds: float, method: Callable[[], object]) -> None:
        """From now on, as long as the method's object lives."""
        number = id(method.__self__)  # type: ignore[attr-defined]
        with self._changed:
            self._tasks[number] = weakref.WeakMethod(method), max(seconds, LEAST_PAUSE)
            self._due[number] = time.monotonic() + seconds
            self._start()
            self._changed.notify_all()

    def never(self, owner: object) -> None:
        """No more of the owner's."""
        with self._changed:
            self._tasks.pop(id(owner), None)
            self._due.pop(id(owner), None)
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._tasks

    def _start(self) -> None:
        if self._thread is None and self._tasks:
            self._thread = threading.Thread(target=self._run, name="sslsession-ticker", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is about to end
                self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._tasks:
                    self._thread = None
                    return
                number = min(self._due, key=self._due.__getitem__)
                wait = self._due[number] - time.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                ref, seconds = self._tasks[number]
            self._call(number, ref, seconds)

    def _call(self, number: int, ref: weakref.WeakMethod[Any], seconds: float) -> None:
        method = ref()
        if method is not None:
            try:
                method()
            except BaseException as error:
                _callbacks.report(error, "what sslsession does from time to time")
        with self._changed:
            if self._tasks.get(number, (None, 0))[0] is not ref:
                return
            if method is None:
                del self._tasks[number], self._due[number]
            else:
                self._due[number] = time.monotonic() + seconds

    def after_fork(self) -> None:
        """In a child: the thread is the parent's."""
        self._start_anew()
        now = time.monotonic()
        self._due = {number: now + seconds for number, (_, seconds) in self._tasks.items()}
        with self._changed:
            self._start()


class Ticker:
    """Gives each owner his turn."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may close an owner in the middle of it
        self._common = Turn()
        self._alone: dict[int, Turn] = {}

    def every(self, seconds: float, method: Callable[[], object], *, alone: bool = True) -> None:
        """From now on, as long as the method's object lives. alone: whether the method may take long."""
        with self._lock:
            for number, each in self._alone.copy().items():
                if each.idle:
                    self._alone.pop(number, None)
            turn = self._common
            if alone:
                turn = self._alone.setdefault(id(method.__self__), Turn())  # type: ignore[attr-defined]
            turn.every(seconds, method)

    def never(self, owner: object) -> None:
        """No more of the owner's."""
        with self._lock:
            turn = self._alone.pop(id(owner), self._common)
        turn.never(owner)

    def after_fork(self) -> None:
        """In a child: the threads are the parent's."""
        self._lock = threading.RLock()
        for turn in [self._common, *self._alone.values()]:
            turn.after_fork()


ticker = Ticker()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ticker.after_fork)
