"""A relay that shows which flight of a client an answer needed: no clock is asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from helpers.plain import TIMEOUT, plain_server


class Held(NamedTuple):
    """A port of 127.0.0.1 that leads to a server, and what lets the rest pass."""

    port: int
    rest: threading.Event


@contextmanager
def first_flight_only(to: int) -> Iterator[Held]:
    """Of what a client sends to `to` its first flight passes; the rest when it is let, or at the end.

    The flight has to be one write, as a ClientHello with some hundred bytes of early data is.
    """
    rest = threading.Event()

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def relay(near: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", to), TIMEOUT) as far:
            far.sendall(near.recv(65536))
            back = threading.Thread(target=carry, args=[far, near])
            back.start()
            try:
                assert rest.wait(TIMEOUT), "nobody let the rest pass"
                carry(near, far)
            finally:
                with contextlib.suppress(OSError):
                    far.shutdown(socket.SHUT_RDWR)
                back.join()

    with plain_server(relay) as port:
        try:
            yield Held(port, rest)
        finally:
            rest.set()
