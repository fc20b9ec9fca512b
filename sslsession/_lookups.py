"""Calls that somebody else makes, so that a handshake waits for them no longer than it has time for.

Daemon threads: those of ``concurrent.futures`` are waited for at the interpreter's exit, and a store may never answer.
"""

from __future__ import annotations

import queue
import threading
from typing import Any, Callable, Optional

from sslsession import _callbacks

THREADS_MOST = 4
Job = Optional[Callable[[], None]]


class Lookups:
    """A few threads, started as they are needed, that answer in time or late."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        # Garbage collection may run a finalizer inside of it that makes a connection.
        self._lock = threading.RLock()
        self._threads = self._busy = 0
        self._closed = False

    def ask(self, look: Callable[[], Any], seconds: float, late: Callable[[Any], None]) -> tuple[bool, Any]:
        """What ``look`` returns, and whether that came in time; what comes later, ``late`` is given.

        Errors: ``RuntimeError`` where no thread can be started, for the interpreter is about to end.
        """
        answer: list[Any] = []
        given_up: list[bool] = []
        came, settled = threading.Event(), threading.Lock()

        def job() -> None:
            found = look()
            with settled:
                answer.append(found)
                came.set()
            if given_up:
                late(found)

        with self._lock:
            if self._busy >= self._threads and self._threads < THREADS_MOST and not self._closed:
                threading.Thread(target=self._work, name="sslsession-lookup", daemon=True).start()
                self._threads += 1
            self._busy += 1
        self._jobs.put(job)
        if came.wait(seconds):
            return True, answer[0]
        with settled:
            if answer:
                return True, answer[0]
            given_up.append(True)
        return False, None

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            try:
                job()
            except BaseException as error:  # a store of the user's own may raise anything
                _callbacks.report(error, "sslsession's lookup in a session store")
            finally:
                with self._lock:
                    self._busy -= 1

    def close(self) -> None:
        """Ends the threads that do not wait for an answer, and the others when they have it."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)
            self._closed = True
