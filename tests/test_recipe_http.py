"""The recipes for HTTP clients, asyncio and truststore, run against nginx and `openssl s_server`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.programs import Running, nginx, s_server
from helpers.recipes import Program, needs, programs

FULL_AND_RESUMED = [False, True, True]
LOGGING = "root .; access_log handshakes-$ssl_session_reused;"
"""nginx writes each request to a file of those that resumed (`r`) or of those that did not (`.`)."""
FULL, RESUMED = "handshakes-.", "handshakes-r"


def each(page: str) -> list[pytest.param]:
    return [pytest.param(program, id=f"{page} {number}") for number, program in enumerate(programs(page), 1)]


PROGRAMS = [
    *each("http-client"),
    *each("urllib3"),
    *each("requests"),
    *each("httpx"),
    *each("aiohttp"),
    *each("asyncio")[:1],
    *each("uvloop"),
    *each("truststore"),
]


@contextmanager
def logging_nginx(identity: Identity, version: str, **settings: bool) -> Iterator[Running]:
    with nginx(identity, tls=version, extra=LOGGING, **settings) as server:
        yield server


def seen_by(server: Running, requests: int) -> list[int]:
    """How many of its requests came over connections that were not resumed, and were."""
    files = [server.directory / name for name in (FULL, RESUMED)]
    deadline = time.monotonic() + 10
    while True:
        counts = [path.read_text().count("\n") if path.exists() else 0 for path in files]
        if sum(counts) >= requests:
            return counts
        assert not server.process.ends(0.01), "nginx has ended"
        assert time.monotonic() < deadline, f"nginx logged {counts}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_resumes_by_one_line(ca: Authority, server_identity: Identity, tls_version: str, program: Program):
    needs(program)
    with logging_nginx(server_identity, tls_version) as server:
        plain = program.run("localhost", server.port, ca=ca, plain=True)
        assert seen_by(server, 3) == [3, 0]
        outcome = program.run("localhost", server.port, ca=ca)
        assert seen_by(server, 6) == [4, 2]
    assert plain.handshakes == [(tls_version, False)] * 3
    assert outcome.handshakes == [(tls_version, reused) for reused in FULL_AND_RESUMED]
    assert outcome.printed == program.output


def test_urllib3_takes_no_tickets_in_tls_1_2(ca: Authority, server_identity: Identity):
    as_it_comes, with_tickets, _ = programs("urllib3")
    needs(as_it_comes)
    with logging_nginx(server_identity, "1.2", cache=False) as server:
        assert as_it_comes.run("localhost", server.port, ca=ca).resumed == [False] * 3
        assert with_tickets.run("localhost", server.port, ca=ca).resumed == FULL_AND_RESUMED
        assert seen_by(server, 6) == [4, 2]


def test_a_ca_file_loaded_for_each_connection(ca: Authority, server_identity: Identity, tls_version: str):
    program = programs("urllib3")[0]
    needs(program)
    code = program.code.replace("ssl_context=ctx", f"ssl_context=ctx, ca_certs={str(ca.pem_path)!r}")
    assert code != program.code
    with logging_nginx(server_identity, tls_version) as server:
        outcome = replace(program, code=code).run("localhost", server.port, ca=ca)
        assert seen_by(server, 3) == [1, 2]
    assert outcome.resumed == FULL_AND_RESUMED


def test_a_store_serves_the_next_process(
    ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path
):
    program = programs("asyncio")[1]
    path = tmp_path / "own" / "sessions.db"
    path.parent.mkdir(mode=0o700)
    with logging_nginx(server_identity, tls_version) as server:
        arguments = ("localhost", server.port, str(path))
        first = program.run(*arguments, ca=ca)
        later = [program.run(*arguments, ca=ca) for _ in range(2)]
        assert seen_by(server, 3) == [1, 2]
    assert first.printed == program.output.replace("True", "False")
    assert [each.printed for each in later] == [program.output] * 2


def test_s_server_sees_it_too(ca: Authority, server_identity: Identity, tls_version: str):
    program = programs("http-client")[0]
    with s_server(server_identity, version=tls_version, mode="-www", args=["-state"]) as server:
        assert program.run("localhost", server.port, ca=ca, plain=True).resumed == [False] * 3
        assert program.run("localhost", server.port, ca=ca).resumed == FULL_AND_RESUMED
        server.process.stop()
        assert server.log.count("SSL_accept:SSLv3/TLS write certificate\n") == 4
        assert server.log.count("SSL_accept:SSLv3/TLS read client hello\n") == 6
