"""Calls that somebody else makes, so that a handshake waits for them no longer than it has time for.

Daemon threads: those of ``concurrent.futures`` are waited for at the interpreter's exit, and a store may never answer.
A thread that was busy last is the first to be asked again, so that there are as few as handshakes wait at once, and as
few connections to the store. Each step between threads is one lock's: a condition would take the interpreter's lock
more often, for which all of a busy server's threads wait in turn.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Callable

from sslsession import _callbacks

THREADS_MOST = 32
"""More handshakes than these that wait at the same moment wait in line."""
DONE, LATE, NEVER = "done", "late", "never"
"""What became of a call in the time that it had: it returned; it goes on; it was not begun, and will not be."""


class Lookups:
    """Threads, started as they are needed, that answer in time or late."""

    def __init__(self) -> None:
        # Garbage collection may run a finalizer inside of it that makes a connection.
        self._lock = threading.RLock()
        self._quiet = threading.Condition(self._lock)
        self._idle: list[_Helper] = []
        self._line: deque[_Job] = deque()
        self._threads = self._busy = 0
        self._closed = False

    def ask(
        self, call: Callable[[], Any], seconds: float, late: Callable[[Any], None] | None = None
    ) -> tuple[str, Any]:
        """``DONE`` and what ``call`` returns; or ``LATE``, and ``late`` is given that when it comes; or ``NEVER``.

        Errors: ``RuntimeError`` where no thread can be started, for the interpreter is about to end.
        """
        job = _Job(call, late)
        with self._lock:
            if self._closed:
                return NEVER, None
            if self._idle:
                self._idle.pop().take(job)
            elif self._threads < THREADS_MOST:
                _Helper(self, job).start()
                self._threads += 1
            else:
                self._line.append(job)
        if job.came.acquire(timeout=seconds):
            return DONE, job.found
        with self._lock:
            if job.is_done:
                return DONE, job.found
            job.given_up = True
            return (LATE if job.is_begun else NEVER), None

    def begins(self, job: _Job) -> bool:
        """Whether somebody still wants it done."""
        with self._lock:
            job.is_begun = not job.given_up and not self._closed
            self._busy += job.is_begun
            return job.is_begun

    def ends(self, job: _Job) -> bool:
        """It is done: whether that was in time."""
        with self._lock:
            job.is_done = True
            job.came.release()
            self._busy -= 1
            if self._closed:
                self._quiet.notify_all()
            return not job.given_up

    def following(self, helper: _Helper) -> _Job | None:
        """What is to be done next; None: nothing is, and the helper is told when something is, or that it ends."""
        with self._lock:
            while self._line:
                job = self._line.popleft()
                if not job.given_up:
                    return job
            if self._closed:
                helper.take(None)
            else:
                self._idle.append(helper)
            return None

    def close(self, seconds: float) -> bool:
        """Ends the threads, each when it has its answer: whether all did within so many seconds."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().take(None)
            return self._quiet.wait_for(lambda: not self._busy, seconds)


class _Job:
    """A call, and what becomes of it."""

    __slots__ = ("call", "came", "found", "given_up", "is_begun", "is_done", "late")

    def __init__(self, call: Callable[[], Any], late: Callable[[Any], None] | None) -> None:
        self.call, self.late = call, late
        self.found: Any = None
        self.given_up = self.is_begun = self.is_done = False
        self.came = threading.Lock()
        self.came.acquire()


class _Helper:
    """One thread."""

    def __init__(self, lookups: Lookups, job: _Job) -> None:
        self._lookups = lookups
        self._job: _Job | None = job
        self._woken = threading.Lock()

    def start(self) -> None:
        """Starts it, with its first job."""
        threading.Thread(target=self._work, name="sslsession-lookup", daemon=True).start()

    def take(self, job: _Job | None) -> None:
        """Gives it something to do while it is idle; None: it ends."""
        self._job = job
        self._woken.release()

    def _work(self) -> None:
        while True:
            self._woken.acquire()
            job, self._job = self._job, None
            if job is None:
                return
            while job is not None:
                self._do(job)
                job = self._lookups.following(self)

    def _do(self, job: _Job) -> None:
        if not self._lookups.begins(job):
            return
        try:
            job.found = job.call()
        except BaseException as error:  # a store of the user's own may raise anything
            _callbacks.report(error, "sslsession's lookup in a session store")
        if not self._lookups.ends(job) and job.late is not None:
            try:
                job.late(job.found)
            except BaseException as error:
                _callbacks.report(error, "sslsession's lookup in a session store")
