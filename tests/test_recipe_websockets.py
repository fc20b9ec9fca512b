"""docs/recipes/websockets.md against the library's own server: behind nginx, and with TLS of its own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import server_context
from helpers.programs import nginx
from helpers.recipes import Program, needs, programs

PROXY = """
location /echo {{
    proxy_pass http://127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;
}}
"""
FULL_AND_RESUMED = [False, True, True]
ASYNCIO, BLOCKING = programs("websockets")
cases = pytest.mark.parametrize(
    ("program", "version"),
    [(ASYNCIO, "1.2"), (ASYNCIO, "1.3"), (BLOCKING, "1.2")],
    ids=["asyncio-1.2", "asyncio-1.3", "blocking-1.2"],
)


@contextmanager
def echo_server(ctx: ssl.SSLContext | None = None) -> Iterator[int]:
    """The library's server, which sends back what it gets; yields its port."""
    from websockets.sync.server import ServerConnection, serve

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0, ssl=ctx) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


@cases
def test_behind_nginx(ca: Authority, server_identity: Identity, program: Program, version: str):
    needs(program)
    with (
        echo_server() as port,
        nginx(server_identity, tls=version, extra=PROXY.format(port=port)) as server,
    ):
        uri = f"wss://localhost:{server.port}/echo"
        plain = program.run(uri, ca=ca, plain=True)
        outcome = program.run(uri, ca=ca)
    assert plain.handshakes == [(version, False)] * 3
    assert outcome.handshakes == [(version, reused) for reused in FULL_AND_RESUMED]
    assert outcome.printed == program.output


@cases
def test_its_own_tls(ca: Authority, server_identity: Identity, program: Program, version: str):
    needs(program)
    with echo_server(server_context(server_identity, version=version)) as port:
        uri = f"wss://localhost:{port}/"
        assert program.run(uri, ca=ca, plain=True).resumed == [False] * 3
        outcome = program.run(uri, ca=ca)
    assert outcome.resumed == FULL_AND_RESUMED
    assert outcome.printed == program.output
