"""The programs on the pages of docs/recipes, run as they stand there."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.certs import Authority
from helpers.children import run_python

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "recipes"
ADDED = "# the added line"
"""Ends the lines of a program without which it is the plain library's."""
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WATCH = """
import ssl, sys, warnings

# Before 3.11 asyncio says this of connections that the peer closed first, with a cache and without.
warnings.filterwarnings("ignore", "unclosed transport <asyncio.sslproto", ResourceWarning)


def _watch(cls):
    real = cls.do_handshake

    def do_handshake(self, *rest, **named):
        real(self, *rest, **named)
        if not getattr(self, "server_side", False):
            print("handshake:", self.version(), self.session_reused, file=sys.stderr)

    cls.do_handshake = do_handshake


_watch(ssl.SSLSocket)
_watch(ssl.SSLObject)
del _watch, ssl, warnings
"""
UNBUILT = {
    "OpenSSL": sys.implementation.name != "cpython",
    "truststore": sys.version_info < (3, 10),
    "uvicorn": sys.version_info < (3, 10),
    "uvloop": sys.implementation.name != "cpython" or sys.platform == "win32",
}
"""Whether this Python is left out by the markers of the dependency group."""
HANDSHAKE = re.compile(r"^handshake: TLSv(1\.\d) (True|False)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What a program printed, and of each of its handshakes the TLS version and whether it resumed."""

    printed: str
    handshakes: list[tuple[str, bool]]

    @property
    def resumed(self) -> list[bool]:
        """Of each handshake, in order, whether it resumed."""
        return [reused for _, reused in self.handshakes]


@dataclass(frozen=True)
class Program:
    """A program of a page, and the output that the page shows for it."""

    page: str
    code: str
    output: str

    @property
    def without_added(self) -> str:
        """The plain library's: without the added lines."""
        kept = [line for line in self.code.splitlines() if not line.endswith(ADDED)]
        assert len(kept) < len(self.code.splitlines()), f"{self.page}: no line ends in {ADDED!r}"
        return "\n".join(kept) + "\n"

    def run(
        self,
        *args: str | int,
        ca: Authority,
        plain: bool = False,
        env: Mapping[str, str | None] | None = None,
        expect: int | None = 0,
    ) -> Outcome:
        """Run it with `args`, trusting `ca` and nothing else. `plain`: without the added lines.

        All its handshakes are watched where `ssl` makes them, whatever the library above does with the socket.
        AssertionError if its status is not `expect`.
        """
        trust = {
            "SSL_CERT_FILE": str(ca.pem_path),
            "SSL_CERT_DIR": "/nonexistent",
            "REQUESTS_CA_BUNDLE": str(ca.pem_path),
        }
        done = run_python(
            WATCH + (self.without_added if plain else self.code),
            args=[str(each) for each in args],
            env={**trust, **(env or {})},
            expect=expect,
        )
        handshakes = [(version, reused == "True") for version, reused in HANDSHAKE.findall(done.stderr)]
        return Outcome(done.stdout + HANDSHAKE.sub("", done.stderr).strip(), handshakes)


def programs(page: str) -> list[Program]:
    """The programs of docs/recipes/`page`.md; each ```python is followed by what it prints, as ```text.

    Where the tests were taken from their checkout there are no pages, and the whole module is skipped.
    """
    _skip_outside_of_a_checkout()
    fences = [
        (kind, body)
        for kind, body in FENCE.findall((DIRECTORY / f"{page}.md").read_text())
        if kind in ("python", "text")
    ]
    kinds = [kind for kind, _ in fences]
    assert kinds == ["python", "text"] * (len(kinds) // 2), f"{page}: {kinds}"
    return [Program(page, code, output) for (_, code), (_, output) in zip(fences[::2], fences[1::2])]


def pages() -> list[str]:
    """The names of all pages; where there are none, the module is skipped as in `programs`."""
    _skip_outside_of_a_checkout()
    return sorted(path.stem for path in DIRECTORY.glob("*.md") if path.stem != "README")


def needs(program: Program) -> None:
    """Skip the test if what the program imports is not here; where CI=true only what has no build for this Python."""
    for module in re.findall(r"^(?:import|from) (\w+)", program.code, re.MULTILINE):
        if importlib.util.find_spec(module) is None:
            if os.environ.get("CI") == "true" and not UNBUILT.get(module, False):
                pytest.fail(f"{module} is not installed, and CI must have it")
            pytest.skip(f"{module} is not installed")


def _skip_outside_of_a_checkout() -> None:
    if not DIRECTORY.exists():
        pytest.skip("not in a checkout: there is no docs/recipes", allow_module_level=True)
