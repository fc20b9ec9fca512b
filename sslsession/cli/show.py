"""``sslsession show``: a saved session, field by field."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslsession._describe import SECRETS, shown, values
from sslsession.cli._terminal import json_option, out, say_json
from sslsession.policy import Policy
from sslsession.probing import Saved, load_session
from sslsession.probing.failures import printable
from sslsession.registry import Code


@click.command()
@click.argument("file", type=click.Path())
@click.option("--secrets", is_flag=True, help="Print the master secret and the ticket too.")
@json_option
def show(file: str, secrets: bool, as_json: bool) -> None:
    """Print the TLS session in FILE: this library's envelope, or OpenSSL's DER or PEM; - is standard input.

    Who has the secrets can resume the session and read what was recorded of it, so they are hidden unless asked for.
    """
    saved = load_session(file)
    if as_json:
        say_json({"format": saved.format, **plain_fields(saved, secrets=secrets)})
        return
    fields = [("format", saved.format)]
    fields += [
        (name, printable(shown(name, value, secrets=secrets))) for name, value in values(saved.session)
    ]
    console = out()
    if console.is_terminal:
        draw(fields, console)
    else:
        width = max(len(name) for name, _ in fields) + 2
        click.echo("\n".join(f"{name + ':':<{width}}{text}" for name, text in fields))


def draw(fields: list[tuple[str, str]], console: Console) -> None:
    """Two columns, long values folded."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in fields:
        table.add_row(name, Text(text, style="dim" if text == "-" else ""))
    console.print(table)


def plain_fields(saved: Saved, *, secrets: bool) -> dict[str, Any]:
    """Every field as JSON has it: bytes in hexadecimal, times in epoch seconds, IANA's numbers with their names."""
    found = {}
    for name, value in values(saved.session):
        hidden = name in SECRETS and value is not None and not secrets
        found[name] = f"({len(value)} bytes, hidden)" if hidden else _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Code):
        return {"number": int(value), "name": value.name}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Policy):
        return {**{name: _plain(item) for name, item in value._asdict().items()}, "digest": value.digest}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return getattr(value, "name", value)
