"""Interleaved batches and their medians: nothing here knows what it measures, and the clock is handed in.

A shared machine slows down and speeds up by tens of percent within seconds. So the variants take turns in rounds, each
round beginning with another, and a ratio is taken within each round before the median over rounds: what slowed one
variant slowed all.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Callable, NamedTuple

Batch = Callable[[int], int]
"""Makes so many handshakes; returns how many of them resumed."""


class Timing(NamedTuple):
    """What one variant took."""

    seconds: list[float]
    """For one handshake, by round."""
    handshakes: int
    resumed: int


def interleave(
    batches: Mapping[str, Batch],
    *,
    rounds: int,
    handshakes: int,
    clock: Callable[[], float],
    before_round: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Times each variant once a round, in batches of ``handshakes``. clock: in seconds. Before each batch runs one
    handshake unmeasured, which finds the processor's caches full of the variant before it.
    """
    names = list(batches)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    resumed = dict.fromkeys(names, 0)
    for number in range(rounds):
        before_round()
        for name in rotated(names, number):
            batches[name](1)
            start = clock()
            resumed[name] += batches[name](handshakes)
            seconds[name].append((clock() - start) / handshakes)
    return {name: Timing(seconds[name], rounds * handshakes, resumed[name]) for name in names}


def rotated(names: list[str], by: int) -> list[str]:
    """The names in the same order from another start, so that none is always first."""
    start = by % len(names)
    return names[start:] + names[:start]


def ratio(over: list[float], under: list[float]) -> float | None:
    """The median of the ratios within rounds; None where the clock was too coarse to see any round of ``under``."""
    found = [above / below for above, below in zip(over, under) if below > 0]
    return median(found) if found else None


def undisturbed(over: list[float], under: list[float]) -> float | None:
    """The ratio of what a tenth of the rounds stay below: nearer to a quiet machine's than the median on a busy one."""
    above, below = _fast(over), _fast(under)
    return above / below if below > 0 else None


def _fast(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 10]


def microseconds(seconds: list[float]) -> float | None:
    """The median, in microseconds; None of nothing."""
    return median(seconds) * 1e6 if seconds else None
