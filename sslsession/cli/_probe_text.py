"""A probe's findings as lines for a pipe, and as a table for a terminal."""

from __future__ import annotations

import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslsession.cli._terminal import styled
from sslsession.probing import KindReport, Report, ResumeReport, VersionReport
from sslsession.probing.failures import printable

NOTHING = "nothing is resumed: every connection costs a full handshake"


def lines(report: Report | ResumeReport, saved: dict[str, Any] | None) -> list[str]:
    """Plain text, one finding a line."""
    if isinstance(report, ResumeReport):
        found = [_resumed(report)]
    else:
        found = []
        for version in report.versions:
            found.append(_version(version))
            found += [f"  {kind.kind}: {_kind(kind)}" for kind in version.kinds]
        found.append(_verdict(report))
    return [_where(report), *found, *_saved(saved)]


def draw(report: Report | ResumeReport, saved: dict[str, Any] | None, console: Console) -> None:
    """Colours, and a table that fits into 80 columns."""
    console.print(Text(_where(report), style="bold"))
    if isinstance(report, ResumeReport):
        console.print(styled(_resumed(report), report.resumed))
    else:
        for version in report.versions:
            console.print(styled(_version(version), True if version.spoken else None))
        console.print(_table(report))
        for version, kind in report.kinds:
            if kind.why_not is not None:
                console.print(Text(f"{_label(version, kind)}: {kind.why_not}"))
        console.print(styled(_verdict(report), report.resumes or None))
    for line in _saved(saved):
        console.print(Text(line))


def _table(report: Report) -> Table:
    table = Table(box=box.ROUNDED)
    table.add_column("TLS")
    table.add_column("by")
    table.add_column("resumed")
    table.add_column("tickets", justify="right")
    table.add_column("lifetime", justify="right")
    table.add_column("0-RTT", justify="right")
    for version, kind in report.kinds:
        table.add_row(
            version.version,
            kind.kind,
            styled(_state(kind), kind.resumed),
            _counts(kind) if kind.tickets else "-",
            "-" if kind.lifetime is None else f"{kind.lifetime} s",
            _early(kind) or "-",
        )
    return table


def _where(report: Report | ResumeReport) -> str:
    host = f"[{report.host}]" if ":" in report.host else report.host
    name = f" as {report.server_name}" if report.server_name != report.host else ""
    begun = f", {report.starttls} STARTTLS" if report.starttls else ""
    verified = "verified" if report.verified else "not verified"
    return printable(f"{host}:{report.port} ({report.address}){name}{begun}, certificate {verified}")


def _version(version: VersionReport) -> str:
    if not version.spoken:
        return f"TLS {version.version}: no ({version.why_not})"
    remark = f"; the server then said: {version.remark}" if version.remark else ""
    parts = ["yes", version.cipher_suite, version.group]
    return f"TLS {version.version}: {', '.join(part for part in parts if part)}{remark}"


def _state(kind: KindReport) -> str:
    if not kind.offered:
        return "not offered"
    return "yes" if kind.resumed else "no"


def _kind(kind: KindReport) -> str:
    if not kind.offered:
        return "not offered by the server" + (f" ({kind.why_not})" if kind.why_not else "")
    facts = [f"tickets {_counts(kind)}"] if kind.tickets else []
    facts += [f"lifetime {duration(kind.lifetime)}"] if kind.lifetime is not None else []
    facts += [f"0-RTT {_early(kind)}"] if kind.max_early_data else []
    state = "resumed" if kind.resumed else f"not resumed ({kind.why_not})"
    return "; ".join([state, *facts])


def _early(kind: KindReport) -> str:
    """How much early data is allowed, and whether it is really taken."""
    known = [f"{kind.max_early_data} bytes", kind.early_data] if kind.max_early_data else []
    return ", ".join(each for each in known if each)


def _counts(kind: KindReport) -> str:
    """How many tickets a full handshake brings, and a resumed one after it."""
    then = kind.tickets_when_resumed
    return f"{kind.tickets}" if then is None else f"{kind.tickets}, then {then}"


def duration(seconds: int) -> str:
    """Seconds, and in the largest unit that is exact."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds} s ({seconds // size} {unit})"
    return f"{seconds} s"


def _label(version: VersionReport, kind: KindReport) -> str:
    return f"TLS {version.version} {kind.kind}"


def _verdict(report: Report) -> str:
    resumed = [_label(version, kind) for version, kind in report.kinds if kind.resumed]
    return f"resumes: {', '.join(resumed)}" if resumed else NOTHING


def _resumed(report: ResumeReport) -> str:
    parts = [
        "resumed" if report.resumed else f"not resumed ({report.why_not})",
        report.cipher_suite,
        report.group,
    ]
    new = f"; {report.tickets} new ticket{'s' if report.tickets > 1 else ''}" if report.tickets else ""
    return f"TLS {report.version} with the saved session: {', '.join(part for part in parts if part)}{new}"


def _saved(saved: dict[str, Any] | None) -> list[str]:
    if saved is None or saved["file"] is None:
        return []
    until = datetime.datetime.fromtimestamp(saved["expires_at"], datetime.timezone.utc)
    doubt = ", which this server does not resume" if saved["resumed"] is False else ""
    what = f"{saved['kind']}{doubt}, good until {until:%Y-%m-%d %H:%M:%S} UTC"
    return [f"saved: {what}, in {printable(saved['file'])}"]
