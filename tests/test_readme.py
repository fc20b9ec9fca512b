"""The README's examples, run word for word: only the name's address, port and CA are this machine's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from helpers.children import run_python
from helpers.peers import EchoServer, server_context
from helpers.rings import needs_ring

README = Path(__file__).resolve().parent.parent / "README.md"
HOST = "www.python.org"
ELSEWHERE = """
import socket
_real = socket.create_connection
socket.create_connection = lambda address, *rest, **named: _real(("127.0.0.1", {port}), *rest, **named)
"""


@pytest.fixture(scope="module")
def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


def run(ca, tls_version, example) -> str:
    identity = ca.issue(HOST)
    with EchoServer(server_context(identity, version=tls_version)) as server:
        program = ELSEWHERE.format(port=server.port) + example
        done = run_python(program, env={"SSL_CERT_FILE": str(ca.pem_path), "SSL_CERT_DIR": "/nonexistent"})
    return done.stdout.strip()


def test_the_first_example_resumes(ca, examples, tls_version):
    assert run(ca, tls_version, examples[0]) == "False True"


def test_the_example_by_hand_resumes(ca, examples, tls_version):
    assert run(ca, tls_version, examples[1] + "\nfirst.close(); second.close()\n") == "True"


VISIT = """
import pathlib, sys
from helpers.contexts import client_context
from helpers.memory import connect
from helpers.sessions import offering

kept = pathlib.Path("session")
client = client_context(version=sys.argv[1], verify=False)
session = sslsession.Session.from_bytes(kept.read_bytes()) if kept.exists() else None
pair = connect(client, ctx, prepare=offering(session, force=True) if session else None)
kept.write_bytes(sslsession.get_session(pair.client).to_bytes())
pair.close()
print(pair.server.session_reused)
"""


@needs_ring
def test_the_example_of_a_server_resumes_what_another_process_made(
    server_identity, examples, tls_version, tmp_path
):
    shutil.copy(server_identity.cert_pem_path, tmp_path / "server.pem")
    shutil.copy(server_identity.key_path, tmp_path / "server.key")
    program = f"import os; os.chdir({str(tmp_path)!r})\n{examples[2]}{VISIT}"
    told = [run_python(program, args=[tls_version]).stdout.strip() for _ in range(2)]
    assert told == ["False", "True"]


def test_the_first_example_is_on_the_first_screen():
    assert ".attach(ctx)" in "\n".join(README.read_text().splitlines()[:24])


def test_the_two_commands_are_there():
    text = README.read_text()
    assert "pip install '.[cli]' && sslsession bench" in text
    assert "pip install nox && nox -s tests" in text
