"""When a store that fails is asked again: after a pause, which doubles with each failure, by one caller at a time."""

from __future__ import annotations

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds."""


class Breaker:
    """Closed while the store works. Time is passed in, in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._failures = 0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the store failed and did not work since."""
        return self._failures > 0

    def wait(self, now: float) -> float:
        """Seconds until somebody may try; 0 where the store may be asked now."""
        return max(0.0, self._until - now) if self._failures else 0.0

    def allows(self, now: float) -> bool:
        """Whether the caller may ask the store; after a failure, one caller for each pause."""
        if not self._failures:
            return True
        if now < self._until:
            return False
        self._until = now + self._pause
        return True

    def failed(self, now: float) -> bool:
        """The store failed: whether that was the first time since it worked."""
        first = not self._failures
        self._pause = FIRST_PAUSE if first else min(self._pause * 2, LONGEST_PAUSE)
        self._failures += 1
        self._until = now + self._pause
        return first

    def worked(self) -> None:
        """The store worked."""
        self._failures = 0
