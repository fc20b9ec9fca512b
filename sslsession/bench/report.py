"""What is said of a run: as plain values for JSON, as rows for a table, and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

from sslsession.bench.costs import Cost
from sslsession.bench.delay import Waited
from sslsession.bench.measure import microseconds, ratio, undisturbed
from sslsession.bench.run import Result, VersionResult

TITLES = {
    "full": "full handshake, ssl alone",
    "ssl": "resumed, ssl's own session=",
    "ours": "resumed, set_session()",
    "by_hand": "resumed, OpenSSL by hand",
    "attached": "resumed, sslsession",
    "attached_full": "full handshake, sslsession",
    "c_full": "full handshake, in C",
    "c": "resumed, in C",
}
RATIOS = (
    ("ours", "full"),
    ("ours", "ssl"),
    ("ours", "c"),
    ("ssl", "full"),
    ("full", "c_full"),
    ("c", "c_full"),
    ("attached", "full"),
    ("attached", "by_hand"),
    ("attached", "c"),
    ("attached", "ssl"),
    ("attached_full", "full"),
)
"""What is divided by what, round by round."""


class Row(NamedTuple):
    """One variant, as text."""

    title: str
    microseconds: str
    of_full: str
    resumed: str
    failed: bool


Estimate = Callable[[list[float], list[float]], Optional[float]]


def ratios(version: VersionResult, estimate: Estimate = ratio) -> dict[str, float | None]:
    """Each of ``RATIOS``, by ``over/under``; None where the clock was too coarse."""
    timings = version.timings
    return {
        f"{over}/{under}": _rounded(estimate(timings[over].seconds, timings[under].seconds), 3)
        for over, under in RATIOS
    }


def to_plain(result: Result, costs: Sequence[Cost] = ()) -> dict[str, Any]:
    """The whole run. Times are microseconds for one handshake, both ends together, and medians, as ``ratios`` are;
    ``undisturbed`` has the same ratios of the fastest tenth of the rounds."""
    return {
        "openssl": result.openssl,
        "python": result.python,
        "clock": result.clock,
        "rounds": result.rounds,
        "handshakes": result.handshakes,
        "tls": {name: _version_to_plain(version) for name, version in result.versions.items()},
        "costs": {cost.name: {"value": round(cost.value, 3), "unit": cost.unit} for cost in costs},
    }


def _version_to_plain(version: VersionResult) -> dict[str, Any]:
    return {
        "variants": {
            name: {
                "microseconds": _rounded(microseconds(timing.seconds), 1),
                "handshakes": timing.handshakes,
                "resumed": timing.resumed,
            }
            for name, timing in version.timings.items()
        },
        "ratios": ratios(version),
        "undisturbed": ratios(version, undisturbed),
        "calls": {
            "get_session": _rounded(microseconds(version.get_seconds), 1),
            "set_session": _rounded(microseconds(version.set_seconds), 1),
        },
        "failed": version.failed,
    }


def rows(version: VersionResult) -> list[Row]:
    """A row for each variant."""
    full = version.timings["full"].seconds
    return [
        Row(
            TITLES[name],
            _number(microseconds(timing.seconds), ".1f"),
            _number(ratio(timing.seconds, full), ".2f"),
            f"{timing.resumed}/{timing.handshakes}",
            name in version.failed,
        )
        for name, timing in version.timings.items()
    ]


def notes(version: VersionResult) -> list[str]:
    """sslsession's part, under the table."""
    found = ratios(version)
    calls = [_number(microseconds(each), ".1f") for each in (version.set_seconds, version.get_seconds)]
    of_c, of_ssl, of_hand, full = (
        _number(found[f"{each}"], ".2f")
        for each in ("attached/c", "attached/ssl", "attached/by_hand", "attached_full/full")
    )
    return [
        f"sslsession: {of_c} x the loop in C, {of_ssl} x ssl's own session=, {of_hand} x by hand,",
        f"and {full} x ssl alone where the handshake is full",
        f"set_session() {calls[0]} us, get_session() {calls[1]} us",
    ]


def sentence(result: Result) -> str:
    """What resumption saves."""
    ours = [_saving(name, version, "attached/full") for name, version in result.versions.items()]
    theirs = [_saving(name, version, "ssl/full") for name, version in result.versions.items()]
    return (
        f"Resuming with sslsession saves {' and '.join(ours)} of a full handshake's {result.clock} time; "
        f"with ssl's own session= it is {' and '.join(theirs)}."
    )


def _saving(name: str, version: VersionResult, which: str) -> str:
    found = ratios(version)[which]
    return f"{'an unknown part' if found is None else f'{1 - found:.0%}'} (TLS {name})"


def cost_lines(costs: Sequence[Cost]) -> list[str]:
    """Each cost on a line."""
    return [
        f"{cost.title:<48}{cost.value:>10{'.2f' if cost.unit == 'x' else '.1f'}} {cost.unit}"
        for cost in costs
    ]


def delay_lines(ways: Sequence[Waited], delay: float) -> list[str]:
    """How long each way to begin waits for an answer. delay: of each way, in milliseconds."""
    head = f"{f'TLS 1.3, {2 * delay:g} ms a round trip':<30}{'ms':>12}{'round trips':>14}"
    rows = [
        f"{each.title:<30}{each.seconds * 1000:>12.1f}"
        + (f"{each.seconds * 500 / delay:>14.2f}" if delay else "")
        for each in ways
    ]
    return [head, *rows]


def failures(result: Result) -> list[str]:
    """What did not resume and had to, or the other way round; nothing else in the run counts then."""
    return [
        f"TLS {name}, {TITLES[variant]}: {timing.resumed} of {timing.handshakes} handshakes resumed"
        for name, version in result.versions.items()
        for variant, timing in version.timings.items()
        if variant in version.failed
    ]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
