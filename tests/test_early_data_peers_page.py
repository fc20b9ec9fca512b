"""The examples of docs/early-data.md, run word for word against each other."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.peers import server_context
from sslsession import EarlyData
from sslsession.stores import MemoryStore

PAGE = Path(__file__).resolve().parents[1] / "docs" / "early-data.md"
SAFE, UNSAFE = b"look up\n", b"pay\n"


@pytest.fixture(scope="module")
def examples() -> list[str]:
    """The page's: a client that blocks, one of asyncio, one without sockets; a server that blocks, one of asyncio."""
    if not PAGE.exists():
        pytest.skip("not in a checkout: there is no docs")
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == 5
    return found


def learn(example: str, names: dict[str, Any]) -> None:
    """Runs an example."""
    exec(example, names)  # noqa: S102


@pytest.fixture
def client(ca: Authority, examples: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the first example: its context trusts the tests' authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.pem_path))
    names: dict[str, Any] = {"ssl": ssl, "socket": socket, "sslsession": sslsession}
    learn(examples[0], names)
    return names


@pytest.fixture
def server(server_identity: Identity, examples: list[str]) -> dict[str, Any]:
    """The names of the blocking server's example."""
    names: dict[str, Any] = {
        "ctx": server_context(server_identity),
        "is_safe": lambda request: request == SAFE,
        "answer": lambda request: b"answered " + request,
        "sslsession": sslsession,
        "store": MemoryStore(),
    }
    learn(examples[3], names)
    return names


@pytest.fixture
def port(server: dict[str, Any]) -> Iterator[int]:
    """Where the blocking server is."""
    over = threading.Event()

    def serve() -> None:
        while True:
            sock, _ = listener.accept()
            if over.is_set():
                sock.close()
                return
            sock.settimeout(20)
            server["handle"](sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        yield number
        over.set()
        socket.create_connection(("127.0.0.1", number), 20).close()
        thread.join()


@pytest.mark.parametrize("request_", [SAFE, UNSAFE])
def test_sockets(client: dict[str, Any], port: int, request_: bytes) -> None:
    found = [client["ask"]("localhost", port, request_) for _ in range(3)]
    assert [status for status, _ in found] == [EarlyData.NOT_SENT, *[EarlyData.ACCEPTED] * 2]
    assert [answer for _, answer in found] == [b"answered " + request_] * 3


@pytest.mark.parametrize("request_", [SAFE, UNSAFE])
def test_streams(
    client: dict[str, Any], server: dict[str, Any], examples: list[str], request_: bytes
) -> None:
    learn(examples[1], client)
    learn(examples[4], server)

    async def visit() -> list[Any]:
        listener = await server["serve"]("127.0.0.1", 0)
        where = "localhost", listener.sockets[0].getsockname()[1]
        found = [await client["ask"](*where, request_) for _ in range(3)]
        listener.close()
        await listener.wait_closed()
        return found

    found = asyncio.run(visit())
    assert [status for status, _ in found] == [EarlyData.NOT_SENT, *[EarlyData.ACCEPTED] * 2]
    assert [answer for _, answer in found] == [b"answered " + request_] * 3


def test_without_sockets(client: dict[str, Any], port: int, examples: list[str]) -> None:
    """Its session comes from streams, for a connection without a socket shows no port."""
    learn(examples[1], client)
    assert asyncio.run(client["ask"]("localhost", port, SAFE))[0] is EarlyData.NOT_SENT
    learn(examples[2], client)
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        assert client["ask"](sock, "localhost", SAFE) is EarlyData.ACCEPTED


def test_links_lead_somewhere() -> None:
    if not PAGE.exists():
        pytest.skip("not in a checkout: there is no docs")
    for target in re.findall(r"\]\(([^)#]+)[)#]", PAGE.read_text()):
        assert (PAGE.parent / target).exists(), target
