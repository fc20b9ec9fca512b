"""When a store that fails is asked again: after a pause, which doubles with each failure, by one caller at a time."""

from __future__ import annotations

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds."""


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
