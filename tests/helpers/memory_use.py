"""How much resident memory a repeated action costs."""

from __future__ import annotations

import gc
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

STATM = Path("/proc/self/statm")
needs_statm = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.python_implementation() != "CPython",
    reason="resident memory is read from /proc, and says little where garbage is collected later",
)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(STATM.read_text().split()[1]) * 4096


def growth(cycle: Callable[[], object], cycles: int) -> int:
    """By how many bytes resident memory grows in `cycles`, after as many as settle it."""
    for _ in range(max(200, cycles // 10)):
        cycle()
    gc.collect()
    before = resident()
    for _ in range(cycles):
        cycle()
    gc.collect()
    return resident() - before
