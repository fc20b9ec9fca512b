"""``BlockingConnection``: a ``TLSConnection`` over a blocking socket, as simple programs and threads use it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from types import TracebackType
from typing import Any

from sslsession._flow import RECORD, Data
from sslsession.connection import TLSConnection
from sslsession.drivers import _given

PIECE = 65536
"""Bytes that are encrypted at a time: what lies in the processor's cache is copied for little."""
ROOM = 131072
"""Bytes that are received at a time, into one buffer: memory that is new each time costs more than it saves."""
TIMED_OUT = "the TLS connection timed out"


class BlockingConnection:
    """A TLS connection that waits.

    tls
        The :class:`TLSConnection`, which has not begun or was closed; it keeps its sessions, so the next connection of
        the same object resumes.
    timeout
        Seconds that each call may take in all; None: no limit. ``TimeoutError`` after that, and the connection can go
        on only where nothing was sent in part: better close it.

    One thread at a time: where one sends while another receives, their records get mixed up. Errors of all calls:
    ``ssl.SSLError``, ``OSError``, and those of the :class:`TLSConnection`.
    """

    def __init__(self, tls: TLSConnection, *, timeout: float | None = None) -> None:
        self.tls = _given.checked(tls)
        self.timeout = timeout
        self.sock: socket.socket | None = None
        self._received: deque[bytes] = deque()
        self._room = memoryview(bytearray(ROOM))

    def connect(self, address: tuple[Any, ...]) -> BlockingConnection:
        """Connects to a server at ``(host, port)`` and ends the handshake. Returns itself, for ``with``."""
        ends = self._ends()
        with _Timing():
            sock = socket.create_connection(address, self._left(ends))
        self._adopt(sock, ends, accepted=False)
        return self

    def accept(self, sock: socket.socket) -> BlockingConnection:
        """Ends the handshake with a client that a listening socket accepted; it closes that socket in the end."""
        self._adopt(sock, self._ends(), accepted=True)
        return self

    def _adopt(self, sock: socket.socket, ends: float | None, *, accepted: bool) -> None:
        if self.sock is not None:
            sock.close()
            raise ValueError("this BlockingConnection has a socket already: close() it first")
        try:
            self.tls.accept() if accepted else self.tls.connect()
        except BaseException:
            sock.close()
            raise
        self.sock = sock
        self._received.clear()
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while not self.tls.is_connected:
                self._flush(ends)
                self._received.extend(self._receive(ends))
            self._flush(ends)
        except BaseException:
            self._abandon()
            raise

    def send(self, data: Data) -> int:
        """Sends all of it; how many bytes."""
        ends, view = self._ends(), memoryview(data).cast("B")
        for at in range(0, len(view), PIECE):
            self.tls.send(view[at : at + PIECE])
            self._flush(ends)
        return len(view)

    def recv(self, size: int = RECORD) -> bytes:
        """At least one byte and at most ``size``; ``b""`` after the peer's close_notify.

        What a record has, at most: as ``ssl.SSLSocket.recv``. ``ssl.SSLEOFError`` where the TCP connection ends without
        close_notify.
        """
        _given.require_size(size)
        received = self._received
        if not received:
            ends = self._ends()
            while not received:
                if self.tls.peer_closed:
                    return b""
                received.extend(self._receive(ends))
                self._flush(ends)
        data = received.popleft()
        if len(data) > size:
            received.appendleft(data[size:])
            return data[:size]
        return data

    def close(self) -> None:
        """Says close_notify, if the socket takes it at once, and closes the socket. Closing again does nothing."""
        self.tls.close()
        self._abandon()

    def _receive(self, ends: float | None) -> list[bytes]:
        sock = self._socket(ends)
        _given.require_open(self.tls)
        with _Timing():
            size = sock.recv_into(self._room)
        try:
            return self.tls.receive_records(self._room[:size])
        except BaseException:
            with contextlib.suppress(OSError):
                sock.sendall(self.tls.data_to_send())  # the alert says why
            raise

    def _flush(self, ends: float | None) -> None:
        data = self.tls.data_to_send()
        if data:
            with _Timing():
                self._socket(ends).sendall(data)

    def _socket(self, ends: float | None) -> socket.socket:
        if self.sock is None:
            raise ValueError("there is no connection: call connect() or accept()")
        if ends is not None or self.sock.gettimeout() is not None:
            self.sock.settimeout(self._left(ends))
        return self.sock

    def _abandon(self) -> None:
        sock, self.sock = self.sock, None
        if sock is None:
            return
        with sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send(self.tls.data_to_send())
        self.tls.close()

    def _ends(self) -> float | None:
        return None if self.timeout is None else time.monotonic() + self.timeout

    def _left(self, ends: float | None) -> float | None:
        if ends is None:
            return None
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError(TIMED_OUT)
        return left

    def __enter__(self) -> BlockingConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Timing:
    """A timeout of the socket's is a ``TimeoutError``, also before Python 3.10. A generator would cost more."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, socket.timeout):
            raise TimeoutError(TIMED_OUT) from None
