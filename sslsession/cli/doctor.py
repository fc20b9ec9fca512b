"""``sslsession doctor`` as a subcommand: the work is in ``sslsession.doctor``, which needs no click."""

from __future__ import annotations

import click

from sslsession import doctor as without_extras


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def doctor(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Whether this interpreter's OpenSSL can be used, and what it lacks."""
    ctx.exit(without_extras.main(arguments))
