"""The command ``sslsession``, and ``python -m sslsession``: ``doctor`` needs no extra, the others need ``cli``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

NEEDED = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its status or exits with it.

    arguments: without the program's name; by default those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["doctor"]:
        from sslsession import doctor

        return doctor.main(given[1:])
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"sslsession: this needs {' and '.join(missing)}: pip install 'sslsession[cli]' "
            "(`sslsession doctor` works without)",
            file=sys.stderr,
        )
        return 1
    from sslsession.cli import cli

    cli.main(given, prog_name="sslsession")


if __name__ == "__main__":
    sys.exit(main())
