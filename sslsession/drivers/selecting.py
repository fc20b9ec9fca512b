"""``SelectorConnection``: a ``TLSConnection`` over a socket that never blocks, for a loop of :mod:`selectors`."""

from __future__ import annotations

import contextlib
import selectors
import socket

from sslsession._flow import Data
from sslsession.connection import TLSConnection
from sslsession.drivers import _given
from sslsession.drivers._pieces import PIECE


class SelectorConnection:
    """A TLS connection that a loop is told of: register :meth:`fileno` for :attr:`events`, call :meth:`ready`.

    tls
        The :class:`TLSConnection`; it begins here, as a client or a server by its ``server_side``.
    sock
        A connected TCP socket, or one whose ``connect_ex`` is under way; it is this object's from now on.
    """

    def __init__(self, tls: TLSConnection, sock: socket.socket) -> None:
        self.tls, self.sock = _given.checked(tls), sock
        self._outgoing = bytearray()
        self.at_end = False
        """Whether nothing more comes: the peer has said close_notify, or the TLSConnection was closed."""
        sock.setblocking(False)
        try:
            tls.accept() if tls.server_side else tls.connect()
        except BaseException:
            sock.close()
            raise

    def fileno(self) -> int:
        """The socket's, for ``selector.register``."""
        return self.sock.fileno()

    @property
    def events(self) -> int:
        """What to wait for now: ``EVENT_READ``, and ``EVENT_WRITE`` while there is something to send. Ask each time.

        :attr:`at_end`, ``EVENT_WRITE`` alone: the socket is readable for ever then. With nothing to send: close it.
        """
        self._collect()
        if self.at_end and self._outgoing:
            return selectors.EVENT_WRITE
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the socket: who sends much waits until these are few."""
        self._collect()
        return len(self._outgoing)

    def ready(self, events: int = selectors.EVENT_READ | selectors.EVENT_WRITE) -> bytes:
        """Does what the socket is ready for; returns the plaintext that came, which may be none.

        Errors: ``ssl.SSLError``, ``OSError``; the connection is of no more use then but for :meth:`close`.
        """
        received = b""
        if events & selectors.EVENT_READ and not self.at_end:
            try:
                data = self.sock.recv(PIECE)
            except BlockingIOError:
                pass
            else:
                received = self.tls.receive_data(data)
                self.at_end = self.tls.peer_closed or not data
        self._write()
        return received

    def send(self, data: Data) -> int:
        """Encrypts all of it, and sends what the socket takes; the rest goes with :meth:`ready`. How many bytes."""
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PIECE):
            self.tls.send(view[at : at + PIECE])
            self._write()
        return len(view)

    def _collect(self) -> None:
        self._outgoing += self.tls.data_to_send()

    def _write(self) -> None:
        self._collect()
        if not self._outgoing:
            return
        try:
            del self._outgoing[: self.sock.send(self._outgoing)]
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Says close_notify as far as the socket takes it at once, and closes it. Closing again does nothing."""
        self.tls.close()
        with self.sock, contextlib.suppress(OSError):
            self._write()
