"""The README's first example, run word for word: only the name's address, port and CA are this machine's."""

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
def example() -> str:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.S)[0]


def test_the_first_example_resumes(ca, example, tls_version):
    identity = ca.issue(HOST)
    with EchoServer(server_context(identity, version=tls_version)) as server:
        program = ELSEWHERE.format(port=server.port) + example + "\nfirst.close(); second.close()\n"
        run = run_python(program, env={"SSL_CERT_FILE": str(ca.pem_path), "SSL_CERT_DIR": "/nonexistent"})
    assert run.stdout.split() == ["True"]


def test_the_first_example_is_on_the_first_screen():
    assert "second.session_reused" in "\n".join(README.read_text().splitlines()[:40])


def test_the_two_commands_are_there():
    text = README.read_text()
    assert "pip install '.[cli]' && sslsession bench" in text
    assert "pip install nox && nox -s tests" in text
