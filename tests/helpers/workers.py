"""Several server processes on one port, each with a context of its own, as prefork servers and containers are."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.processes import Process

TESTS = Path(__file__).resolve().parents[1]
WORKER = """
    import socket, ssl, sys
    import sslsession
    from helpers import child_contexts

    context = child_contexts.server()
    {equip}
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(sys.argv[4])))
        listener.listen(64)
        print("ready", flush=True)
        while True:
            conn, _ = listener.accept()
            conn.settimeout(20)
            try:
                with context.wrap_socket(conn, server_side=True) as conn:
                    conn.sendall(conn.recv(100))
                    conn.unwrap().close()
            except OSError as error:
                print("failed:", error, flush=True)
"""


class Workers:
    """Processes that echo on ``port``; what each does to its ``context`` is the text `equip`."""

    def __init__(self, ca: Authority, identity: Identity, equip: str, count: int) -> None:
        self._code = textwrap.dedent(WORKER).format(equip=equip)
        self._arguments = [str(each) for each in arguments(ca, identity)]
        self._count = count
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs, so do they; again in another block, as after a restart."""
        argv = [sys.executable, "-W", "error", "-c", self._code, *self._arguments, str(self.port)]
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(Process(*argv, env={"PYTHONPATH": str(TESTS)}, grace=0.1))
                for _ in range(self._count)
            ]
            for process in processes:
                process.expect("ready")
            yield
            for process in processes:
                assert "failed" not in process.output, process.output
                assert process.returncode is None, process.output

    def visit(self, client: ssl.SSLContext, name: str = "localhost") -> bool:
        """One connection, closed in full; whether it resumed."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as raw,
            client.wrap_socket(raw, server_hostname=name) as conn,
        ):
            conn.sendall(b"ping")
            assert conn.recv(100) == b"ping"
            reused = bool(conn.session_reused)
            with contextlib.suppress(OSError):
                conn.unwrap()
            return reused

    def close(self) -> None:
        """Gives up the port."""
        self._reserved.close()
