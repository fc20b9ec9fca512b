"""Server programs of docs/recipes, run as several workers, and a client of plain ssl that comes again and again."""

from __future__ import annotations

import re
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from helpers.certs import Authority, Identity
from helpers.peers import client_context, dial
from helpers.processes import Process, free_port
from sslsession import get_session, set_session

KINDS = ("1.3", "1.2", "1.2 without tickets")
"""What a client resumes by: tickets of TLS 1.3 and 1.2, and ids of TLS 1.2."""
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}
"""A worker that is killed saves no coverage, which only makes it slow."""
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LEAST = 21
TIMEOUT = 30.0

Command = Callable[[int, Identity, str], "tuple[list[str], dict[str, str]]"]
"""For a port, a certificate and a store's URL: the arguments of Python, and what its environment has besides."""


class Answer(NamedTuple):
    """Of one connection: which process answered, what it told, and whether the client was resumed."""

    worker: int
    told: str
    resumed: bool


@dataclass(frozen=True)
class Workers:
    """Processes that serve one port of 127.0.0.1, and how many of them a client should meet."""

    port: int
    processes: Sequence[Process]
    expected: int

    @property
    def output(self) -> str:
        """All they said so far."""
        return "".join(each.output for each in self.processes)


class Visitor:
    """Comes again and again, each time with the session that it had last; `context` is ssl's own, unattached.

    The session is a copy: `ssl`'s own is the connection's from Python 3.14 on, and dies with one that was cut off.
    """

    def __init__(self, ca: Authority, kind: str) -> None:
        version, _, less = kind.partition(" ")
        self.context = client_context(ca, version=version, tickets=not less)
        self.session = None

    def visit(self, workers: Workers, least: int = LEAST, expected: int | None = None) -> list[Answer]:
        """Comes `least` times, and on until so many workers have answered: `expected`, or as the workers say."""
        expected = expected or workers.expected
        answers = []
        deadline = time.monotonic() + TIMEOUT
        while len(answers) < least or len({each.worker for each in answers}) < expected:
            answers.append(self.come(workers.port))
            assert time.monotonic() < deadline, f"not {expected} workers answered: {answers}"
        return answers

    def _prepare(self, conn: ssl.SSLSocket) -> None:
        at_once(conn)
        if self.session is not None:
            set_session(conn, self.session)

    def come(self, port: int) -> Answer:
        """Once. Errors: ``ConnectionRefusedError`` where nobody listens."""
        with dial(port, self.context, prepare=self._prepare) as conn:
            conn.sendall(REQUEST)
            answer = bytearray(conn.recv(65536))
            self.session = get_session(conn)
            while piece := conn.recv(65536):
                answer += piece
            found = re.search(r"^worker (\d+), (.+)$", answer.decode(), re.MULTILINE)
            assert found, answer.decode()
            return Answer(int(found[1]), found[2], bool(conn.session_reused))


@contextmanager
def workers(
    code: str,
    identity: Identity,
    store: str = "memory:",
    *,
    command: Command | None = None,
    visitor: Callable[[], Visitor],
    processes: int = 4,
    expected: int = 4,
) -> Iterator[Workers]:
    """Runs a program, as serve.py, so many times, once the first of them answers a `visitor`.

    AssertionError where one of the processes ends or complains before the block does.
    """
    command = command or with_arguments
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workers-")))
        (directory / "serve.py").write_text(code)
        port = free_port()
        args, env = command(port, identity, store)
        run: list[Process] = []
        for _ in range(processes):
            started = Process(sys.executable, *args, cwd=directory, env={**UNMEASURED, **env})
            run.append(stack.enter_context(started))
            if len(run) == 1:
                # Alone: of two that find an empty store at once, each makes the first key.
                _wait(port, run[0], visitor())
        found = Workers(port, run, expected)
        yield found
        for each in run:
            assert each.returncode is None, each.error("ended")
            for trouble in ("Traceback", "Exception", "[ERROR]"):
                assert trouble not in each.output, each.output


def with_arguments(port: int, identity: Identity, store: str) -> tuple[list[str], dict[str, str]]:
    """A program that gets all it needs as arguments."""
    return ["serve.py", str(port), str(identity.cert_pem_path), str(identity.key_path), store], {}


def through_gunicorn(*more: str) -> Command:
    """A configuration, with its application, of gunicorn; `more` are its own options."""

    def command(port: int, identity: Identity, store: str) -> tuple[list[str], dict[str, str]]:
        options = ["-c", "serve.py", "-b", f"127.0.0.1:{port}", "--log-level", "warning", *more]
        files = ["--certfile", str(identity.cert_pem_path), "--keyfile", str(identity.key_path)]
        return ["-m", "gunicorn", *options, *files, "serve:app"], {"STORE": store}

    return command


def _wait(port: int, process: Process, visitor: Visitor) -> None:
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            visitor.come(port)
        except ConnectionRefusedError:
            assert not process.ends(0.01), process.error("ended")
            assert time.monotonic() < deadline, process.error(f"took no connection in {TIMEOUT} s")
        else:
            return


def at_once(conn: socket.socket) -> None:
    """A TLS 1.2 client that resumes sends twice before it reads: not to wait for the first to be acknowledged."""
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
