"""``sslsession bench``: its options, its progress and its table."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import Callable

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sslsession import _borrow
from sslsession.bench import report
from sslsession.bench.costs import measure_costs
from sslsession.bench.delay import WARM, measure_link
from sslsession.bench.identity import VERSIONS
from sslsession.bench.run import Result, VersionResult, run
from sslsession.bench.servers import measure_servers
from sslsession.cli._terminal import json_option, out, say_json


@click.command()
@click.option("--tls", "version", type=click.Choice(list(VERSIONS)), help="Measure this TLS version alone.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="How often the variants take turns.",
)
@click.option(
    "--handshakes",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="Handshakes of a variant before the next one's turn.",
)
@click.option("--redis", metavar="URL", help="Measure this Redis too, against bare round trips.")
@click.option(
    "--entries",
    type=click.IntRange(1000),
    default=100_000,
    show_default=True,
    help="How many entries a large MemoryStore has.",
)
@click.option(
    "--delay",
    type=click.FloatRange(0, 5000),
    metavar="MS",
    help="Measure how long an answer takes over a way of so many ms, and nothing else.",
)
@json_option
def bench(
    version: str | None,
    rounds: int,
    handshakes: int,
    redis: str | None,
    entries: int,
    delay: float | None,
    as_json: bool,
) -> None:
    """What resumption saves: full and resumed handshakes, measured here.

    Both ends are in this process and speak through memory, so it is their work together that is timed, and no
    network. Server certificate: ECDSA P-256, verified with its name. Ratios are taken within rounds, so that they
    hold on a busy machine, where the times themselves do not.

    With --delay there is a way between the two, and what counts is the time to the first byte of an answer: full,
    resumed, and with early data. TLS 1.3; TCP's own round trip is not in it.
    """
    _borrow.prove()
    if delay is not None:
        _delayed(delay, rounds, as_json)
        return
    versions = [version] if version is not None else list(VERSIONS)
    with _progress(len(versions) * rounds) as step:
        result = run(versions, rounds=rounds, handshakes=handshakes, step=step)
    costs = [*measure_costs(redis, entries), *measure_servers(versions, rounds, handshakes, redis)]
    if as_json:
        say_json(report.to_plain(result, costs))
    else:
        _show(result)
        click.echo("\n".join(["", *report.cost_lines(costs)]))
    failures = report.failures(result)
    if failures:
        raise click.ClickException("; ".join(failures))


def _delayed(delay: float, rounds: int, as_json: bool) -> None:
    with _progress(rounds + WARM) as step:
        found = measure_link(delay / 1000, rounds, step)
    if as_json:
        ways = {each.title: round(each.seconds * 1000, 1) for each in found}
        say_json({"delay": delay, "round_trip": 2 * delay, "rounds": rounds, "milliseconds": ways})
    else:
        click.echo("\n".join(report.delay_lines(found, delay)))
        click.echo(f"{ssl.OPENSSL_VERSION}, {rounds} rounds, medians.")
    failed = [each.title for each in found if each.failed]
    if failed:
        raise click.ClickException(f"some connections began otherwise: {', '.join(failed)}")


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[str], object]]:
    """A bar on standard error that moves by one each time it is told a TLS version; nothing where no terminal is."""
    console = Console(stderr=True)
    columns = (TextColumn("TLS {task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda version: bar.update(task, advance=1, description=version)


def _show(result: Result) -> None:
    console = out()
    for name, version in result.versions.items():
        if console.is_terminal:
            console.print(_table(name, version, result.clock))
        else:
            click.echo("\n".join(_plain_table(name, version, result.clock)))
        click.echo("\n".join([*report.notes(version), ""]))
    click.echo(click.wrap_text(report.sentence(result), 80))
    click.echo(
        f"{result.openssl}, {result.python}, {result.rounds} rounds of {result.handshakes} handshakes, medians."
    )


def _heads(name: str, clock: str) -> tuple[str, str, str, str]:
    return f"TLS {name}", f"us {clock}", "of full", "resumed"


def _table(name: str, version: VersionResult, clock: str) -> Table:
    first, *others = _heads(name, clock)
    table = Table(first)
    for head in others:
        table.add_column(head, justify="right")
    for row in report.rows(version):
        style = "red" if row.failed else "bold green" if row.title == report.TITLES["attached"] else None
        table.add_row(row.title, row.microseconds, row.of_full, row.resumed, style=style)
    return table


def _plain_table(name: str, version: VersionResult, clock: str) -> list[str]:
    lines = [_heads(name, clock), *(row[:4] for row in report.rows(version))]
    return [
        f"{first:<30}{time:>12}{of_full:>10}{resumed:>16}".rstrip() for first, time, of_full, resumed in lines
    ]
