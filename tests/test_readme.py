"""The README's examples, run word for word: only the name's address, port and CA are this machine's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.children import run_python
from helpers.peers import EchoServer, server_context

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


def test_the_first_example_is_on_the_first_screen():
    assert ".attach(ctx)" in "\n".join(README.read_text().splitlines()[:24])


def test_the_two_commands_are_there():
    text = README.read_text()
    assert "pip install '.[cli]' && sslsession bench" in text
    assert "pip install nox && nox -s tests" in text
