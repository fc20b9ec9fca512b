"""``sslsession cache``: what a store has, less of it, and all of it from one place to another.

A TLS 1.3 ticket is used once, so it is in one place at a time: export and import take it from where it was. A TLS 1.2
session is used again and again, and is copied.
"""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import click

from sslsession.cli import _cache_servers, _cache_text
from sslsession.cli._cache_servers import SHARED
from sslsession.cli._cache_text import DAMAGED, SEALED, SESSION, TICKET, plural
from sslsession.cli._cache_transfer import KEEP, Transfer
from sslsession.cli._terminal import json_option, out, say_json
from sslsession.errors import SessionError
from sslsession.probing.failures import printable
from sslsession.resumption import canonical_name
from sslsession.stores import SQLiteStore, Store, open_store
from sslsession.stores._files import SIDE_FILES
from sslsession.stores.urls import _path as sqlite_path

PATIENCE = 5.0
"""Seconds that a store may take for an answer, where its URL does not say: nobody's handshake waits here."""
WARNING = (
    "Warning: {} holds secrets: who reads it can resume these sessions and decrypt what was recorded of them."
)

URL = click.argument("url", metavar="URL")
FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
with_keys_option = click.option(
    "--with-keys", is_flag=True, help="Copy servers' ticket keys and withdrawals, too."
)


@click.group()
def cache() -> None:
    """Look after the sessions in a store.

    URL names it, as ClientSessionCache takes it: sqlite:///PATH, redis://HOST, rediss://HOST or memcached://HOST.
    On a network ?secret=env:NAME or ?secret=file:PATH says where the secret is that seals what is kept there.
    """


@cache.command("list")
@URL
@json_option
def list_(url: str, as_json: bool) -> None:
    """Print whom the sessions in a store are for, one by one.

    With their TLS version, and how long they last; and what servers keep there. Nothing is taken, and no secret is
    printed.

    \b
    Example:
      sslsession cache list sqlite:///var/lib/app/sessions.db
    """
    with _opened(url) as store:
        rows = sorted((_cache_text.read(entry) for entry in store.entries()), key=lambda row: row.order)
    kinds = Counter(row.kind for row in rows)
    if as_json:
        say_json({"entries": [row.plain() for row in rows], "count": len(rows), "kinds": dict(kinds)})
        return
    console, now, count = out(), time.time(), _cache_text.count_line(rows)
    if console.is_terminal:
        _cache_text.draw(rows, now, console)
        count = textwrap.fill(count, console.width)
    else:
        click.echo("".join(f"{line}\n" for line in _cache_text.lines(rows, now)), nl=False)
    click.echo("\n".join([count, *_cache_text.notes(kinds)]))


@cache.command()
@URL
@click.option("--all", "everything", is_flag=True, help="Remove every session, after asking.")
@click.option("--with-keys", is_flag=True, help="With --all: servers' ticket keys and withdrawals, too.")
@click.option("--host", metavar="HOST", help="Remove all of this host name or address, on any port.")
@click.option("--yes", is_flag=True, help="Do not ask; needed with --all where there is no terminal.")
@json_option
def purge(url: str, everything: bool, with_keys: bool, host: str | None, yes: bool, as_json: bool) -> None:
    """Remove from a store what has expired, or more.

    What servers share stays unless --with-keys is given: without their ticket keys no ticket opens any more, and
    without their withdrawals a session that was withdrawn comes back. Servers that are running put theirs back.

    \b
    Example:
      sslsession cache purge sqlite:sessions.db --host example.org
    """
    if everything and host is not None:
        raise click.UsageError("--all removes all hosts, and --host one of them: take one of the options.")
    if with_keys and not everything:
        raise click.UsageError("--with-keys is for --all: nothing else removes what servers share.")
    if everything and not yes and not sys.stdin.isatty():
        raise click.UsageError("--all removes every session: say --yes where there is no terminal to ask on.")
    kept: Counter[str] = Counter()
    with _opened(url) as store:
        removed: int | None
        if host is not None:
            removed, what = _purge_host(store, host), f" of {printable(host)}"
        elif everything and with_keys:
            removed, what = _purge_all(store, ask=not yes), ""
        elif everything:
            removed, kept = _purge_sessions(store, ask=not yes)
            what = ""
        else:
            removed, what = store.purge(), " that had expired"
    if as_json:
        say_json({"removed": removed, "kept": dict(kept)} if everything else {"removed": removed})
        return
    click.echo(f"removed {'all entries' if removed is None else plural(removed, 'entry')}{what}")
    if kept:
        click.echo(
            f"{plural(sum(kept.values()), 'entry')} stayed: {_cache_text.summary(kept)}; see --with-keys"
        )


def _purge_host(store: Store, host: str) -> int:
    wanted = canonical_name(host.strip("[]"))
    rows = ((entry.key, _cache_text.read(entry).peer) for entry in store.entries())
    found = Counter(
        key for key, peer in rows if peer is not None and canonical_name(peer.host.lstrip("@")) == wanted
    )
    for key in found:
        store.discard(key)
    return sum(found.values())


