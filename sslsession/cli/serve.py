"""``sslsession serve``: its options, what they make, and a line for each connection."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from sslsession._accepting import MOST
from sslsession._keyfiles import SIZES
from sslsession._schedules import ROTATE_EVERY
from sslsession.cli._cache_text import plural
from sslsession.cli._terminal import STYLES, bad_key_file, out, shared_option, unreadable
from sslsession.errors import KeyFileError, SessionError, UnsupportedError
from sslsession.probing.failures import printable, told
from sslsession.probing.target import VERSIONS
from sslsession.server import ServerSessionCache
from sslsession.serving import identity
from sslsession.serving.fleet import Fleet, listen
from sslsession.serving.worker import PROTOCOLS, Record, remember_name
from sslsession.stores import urls
from sslsession.tickets import TicketKeyRing

FILE = click.Path(path_type=Path, dir_okay=False)
SECONDS = click.IntRange(1)
KEYS = "random|secret:env:NAME|secret:file:PATH|shared|file:PATH[:FORMAT]"


@click.command()
@click.option(
    "--host", metavar="HOST", default="127.0.0.1", show_default=True, help="The address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=0,
    show_default=True,
    help="0: one that is free.",
)
@click.option("--cert", type=FILE, help="The certificate chain, PEM; without it, one made on the spot.")
@click.option("--key", type=FILE, help="Its key, PEM; without it, it is in the file of --cert.")
@click.option("--client-ca", type=FILE, help="Clients need a certificate of these CAs, PEM.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    default=1,
    show_default=True,
    help="Forked processes.",
)
@click.option("--store", metavar="URL", help="Where sessions are kept; each worker's memory unless given.")
@click.option("--keys", metavar="KEYS", help="The ticket keys, see below; random unless given.")
@shared_option
@click.option("--no-tickets", is_flag=True, help="Resume by session ids, and stateful TLS 1.3 tickets.")
@click.option("--tls", "version", type=click.Choice(list(VERSIONS)), help="Speak this TLS version alone.")
@click.option(
    "--lifetime", type=SECONDS, metavar="N", default=7200, show_default=True, help="Of sessions, in seconds."
)
@click.option("--rotate-every", type=SECONDS, metavar="N", help="A new ticket key every so many seconds.")
@click.option(
    "--context-id", metavar="TEXT", help="What servers must have in common to resume each other's sessions."
)
@click.option(
    "--early-data",
    type=click.IntRange(0, MOST),
    metavar="BYTES",
    default=0,
    show_default=True,
    help="How much a client may send before its handshake is done.",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=PROTOCOLS[0],
    show_default=True,
    help="auto: HTTP for who begins with a request.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many connections.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
def serve(
    host: str,
    port: int,
    workers: int,
    protocol: str,
    count: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """A TLS server to test clients against: says of each connection whether it resumed.

    It echoes what it gets, and answers an HTTP request with what is known of the connection. Without --cert it makes
    itself a certificate for localhost, which clients cannot verify; sessions end with it, as they do with any other
    certificate. With --early-data that of each ticket is taken once, by whichever worker, and answered at once: what is
    echoed, and GET, HEAD and OPTIONS.

    \b
    KEYS, which all workers share:
      random              made here
      secret:env:NAME     derived from the secret in a variable
      secret:file:PATH    derived from the secret in a file
      shared              agreed upon in the store of --store
      file:PATH[:FORMAT]  nginx's, haproxy's or apache's; reread on change

    \b
    Example:
      sslsession serve --workers 4 --store sqlite:sessions.db --keys shared
    """
    if workers > 1 and not hasattr(os, "fork"):
        raise click.UsageError("--workers: this system cannot fork.")
    if options["key"] and not options["cert"]:
        raise click.UsageError("--key is the key of a certificate: name that with --cert.")
    voice, before = Voice(as_json, count), sys.unraisablehook
    sys.unraisablehook = voice.warn  # a store that fails is told there
    try:
        context = _context(options)
        with _sessions(context, options) as cache:
            listeners = listen(host, port, workers)
            voice.fleet = fleet = Fleet(context, protocol, cache.close, early=options["early_data"] > 0)
            name = listeners[0].getsockname()[:2]
            fleet.run(listeners, lambda pids: voice.begun(name, pids, options), voice.tell, voice.died)
    finally:
        sys.unraisablehook = before
    if fleet.signal:
        click.get_current_context().exit(128 + fleet.signal)
    if voice.left is None or voice.left > 0:
        raise click.ClickException("all workers died")


def _context(options: dict[str, Any]) -> ssl.SSLContext:
    """The server's context. Errors: ``ClickException``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[options["version"] or "1.2"]
    context.maximum_version = VERSIONS[options["version"] or "1.3"]
    context.sni_callback = remember_name
    chain, key, authorities = options["cert"], options["key"], options["client_ca"]
    if chain is None:
        with tempfile.TemporaryDirectory() as directory:
            context.load_cert_chain(identity.make(Path(directory)))
    else:
        with _files("no certificate with its key, in PEM", chain, *([key] if key else [])):
            context.load_cert_chain(chain, key, _encrypted)
    if authorities is not None:
        with _files("no CA certificate in PEM", authorities):
            context.load_verify_locations(authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.contextmanager
def _files(lacking: str, *paths: Path) -> Iterator[None]:
    """Reads files; what fails is told with their names, which OpenSSL leaves out."""
    try:
        for path in paths:
            path.open("rb").close()
        yield
    except ssl.SSLError as error:
        names = printable(" and ".join(map(str, paths)))
        why = f" ({told(error)})" if error.reason else ""
        raise click.ClickException(f"{names}: {lacking}{why}") from error
    except OSError as error:
        raise unreadable(error) from error


def _encrypted() -> str:
    raise click.ClickException("the key is encrypted: give one that is not, such as `openssl pkey` writes")


def _sessions(context: ssl.SSLContext, options: dict[str, Any]) -> ServerSessionCache:
    """The cache, attached to the context as the ring is. Errors: ``ClickException``, ``SessionError``."""
    if options["no_tickets"] and (options["keys"] or options["rotate_every"]):
        raise click.UsageError("--keys and --rotate-every are for tickets: leave them out, or --no-tickets.")
    try:
        if not options["no_tickets"]:
            _ring(options).attach(context)
        cache = ServerSessionCache(
            options["store"],
            lifetime=options["lifetime"],
            context_id=options["context_id"],
            max_early_data=options["early_data"],
        )
        cache.attach(context)
    except UnsupportedError as error:
        raise SessionError(f"{error}; --no-tickets does without") from error
    except KeyFileError as error:
        raise bad_key_file(error) from error
    except SessionError:
        raise
    except OSError as error:
        raise unreadable(error) from error
    except (ImportError, ValueError) as error:
        raise click.ClickException(" ".join(str(error).split())) from error
    return cache


def _ring(options: dict[str, Any]) -> TicketKeyRing:
    kind, _, rest = ("random" if options["keys"] is None else options["keys"]).partition(":")
    times = {"lifetime": options["lifetime"], "rotate_every": options["rotate_every"] or ROTATE_EVERY}
    if kind == "random" and not rest:
        return TicketKeyRing.random(**times)
    if kind == "secret" and rest.startswith(("env:", "file:")):
        return TicketKeyRing.from_secret(urls._secret(rest), **times)
    if kind == "shared" and not rest:
        if options["store"] is None or options["store"].startswith("memory:"):
            raise click.UsageError("--keys shared needs a store that processes share: name one with --store.")
        return TicketKeyRing.shared(options["store"], **times)
    if kind != "file" or not rest:
        raise click.UsageError(f"--keys is {KEYS}.")
    if options["rotate_every"]:
        raise click.UsageError("--rotate-every: a file's keys are rotated by `sslsession keys rotate`.")
    path, _, layout = rest.rpartition(":")
    named = (path, layout) if layout in SIZES else (rest,)
    return TicketKeyRing.from_file(*named, allow_shared=options["allow_shared"])


class Voice:
    """Says what happens: a line for each thing, JSON or text."""

    fleet: Fleet

    def __init__(self, as_json: bool, count: int | None) -> None:
        self.left = count
        """Connections until the end; None: there is none."""
        self._as_json = as_json
        self._console = out()

    def begun(self, name: tuple[str, int], pids: list[int], options: dict[str, Any]) -> None:
        """Where it listens, and what a client can do."""
        host, port = name
        if self._as_json:
            self._say("listening", host=host, port=port, pids=pids)
            return
        shown = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::": "::1"}.get(host, host)  # noqa: S104
        where, near = (f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in (host, shown))
        trust, insecure = ("", "") if options["cert"] else (" -k", " --insecure")
        early = "  # then -sess_in" + (", -early_data FILE" if options["early_data"] else "")
        click.echo(
            f"listening on {where}, {plural(len(pids), 'worker')}; Ctrl-C ends it; to try it:\n"
            f"  openssl s_client -connect {near} -sess_out s.pem{early}\n"
            f"  curl{trust} https://{near}/ https://{near}/\n"
            f"  sslsession probe{insecure} {near}"
        )

    def tell(self, record: Record | None) -> None:
        """A connection's record; None at its end."""
        if record is None:
            if self.left is not None:
                self.left -= 1
                if self.left <= 0:
                    self.fleet.end()
        elif self._as_json:
            self._say("connection", **record)
        else:
            line = _line(record)
            if self._console.is_terminal:
                self._console.print(line)
            else:
                click.echo(line.plain)

    def died(self, number: int, status: int) -> None:
        """A worker that is no more."""
        if self._as_json:
            self._say("died", worker=number, status=status)
            return
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        click.echo(f"Warning: worker {number} died {how}", err=True)

    def warn(self, unraisable: Any) -> None:
        """What the library reports and goes on without."""
        what = (unraisable.err_msg or repr(unraisable.object)).removeprefix("Exception ignored in ")
        click.echo(f"Warning: {printable(f'{what}: {unraisable.exc_value}')}", err=True)

    @staticmethod
    def _say(event: str, **facts: Any) -> None:
        click.echo(json.dumps({"event": event, **facts}))


def _line(record: Record) -> Text:
    if record["error"] is not None:
        return Text.assemble(
            f"worker {record['worker']}  ", ("failed", STYLES[False]), f"  {record['error']}{_early(record)}"
        )
    name = printable(record["server_name"] or "-")
    state = ("resumed", STYLES[True]) if record["resumed"] else ("full   ", STYLES[None])
    return Text.assemble(
        f"worker {record['worker']}  {record['version']}  ",
        state,
        f"  {name}  {record['cipher']}",
        _early(record),
    )


def _early(record: Record) -> str:
    return f"  0-RTT {record['early_data']}" if record["early_data"] else ""
