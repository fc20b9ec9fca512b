"""Measures what early data saves over a long way, at this library's server and at nginx: docs/early-data.md.

python tests/measure_early_data.py [MILLISECONDS EACH WAY] [ROUNDS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from helpers.certs import Authority
from helpers.contexts import client_context
from helpers.early_programs import REQUEST
from helpers.programs import nginx
from sslsession.bench.delay import Link, measure_link, measure_ways
from sslsession.bench.report import delay_lines


def main(delay: float = 25, rounds: float = 20) -> None:
    """delay: in milliseconds."""
    print("a server of sslsession", *delay_lines(measure_link(delay / 1000, int(rounds)), delay), sep="\n")
    with tempfile.TemporaryDirectory() as directory:
        ca = Authority(Path(directory))
        with nginx(ca.issue("localhost"), tls="1.3", early_data=True) as server:
            with Link(server.port, delay / 1000) as link:
                found = measure_ways(link.port, lambda: client_context(ca), "localhost", REQUEST, int(rounds))
    failed = [each.title for each in found if each.failed]
    print("nginx", *delay_lines(found, delay), *(f"began otherwise: {each}" for each in failed), sep="\n")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