def _purge_sessions(store: Store, *, ask: bool) -> tuple[int, Counter[str]]:
    """How many went; and what stays: what servers share, and what may be that, for it is sealed."""
    found: Counter[bytes] = Counter()
    kept: Counter[str] = Counter()
    try:
        for entry in store.entries():
            kind, of_servers = _cache_text.read(entry).kind, _cache_servers.read(entry)
            shared = of_servers is not None and of_servers.kind in SHARED and kind != DAMAGED
            if shared or kind == SEALED:
                kept[kind] += 1
            else:
                found[entry.key] += 1
    except SessionError as error:
        raise SessionError(f"{error}; --with-keys removes all, unread") from error
    if ask:
        _confirm(plural(sum(found.values()), "entry"))
    for key in found:
        store.discard(key)
    return sum(found.values()), kept


def _confirm(what: str) -> None:
    click.confirm(f"Remove {what}?", abort=True, err=True)


def _purge_all(store: Store, *, ask: bool) -> int | None:
    """How many there were; None where nobody can tell, as where another secret sealed them."""
    there: int | None
    try:
        there = sum(1 for _ in store.entries())
    except SessionError:
        there = None
    if ask:
        _confirm("all entries" if there is None else plural(there, "entry"))
    store.clear()
    return there


@cache.command("export")
@URL
@FILE
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@with_keys_option
@json_option
def export(url: str, file: Path, force: bool, with_keys: bool, as_json: bool) -> None:
    """Move the sessions of a store to FILE, readable by you alone.

    TLS 1.3 tickets leave the store, for each may be used once; TLS 1.2 sessions are copied. What servers keep stays
    there. FILE is a store itself: sqlite:FILE is its URL. It is not sealed.

    \b
    Example:
      sslsession cache export 'redis://localhost?secret=env:SECRET' sessions.db
    """
    if os.path.lexists(file) and not force:
        raise click.ClickException(f"{printable(str(file))} is there already: --force overwrites it")
    if not file.parent.is_dir():
        raise click.ClickException(f"there is no directory {printable(str(file.parent))}")
    with _opened(url) as store:
        _check_distinct(url, file)
        transfer = Transfer(store, with_keys=with_keys)
        for path in _files_of(file) if force else ():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        with _file_store(file) as target:
            click.echo(WARNING.format(printable(str(file))), err=True)
            transfer.run(target, quiet=as_json)
    _tell(transfer, f"to {printable(str(file))}", as_json=as_json, expired=None)


@cache.command("import")
@FILE
@URL
@with_keys_option
@json_option
def import_(file: Path, url: str, with_keys: bool, as_json: bool) -> None:
    """Move the sessions in FILE, which export made, to a store.

    TLS 1.3 tickets leave FILE as they arrive; TLS 1.2 sessions are copied, unless the store has one for that peer.

    \b
    Example:
      sslsession cache import sessions.db sqlite:///var/lib/app/sessions.db
    """
    if not file.is_file():
        raise click.ClickException(f"there is no file {printable(str(file))}")
    _check_distinct(url, file)
    with _file_store(file) as source, _opened(url, made=True) as target:
        expired = source.purge()
        transfer = Transfer(source, with_keys=with_keys)
        transfer.run(target, quiet=as_json)
    _tell(transfer, "to the store", as_json=as_json, expired=expired)


def _opened(url: str, *, made: bool = False) -> Store:
    """The store that the URL names; ``made``: its file may be made. Errors never show the URL."""
    try:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query))
    except ValueError:
        raise click.ClickException("this is no URL of a store, such as sqlite:///PATH") from None
    if parts.scheme == "memory":
        raise click.ClickException("memory: is in one process alone, where this command is not")
    try:
        if parts.scheme == "sqlite" and not made and not os.path.exists(path := sqlite_path(url)):
            raise click.ClickException(f"there is no file {printable(path)}")
        return open_store(url, timeout=None if "timeout" in parameters else PATIENCE)
    except (ImportError, TypeError, ValueError) as error:
        raise click.ClickException(" ".join(str(error).split())) from error


def _file_store(file: Path) -> SQLiteStore:
    return SQLiteStore(file, max_entries=KEEP, timeout=PATIENCE)


def _files_of(file: Path) -> list[Path]:
    """A store's file, and what SQLite has beside it."""
    return [file, *(file.with_name(file.name + suffix) for suffix in SIDE_FILES)]


def _check_distinct(url: str, file: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        if urlsplit(url).scheme == "sqlite" and os.path.samefile(sqlite_path(url), file):
            raise click.ClickException(f"the store is {printable(str(file))} itself")


def _tell(transfer: Transfer, where: str, *, as_json: bool, expired: int | None) -> None:
    moved, left = transfer.moved, transfer.left
    if as_json:
        counts: dict[str, Any] = {"tickets": moved[TICKET], "sessions": moved[SESSION], "left": dict(left)}
        counts.update((kind.replace(" ", "_") + "s", moved[kind]) for kind in SHARED if moved[kind])
        if expired is not None:
            counts.update(expired=expired, already_there=transfer.there)
        say_json(counts)
        return
    copied = [plural(moved[kind], kind) for kind in (SESSION, *SHARED) if moved[kind] or kind == SESSION]
    click.echo(f"moved {plural(moved[TICKET], 'ticket')}, copied {', '.join(copied)} {where}")
    click.echo("".join(f"{line}\n" for line in _remarks(transfer, expired)), nl=False)


def _remarks(transfer: Transfer, expired: int | None) -> Iterable[str]:
    if expired:
        yield f"{plural(expired, 'entry')} had expired, and went"
    if transfer.there:
        yield f"{plural(transfer.there, 'session')} stayed: the store has one for that peer"
    if transfer.left:
        yield f"{plural(sum(transfer.left.values()), 'entry')} stayed: {_cache_text.summary(transfer.left)}"
