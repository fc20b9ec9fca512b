"""``sslsession probe``: its options, and in which order things happen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from sslsession.cli import _probe_text
from sslsession.cli._terminal import json_option, out, say_json, spinner
from sslsession.probing import (
    Probe,
    ProbeError,
    Report,
    ResumeReport,
    Trust,
    load_session,
    parse_target,
    save_session,
)
from sslsession.probing.probe import NEWEST_FIRST
from sslsession.probing.starttls import PROTOCOLS
from sslsession.probing.target import VERSIONS
from sslsession.session import Session

FILE = click.Path(path_type=Path, dir_okay=False)


def _seconds(_: click.Context, __: click.Parameter, value: float) -> float:
    if math.isnan(value):
        raise click.BadParameter("that is no number of seconds")
    return value


@click.command()
@click.argument("server", metavar="HOST[:PORT]")
@click.option(
    "--ca", type=click.Path(path_type=Path), help="Trust this CA: a PEM file, or a directory of hashed ones."
)
@click.option("--servername", metavar="NAME", help="The name to ask for and to expect; HOST unless given.")
@click.option("--insecure", is_flag=True, help="Verify no certificate.")
@click.option("--starttls", type=click.Choice(list(PROTOCOLS)), help="Begin TLS as this protocol does.")
@click.option("--tls", "version", type=click.Choice(list(VERSIONS)), help="Try this TLS version alone.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 3600, min_open=True),
    default=10.0,
    show_default=True,
    callback=_seconds,
    help="Seconds for each connection.",
)
@click.option(
    "--save", type=FILE, metavar="FILE", help="Keep an unused session in FILE, for its owner alone."
)
@click.option("--resume", type=FILE, metavar="FILE", help="Offer the session in FILE, and try nothing else.")
@json_option
def probe(
    server: str,
    ca: Path | None,
    servername: str | None,
    insecure: bool,
    starttls: str | None,
    version: str | None,
    timeout: float,
    save: Path | None,
    resume: Path | None,
    as_json: bool,
) -> None:
    """Connect to a server, reconnect, and say what it resumes.

    PORT is 443 unless given, or the protocol's with --starttls; an IPv6 address with a port is [ADDRESS]:PORT.
    A server that resumes nothing is a finding, not an error. Where it allows early data, a HEAD request is sent so.
    """
    if ca is not None and insecure:
        raise click.UsageError("--ca names whom to trust, and --insecure trusts anyone: take one of them.")
    target = parse_target(server, server_name=servername, starttls=starttls)
    if save is not None and not save.parent.is_dir():
        raise ProbeError(f"{save} cannot be written: there is no directory {save.parent}")
    saved = load_session(resume) if resume is not None else None
    if saved is not None and version not in (None, _name(saved.session)):
        raise click.UsageError(f"the session in {resume} is not of TLS {version}.")
    with spinner(wanted=not as_json) as tell:
        work = Probe(
            target, Trust(ca, insecure), timeout=timeout, step=lambda what: tell(f"{target}: {what}")
        )
        if saved is not None:
            report: Report | ResumeReport = work.resume(saved.session, keep=save is not None)
        else:
            report = work.run([version] if version else NEWEST_FIRST, keep=save is not None)
    told = _save(save, report) if save is not None else None
    _print(report, told, as_json=as_json)
    if told is not None and told["file"] is None:
        raise ProbeError(f"{save} was not written: the server gave no session that could be resumed")


def _name(session: Session) -> str | None:
    return next((name for name, value in VERSIONS.items() if value == session.version), None)


def _save(path: Path, report: Report | ResumeReport) -> dict[str, Any]:
    """What was kept, as it is told; ``file`` is None where there was nothing to keep."""
    kind, resumed, session = None, None, None
    if isinstance(report, ResumeReport):
        kind, session = f"TLS {report.version} session", report.session
    elif (best := report.best()) is not None:
        version, found = best
        kind, resumed, session = f"TLS {version.version} {found.kind}", found.resumed, found.session
    if session is None:
        return {"file": None, "kind": None, "resumed": None, "expires_at": None}
    save_session(path, session)
    return {"file": str(path), "kind": kind, "resumed": resumed, "expires_at": session.expires_at}


def _print(report: Report | ResumeReport, saved: dict[str, Any] | None, *, as_json: bool) -> None:
    if as_json:
        say_json({**report.plain(), "saved": saved})
        return
    console = out()
    if console.is_terminal:
        _probe_text.draw(report, saved, console)
    else:
        click.echo("\n".join(_probe_text.lines(report, saved)))
