"""``sslsession keys``: ticket key files, made, rotated, shown and converted. No secret is ever printed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.table import Table

from sslsession import _keyfiles
from sslsession._keyfiles import FEWEST, NAME, RENEW, SIZES, Material
from sslsession.cli._cache_text import plural
from sslsession.cli._terminal import bad_key_file, json_option, out, say_json, shared_option, unreadable
from sslsession.errors import KeyFileError
from sslsession.probing.failures import printable

RELOAD = "a TicketKeyRing sees it by itself, other servers when they are reloaded"
HEADS = ("name", "state", "cipher", "secrets")
FILE = click.argument("file", type=click.Path(path_type=Path))
LAYOUT = click.Choice(list(SIZES))
layout_option = click.option("--format", "layout", type=LAYOUT, help="Of FILE, where that does not tell.")
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")


class Told(NamedTuple):
    """What is told of a file."""

    file: Path
    layout: str
    keys: list[Material]

    def rows(self) -> list[tuple[str, ...]]:
        """Of each key what ``HEADS`` says."""
        states = ["retired"] * len(self.keys)
        if self.layout == "haproxy":
            states[-1] = "next"
        states[0] = "current"
        return [
            (
                key.name.hex(),
                state,
                f"AES-{8 * len(key.cipher_key)}",
                f"({2 * len(key.mac_key)} bytes, hidden)",
            )
            for key, state in zip(self.keys, states)
        ]

    def plain(self, **more: Any) -> dict[str, Any]:
        """For JSON."""
        keys = [dict(zip(HEADS, row)) for row in self.rows()]
        return {"file": str(self.file), "format": self.layout, "keys": keys, **more}

    def __str__(self) -> str:
        size = NAME + 2 * len(self.keys[0].mac_key)
        return (
            f"{printable(str(self.file))}: {plural(len(self.keys), 'key')} of {size} bytes for {self.layout}"
        )


@click.group()
def keys() -> None:
    """Look after ticket key files, as nginx, HAProxy and Apache have them.

    Who has the keys can open the tickets, and decrypt what was recorded of the sessions in them: files are written for
    you alone (0600), and read only if no others can. No key is ever printed.
    """


@keys.command()
@FILE
@click.option("--format", "layout", type=LAYOUT, required=True, help="Whose file it is to be.")
@click.option(
    "--size",
    type=click.Choice(["48", "80"]),
    help="Bytes of a key: AES-128 or AES-256; 80 where that can be.",
)
@force_option
@json_option
def new(file: Path, layout: str, size: str | None, force: bool, as_json: bool) -> None:
    """Make a file of random keys: one, or HAProxy's three.

    \b
    Example:
      sslsession keys new /etc/nginx/ticket.key --format nginx
    """
    chosen = int(size or max(SIZES[layout]))
    if chosen not in SIZES[layout]:
        raise click.UsageError(f"--size: a key of {layout}'s has {SIZES[layout][0]} bytes; leave --size out.")
    made = Told(file, layout, _random(FEWEST if layout == "haproxy" else 1, chosen))
    _write(made, replace=force)
    _tell(made, as_json, [str(made)])


@keys.command()
@FILE
@layout_option
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Move the old key to this file, what was there to the next --keep, and so on.",
)
@shared_option
@json_option
def rotate(file: Path, layout: str | None, keep: Sequence[Path], allow_shared: bool, as_json: bool) -> None:
    """Put a new key into FILE.

    HAProxy's file loses its oldest key, its next encrypts from now on, and a new one comes after that. Others have one
    key a file, so the old one is lost, and its tickets, unless --keep says where it goes: nginx has it as another
    ssl_session_ticket_key, after the first.

    \b
    Example:
      sslsession keys rotate ticket.key --keep previous.key --keep older.key
    """
    old = _read(file, layout, allow_shared)
    size = NAME + 2 * len(old.keys[0].mac_key)
    if old.layout == "haproxy":
        if keep:
            raise click.UsageError("--keep: HAProxy's file has its old keys in itself; leave --keep out.")
        present, *retired, coming = old.keys
        moves = [Told(file, old.layout, [coming, *retired[1:], present, *_random(1, size)])]
        said = f"{printable(str(file))}: its next key encrypts from now on, and a new one comes after that; {RELOAD}"
    else:
        if len({os.path.realpath(each) for each in (file, *keep)}) <= len(keep):
            raise click.UsageError("--keep: each file can be named once, and FILE is no --keep.")
        there = [old, *(_read(each, old.layout, allow_shared) for each in keep if os.path.lexists(each))]
        moves = [Told(each, old.layout, one.keys) for each, one in zip(keep, there)]
        # The oldest first: whatever goes wrong, no key is lost that was to be kept.
        moves = [*reversed(moves), Told(file, old.layout, _random(1, size))]
        said = f"{printable(str(file))} has a new key; " + (
            f"the old one is in {printable(str(keep[0]))}, and decrypts where servers have that too"
            if keep
            else "older tickets are lost: --keep OLD would have kept their key"
        )
        said += f"; {RELOAD}"
    for each in moves:
        _write(each, replace=True)
    _tell(moves[-1], as_json, [said], kept=[str(each.file) for each in moves[-2::-1]])


@keys.command()
@FILE
@layout_option
@shared_option
@json_option
def show(file: Path, layout: str | None, allow_shared: bool, as_json: bool) -> None:
    """Print the names of the keys in FILE, and which of them encrypts.

    A ticket begins with the name of its key, in the clear.
    """
    found = _read(file, layout, allow_shared)
    console = out()
    if as_json or not console.is_terminal:
        lines = ["  ".join(map(str.ljust, row, (32, 7, 7, 0))).rstrip() for row in (HEADS, *found.rows())]
        _tell(found, as_json, [str(found), *lines])
        return
    table = Table(*HEADS, box=None)
    for row in found.rows():
        table.add_row(*row, style="green" if row[1] == "current" else None)
    click.echo(str(found))
    console.print(table)


@keys.command()
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@click.argument("target", metavar="TO", type=click.Path(path_type=Path))
@click.option("--from", "layout", type=LAYOUT, help="Of FROM, where that does not tell.")
@click.option("--to", "wanted", type=LAYOUT, required=True, help="Of TO.")
@force_option
@shared_option
@json_option
def convert(
    source: Path,
    target: Path,
    layout: str | None,
    wanted: str,
    force: bool,
    allow_shared: bool,
    as_json: bool,
) -> None:
    """Write the keys in FROM to TO, in another layout.

    Where TO has one key, that is the one that encrypts; where HAProxy wants three, random ones are added.

    \b
    Example:
      sslsession keys convert nginx.key haproxy.keys --to haproxy
    """
    found = _read(source, layout, allow_shared, "--from")
    size = NAME + 2 * len(found.keys[0].mac_key)
    if size not in SIZES[wanted]:
        raise click.ClickException(
            f"{printable(str(source))} has keys of {size} bytes, and {wanted}'s have {SIZES[wanted][0]}; for both, make"
            f" one by `sslsession keys new FILE --format nginx --size {SIZES[wanted][0]}`, and convert that"
        )
    fewest, given = FEWEST if wanted == "haproxy" else 1, found.keys
    kept = given if wanted == "haproxy" else given[:1]
    added = _random(max(0, fewest - len(kept)), size)
    written = Told(target, wanted, [*kept, *added])
    _write(written, replace=force)
    left = len(given) - len(kept)
    remarks = [f"{plural(len(added), 'key')} added at random"] if added else []
    remarks += [f"{plural(left, 'key')} left out"] if left else []
    _tell(written, as_json, ["; ".join([str(written), *remarks])], added=len(added), left_out=left)


def _random(count: int, size: int) -> list[Material]:
    half = (size - NAME) // 2
    return [Material(*map(os.urandom, (NAME, half, half))) for _ in range(count)]


def _read(file: Path, layout: str | None, allow_shared: bool, option: str = "--format") -> Told:
    try:
        found = _keyfiles.read(file, layout, allow_shared=allow_shared)
    except KeyFileError as error:
        told = str(error).replace("say which layout it has", f"say which by {option}")
        told = told.replace("read it as that", f"say so by {option}")
        raise bad_key_file(KeyFileError(told.replace(RENEW, f"{RENEW}: `sslsession keys new`"))) from error
    except FileNotFoundError as error:
        raise click.ClickException(f"{unreadable(error).message}; `sslsession keys new` makes one") from error
    except OSError as error:
        raise unreadable(error) from error
    # What is read without saying which it is, is of a layout that tells.
    return Told(file, layout or ("haproxy" if len(found) > 1 else "nginx"), found)


def _write(told: Told, *, replace: bool) -> None:
    name = printable(str(told.file))
    try:
        _keyfiles.write(told.file, told.keys, told.layout, replace=replace)
    except FileExistsError as error:
        raise click.ClickException(
            f"{name} is there already: name another, or --force overwrites it"
        ) from error
    except OSError as error:
        hint = "; make that directory first" if isinstance(error, FileNotFoundError) else ""
        raise click.ClickException(f"{name} cannot be written: {error.strerror}{hint}") from error


def _tell(told: Told, as_json: bool, lines: Sequence[str], **more: Any) -> None:
    if as_json:
        say_json(told.plain(**more))
    else:
        click.echo("\n".join(lines))
