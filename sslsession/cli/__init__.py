"""The command's subcommands, each in a module of its own that is imported when it is used (extra ``cli``)."""

from __future__ import annotations

import importlib

import click

import sslsession
from sslsession.errors import SessionError

COMMANDS = {
    "probe": "What a server resumes: session ids, tickets, TLS 1.3 PSKs, 0-RTT.",
    "show": "A saved session, field by field; secrets stay hidden.",
    "bench": "What resumption saves: full against resumed handshakes.",
    "serve": "A TLS server to test clients against, of one worker or many.",
    "keys": "Ticket key files: new, rotate, show, convert.",
    "cache": "Sessions in a store: list, purge, export, import.",
    "doctor": "Whether this interpreter's OpenSSL can be used, and what it lacks.",
}
"""Each subcommand is the object of its name in the module of its name here."""


class LazyGroup(click.Group):
    """Imports a subcommand when it is used, and tells a :class:`SessionError` in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Imports the subcommand; None for a name that there is not."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in ``--help``, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Runs the subcommand."""
        try:
            return super().invoke(ctx)
        except SessionError as error:
            raise click.ClickException(" ".join(str(error).split())) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sslsession.__version__, prog_name="sslsession")
def cli() -> None:
    """TLS sessions: what servers resume, what a session holds, what resuming saves.

    Each command takes --json. In a pipe all output is plain text.
    """
