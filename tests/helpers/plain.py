"""A TCP server whose whole behaviour is one function."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TIMEOUT = 20.0


@contextmanager
def plain_server(handle: Callable[[socket.socket], object]) -> Iterator[int]:
    """Gives each connection to `handle`, one after another, and closes it; yields the port on 127.0.0.1.

    OSErrors in `handle` are a peer that went. At the end whoever is being handled is cut off; any other exception of
    `handle` is raised then.
    """
    current: list[socket.socket] = []
    failures: list[Exception] = []
    over = threading.Event()

    def serve() -> None:
        while True:
            conn, _ = listener.accept()
            with conn:
                if over.is_set():
                    return
                conn.settimeout(TIMEOUT)
                current[:] = [conn]
                try:
                    handle(conn)
                except OSError:
                    continue
                except Exception as error:
                    failures.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            over.set()
            for conn in current:
                with contextlib.suppress(OSError):
                    conn.shutdown(socket.SHUT_RDWR)
            socket.create_connection(("127.0.0.1", port), TIMEOUT).close()
            thread.join()
    if failures:
        raise failures[0]


def read_line(conn: socket.socket) -> bytes:
    """The next line, with its end, and not a byte more; fewer at the end."""
    line = bytearray()
    while not line.endswith(b"\n") and (byte := conn.recv(1)):
        line += byte
    return bytes(line)
