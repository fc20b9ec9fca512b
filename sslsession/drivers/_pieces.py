"""What the drivers cut data into."""

from __future__ import annotations

from collections import deque

PIECE = 65536
"""Bytes that are encrypted at a time: what lies in the processor's cache is copied for little."""


def first(received: deque[bytes], size: int) -> bytes:
    """At most ``size`` bytes of the first record in it, which has one; the rest of that record stays."""
    data = received.popleft()
    if len(data) > size:
        received.appendleft(data[size:])
        return data[:size]
    return data
