"""What large transfers through a ``TLSConnection`` reach, against ``ssl.SSLSocket``: two processes over loopback.

    python -m sslsession.bench.throughput [MEGABYTES [ROUNDS]]

One side changes at a time, and the other is an ``SSLSocket``. The variants take turns within a round, and a ratio is of
two transfers of the same round (``measure.py``).
"""

from __future__ import annotations

import multiprocessing
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from sslsession.bench.identity import HOST, client_context, server_context
from sslsession.bench.measure import ratio, rotated
from sslsession.connection import TLSConnection
from sslsession.drivers import BlockingConnection

MEGABYTE, ROOM, VERSION = 2**20, 131072, "1.3"
SOCKET, CONNECTION, END = b"s", b"c", b"e"
VARIANTS = {
    "SSLSocket to SSLSocket": (SOCKET, SOCKET),
    "TLSConnection to SSLSocket": (CONNECTION, SOCKET),
    "SSLSocket to TLSConnection": (SOCKET, CONNECTION),
}
"""By name: who sends, who receives."""
BASE, SENDING, RECEIVING = VARIANTS


def send_all(listener: socket.socket, amount: int) -> None:
    """The sending process: to each who connects, by what his first byte asks for."""
    context, data = server_context(VERSION), bytes(MEGABYTE)
    with listener:
        while True:
            sock, _ = listener.accept()
            with sock:
                kind = sock.recv(1)
                if kind == END:
                    return
                conn: Any
                if kind == SOCKET:
                    conn = context.wrap_socket(sock, server_side=True)
                    send = conn.sendall
                else:
                    conn = BlockingConnection(TLSConnection(server_side=True, context=context)).accept(sock)
                    send = conn.send
                for _ in range(amount // MEGABYTE):
                    send(data)
                sock.recv(1) if kind != SOCKET else conn.recv(1)
                conn.close()


def receive_all(port: int, kinds: tuple[bytes, bytes], amount: int) -> float:
    """Seconds from the end of the handshake to the last byte."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(kinds[0])
    conn: Any
    if kinds[1] == SOCKET:
        conn = client_context(VERSION).wrap_socket(sock, server_hostname=HOST)
    else:
        conn = BlockingConnection(TLSConnection(HOST, context=client_context(VERSION)))
        conn._adopt(sock, None, accepted=False)
    began, received = time.perf_counter(), 0
    while received < amount:
        received += len(conn.recv(ROOM))
    seconds = time.perf_counter() - began
    conn.close()
    return seconds


@contextmanager
def sending(amount: int) -> Iterator[int]:
    """A process that sends; the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=send_all, args=(listener, amount))
    process.start()
    listener.close()
    try:
        yield port
    finally:
        with socket.create_connection(("127.0.0.1", port)) as last:
            last.sendall(END)
        process.join()


def main(arguments: list[str]) -> int:
    """Prints megabytes (2**20) a second, and the ratios; 0."""
    megabytes, rounds = (int(given) for given in (*arguments, *("1024", "5")[len(arguments) :]))
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with sending(megabytes * MEGABYTE) as port:
        receive_all(port, VARIANTS[BASE], megabytes * MEGABYTE)
        for number in range(rounds):
            for name in rotated(list(VARIANTS), number):
                seconds[name].append(receive_all(port, VARIANTS[name], megabytes * MEGABYTE))
    print(f"{ssl.OPENSSL_VERSION}, TLS {VERSION}, {megabytes} MB, {rounds} rounds")
    for name, taken in seconds.items():
        print(f"{name}: {megabytes / median(taken):.0f} MB/s")
    for side, name in (("sending", SENDING), ("receiving", RECEIVING)):
        print(f"{side}: {ratio(seconds[BASE], seconds[name]) or 0:.2f} x SSLSocket")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
