"""`sslsession serve`, running, and a client that uses nothing but ssl.

The fixture is assigned by the files that use it.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Identity
from helpers.processes import Process

PING = b"ping"


class Serving(Process):
    """The server as a process of its own, on a port that was free, warnings being errors; `with` waits for it."""

    port: int

    def __init__(self, *arguments: object, env: dict[str, str] | None = None) -> None:
        self._cwd = tempfile.TemporaryDirectory()
        command = [sys.executable, "-W", "error", "-m", "sslsession", "serve", *map(str, arguments)]
        super().__init__(*command, cwd=Path(self._cwd.name), env=env)

    def __enter__(self) -> Serving:
        try:
            found = self.expect(r'listening on .*:(\d+), |"port": (\d+)', timeout=30)
        except BaseException:
            self.stop()
            raise
        self.port = int(found[1] or found[2])
        return self

    def stop(self) -> None:
        """Ends it, and all its workers."""
        super().stop()
        self._cwd.cleanup()

    def events(self) -> list[dict[str, Any]]:
        """What it said, where it said JSON."""
        return [json.loads(line) for line in self.output.splitlines()]


@pytest.fixture
def named(server_identity: Identity) -> list[Path | str]:
    """The options that make it the server of `server_identity`."""
    return ["--cert", server_identity.cert_pem_path, "--key", server_identity.key_path]


def visit(
    context: ssl.SSLContext,
    port: int,
    session: ssl.SSLSession | None = None,
    *,
    name: str = "localhost",
    data: bytes = PING,
) -> tuple[bool, ssl.SSLSession]:
    """Has data echoed, which brings TLS 1.3 tickets too; whether the connection resumed, and its session."""
    with socket.create_connection(("127.0.0.1", port), 20) as raw:
        with context.wrap_socket(raw, server_hostname=name, session=session) as tls:
            tls.sendall(data)
            if tls.recv(len(data)) != data:
                raise ConnectionError("the server does not echo")
            assert tls.session is not None
            return bool(tls.session_reused), tls.session
