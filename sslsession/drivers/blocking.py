"""``BlockingConnection``: a ``TLSConnection`` over a blocking socket, as simple programs and threads use it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any

from sslsession._flow import RECORD, Data
from sslsession._waiting import is_ready
from sslsession.connection import TLSConnection
from sslsession.drivers import _given
from sslsession.drivers._pieces import PIECE, first

ROOM = 131072
"""Bytes that are received at a time, into one buffer: memory that is new each time costs more than it saves."""
TIMED_OUT = "the TLS connection timed out"


class BlockingConnection:
    """A TLS connection that waits.

    tls
        The :class:`TLSConnection`, which has not begun or was closed; it keeps its sessions, so the next connection of
        the same object resumes.
    timeout
        Seconds that each call may take in all; None: no limit. ``TimeoutError`` after that: nobody knows then how much
        of what was to be sent has arrived.

    One thread may send while another receives; what several send arrives call by call. Errors of all calls:
    ``ssl.SSLError``, ``OSError``, and those of the :class:`TLSConnection`.
    """

    def __init__(self, tls: TLSConnection, *, timeout: float | None = None) -> None:
        self.tls = _given.checked(tls)
        self.timeout = timeout
        self.sock: socket.socket | None = None
        self._received: deque[bytes] = deque()
        self._unsent = b""
        self._room = memoryview(bytearray(ROOM))
        self._reading = threading.Lock()
        self._wire = threading.Lock()
        """Who has it sends: records go out in the order in which they were made."""
        self._openssl = threading.RLock()
        """Taken last, and never while waiting for the peer: OpenSSL's connections are one thread's at a time."""

    def connect(self, address: tuple[Any, ...]) -> BlockingConnection:
        """Connects to a server at ``(host, port)`` and ends the handshake. Returns itself, for ``with``."""
        ends = self._ends()
        try:
            sock = socket.create_connection(address, _left(ends))
        except socket.timeout:
            raise TimeoutError(TIMED_OUT) from None
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
        self.sock, self._unsent = sock, b""
        self._received.clear()
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with self._wire:
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
        _take(self._wire, ends)
        try:
            for at in range(0, len(view), PIECE):
                with self._openssl:
                    self.tls.send(view[at : at + PIECE])
                self._flush(ends)
        finally:
            self._wire.release()
            self._answer(ends)
        return len(view)

    def recv(self, size: int = RECORD) -> bytes:
        """At least one byte and at most ``size``; ``b""`` after the peer's close_notify.

        What a record has, at most: as ``ssl.SSLSocket.recv``. ``ssl.SSLEOFError`` where the TCP connection ends without
        close_notify.
        """
        _given.require_size(size)
        ends, received = self._ends(), self._received
        _take(self._reading, ends)
        try:
            while not received:
                if self.tls.peer_closed:
                    return b""
                try:
                    received.extend(self._receive(ends))
                finally:
                    self._answer(ends)
            return first(received, size)
        finally:
            self._reading.release()

    def close(self) -> None:
        """Says close_notify, if the socket takes it at once, and closes the socket. Closing again does nothing.

        A thread that waits here gets an error.
        """
        with self._openssl:
            self.tls.close()
        self._abandon()

    def _receive(self, ends: float | None) -> list[bytes]:
        sock = self._socket(ends)
        _given.require_open(self.tls)
        while True:
            try:
                size = sock.recv_into(self._room)
                break
            except BlockingIOError:
                _await(sock, selectors.EVENT_READ, ends)
        with self._openssl:
            return self.tls.receive_records(self._room[:size])

    def _answer(self, ends: float | None) -> None:
        """Sends what there is beside data, such as an alert; who is sending now does that too, when he is done."""
        while self.sock is not None and self.tls._outgoing.pending and self._wire.acquire(blocking=False):
            try:
                if self.tls.is_connected:
                    self._flush(ends)
                else:
                    return self._say_why()
            finally:
                self._wire.release()

    def _flush(self, ends: float | None) -> None:
        """All that there is to send. The wire must be held."""
        while True:
            if not self._unsent:
                with self._openssl:
                    self._unsent = self.tls.data_to_send()
                if not self._unsent:
                    return
            sock = self._socket(ends)
            if ends is None:
                data, self._unsent = self._unsent, b""
                sock.sendall(data)
                continue
            try:
                self._unsent = self._unsent[sock.send(self._unsent) :]
            except BlockingIOError:
                _await(sock, selectors.EVENT_WRITE, ends)

    def _say_why(self) -> None:
        """The last words of a connection that has ended, if the socket takes them at once. The wire must be held."""
        sock = self.sock
        if sock is not None:
            with self._openssl:
                words, self._unsent = self._unsent + self.tls.data_to_send(), b""
            with contextlib.suppress(OSError):
                sock.setblocking(False)
                sock.send(words)

    def _socket(self, ends: float | None) -> socket.socket:
        sock = self.sock
        if sock is None:
            raise ValueError("there is no connection: call connect() or accept()")
        _left(ends)
        wanted = None if ends is None else 0.0
        if sock.gettimeout() != wanted:
            sock.settimeout(wanted)
        return sock

    def _abandon(self) -> None:
        if self.sock is not None and self._wire.acquire(blocking=False):
            try:
                self._say_why()
            finally:
                self._wire.release()
        sock, self.sock = self.sock, None
        if sock is not None:
            with sock, contextlib.suppress(OSError):
                if self._reading.locked() or self._wire.locked():
                    sock.shutdown(socket.SHUT_RDWR)  # wakes who waits for it, which close() does not
        with self._openssl:
            self.tls.close()

    def _ends(self) -> float | None:
        return None if self.timeout is None else time.monotonic() + self.timeout

    def __enter__(self) -> BlockingConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _left(ends: float | None) -> float | None:
    if ends is None:
        return None
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError(TIMED_OUT)
    return left


def _await(sock: socket.socket, event: int, ends: float | None) -> None:
    if not is_ready(sock, event, ends):
        raise TimeoutError(TIMED_OUT)


def _take(lock: threading.Lock, ends: float | None) -> None:
    if not lock.acquire(blocking=False):
        left = _left(ends)
        if not lock.acquire(timeout=-1 if left is None else left):
            raise TimeoutError(TIMED_OUT)
