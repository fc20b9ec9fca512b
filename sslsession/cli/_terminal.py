"""Where output goes: rich on a terminal, plain lines in a pipe, one JSON document with ``--json``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Callable

import click
from rich.console import Console
from rich.text import Text

from sslsession.errors import KeyFileError
from sslsession.probing.failures import printable

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
shared_option = click.option(
    "--allow-shared", is_flag=True, help="Read keys that other users can read or write, too."
)

STYLES = {True: "green", False: "red", None: "yellow"}
"""The style of what is so, what is not, and what is neither."""


def out() -> Console:
    """Standard output; ``is_terminal`` tells whether to draw on it."""
    return Console(highlight=False, soft_wrap=False)


def say_json(value: Any) -> None:
    """One document, two spaces deep, in ASCII."""
    click.echo(json.dumps(value, indent=2))


def styled(text: str, state: bool | None) -> Text:
    """Text in the colour of a finding; nothing in it is read as markup."""
    return Text(text, style=STYLES[state])


def unreadable(error: OSError) -> click.ClickException:
    """For a file that could not be opened or read."""
    return click.ClickException(f"{printable(str(error.filename))} cannot be read: {error.strerror}")


def bad_key_file(error: KeyFileError) -> click.ClickException:
    """What the library says, by the names of options."""
    return click.ClickException(printable(str(error)).replace("allow_shared=True", "--allow-shared"))


@contextlib.contextmanager
def spinner(*, wanted: bool = True) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error while the block runs, whose text the function sets; silent where no terminal is."""
    console = Console(stderr=True)
    if not wanted or not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda text: status.update(Text(text))
