"""How a store does, by what became of what it was asked; and when one that fails is asked again.

That is after a pause, which doubles with each failure, and by one caller at a time.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter

from sslsession import _callbacks
from sslsession.errors import StoreError

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds."""
WRITING, LOOKING = "writing", "looking"
ALMOST = 0.9
"""Of its timeout: a store that took as much is late, for some of it was spent before it was asked."""


class Breaker:
    """Closed while the store works. Time is passed in, in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._open = False
        self._trial = False
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the store failed, and has not worked since."""
        return self._open

    def wait(self, now: float) -> float:
        """Seconds until somebody may try; 0 where the store may be asked now."""
        return max(0.0, self._until - now) if self._open else 0.0

    def allows(self, now: float) -> bool:
        """Whether the caller may ask the store; after a failure, one caller for each pause."""
        if not self._open:
            return True
        if now < self._until:
            return False
        self._until = now + self._pause
        self._trial = True
        return True

    def failed(self, now: float) -> bool:
        """The store failed: whether that was the first time since it worked.

        Calls that were under way together fail together, and that is one failure: only a trial's doubles the pause.
        """
        first = not self._open
        if first or self._trial:
            self._pause = FIRST_PAUSE if first else min(self._pause * 2, LONGEST_PAUSE)
            self._until = now + self._pause
        self._open, self._trial = True, False
        return first

    def worked(self) -> None:
        """The store worked."""
        self._open = self._trial = False


class Health:
    """A store's: what it is known to do and to fail in, by the calls of all threads."""

    def __init__(self, timeout: float | None) -> None:
        self.counts: Counter[str] = Counter()
        self.breaker = Breaker()
        self._timeout = timeout
        self._was_refused = False
        self.start_anew()

    def start_anew(self) -> threading.Condition:
        """At first, and in a child: the condition that whoever changes any of this holds, and tells of it."""
        self.changed = threading.Condition(threading.RLock())
        self.failure: BaseException | None = None
        self._answered = {WRITING: -math.inf, LOOKING: -math.inf}
        return self.changed

    def worked(self, what: str) -> None:
        """The store did what it was asked."""
        with self.changed:
            self._answered[what] = time.monotonic()
            self.failure = None
            self.breaker.worked()

    def failed(self, error: BaseException, what: str, began: float) -> None:
        """It did not do what it was asked at that moment.

        Where it did as much for somebody else meanwhile, it is threads that wait, for each other or for their turn in
        the interpreter, and the store is not to be left alone for that.
        """
        _without_frames(error)
        with self.changed:
            self.counts["store_errors"] += 1
            if self._answered[what] > began:
                return
            self.failure = error
            first = self.breaker.failed(time.monotonic())
            self.changed.notify_all()
        if first:
            _callbacks.report(error, "sslsession's use of a session store; handshakes go on without it")

    def overdue(self, what: str, began: float) -> None:
        """It has not answered yet what it was asked at that moment: a failure, once that is as long as its timeout."""
        timeout = self._timeout or math.inf
        if time.monotonic() - began < ALMOST * timeout or self._answered[what] > began:
            return
        said = f"the session store did not answer within its timeout of {timeout * 1000:.0f} ms"
        self.failed(StoreError(said), what, began)

    def refused(self, error: Exception) -> None:
        """It gave what is no session, and may have given others that are."""
        _without_frames(error)
        with self.changed:
            self.counts["store_errors"] += 1
            first, self._was_refused = not self._was_refused, True
        if first:
            where = "sslsession's reading of a session store; handshakes go on without what it gave"
            _callbacks.report(error, where)


def _without_frames(error: BaseException | None) -> None:
    """What is reported must not lead to the sessions that were among somebody's local variables."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
