"""One run of the benchmark: the variants of each TLS version, made, warmed and measured in turns."""

from __future__ import annotations

import gc
import platform
import ssl
import sys
import time
from collections.abc import Sequence
from typing import Callable, NamedTuple

from sslsession.bench import measure
from sslsession.bench.loops import LOOPS, Loop, Timed
from sslsession.bench.measure import Timing

WARM = 20
"""Handshakes before the first that counts: each variant then has its session, and Python has specialised its code."""
COARSE = sys.platform == "win32"
CLOCK: Callable[[], float] = time.perf_counter if COARSE else time.process_time
CLOCK_NAME = "elapsed" if COARSE else "CPU"
"""CPU time of the whole process; Windows counts that in steps of 16 ms, so there it is the time that passed."""


class VersionResult(NamedTuple):
    """One TLS version."""

    timings: dict[str, Timing]
    """By the names of ``LOOPS``."""
    get_seconds: list[float]
    """Each ``get_session`` between handshakes, and each ``set_session``."""
    set_seconds: list[float]
    failed: list[str]
    """The variants that resumed and should not have, or did not and should have."""


class Result(NamedTuple):
    """All that was measured."""

    openssl: str
    python: str
    clock: str
    rounds: int
    handshakes: int
    versions: dict[str, VersionResult]


def run(
    versions: Sequence[str], *, rounds: int, handshakes: int, step: Callable[[str], object] = lambda _: None
) -> Result:
    """Measures; ``step`` is told the TLS version before each round.

    Errors: :class:`~sslsession.errors.SessionError` where a handshake fails.
    """
    return Result(
        openssl=ssl.OPENSSL_VERSION,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        clock=CLOCK_NAME,
        rounds=rounds,
        handshakes=handshakes,
        versions={version: _one_version(version, rounds, handshakes, step) for version in versions},
    )


def _one_version(version: str, rounds: int, handshakes: int, step: Callable[[str], object]) -> VersionResult:
    loops = {name: kind(version) for name, kind in LOOPS.items()}
    for loop in loops.values():
        loop(WARM)

    def before_round() -> None:
        step(version)
        gc.collect()  # rather here than in somebody's turn

    timings = measure.interleave(
        loops, rounds=rounds, handshakes=handshakes, clock=CLOCK, before_round=before_round
    )
    timed = Timed(version, time.perf_counter)
    timed(WARM + rounds * handshakes)
    return VersionResult(
        timings,
        timed.get_seconds[WARM:],
        timed.set_seconds[WARM - 1 :],
        [name for name, timing in timings.items() if _failed(loops[name], timing)],
    )


def _failed(loop: Loop, timing: Timing) -> bool:
    if loop.must_resume is None:
        return False
    return timing.resumed != (timing.handshakes if loop.must_resume else 0)
