"""One connection to the server at a time: the only place here that has sockets.

A host name with several addresses may be several servers, so all connections go to the address that took the first one.
Every connection has one deadline for all that happens on it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

from sslsession.early_data import EarlyData, early_data_status, write_early_data
from sslsession.errors import SessionError
from sslsession.handover import get_session, set_session, why_not_resumed
from sslsession.hooks import SessionHooks
from sslsession.probing import failures, starttls
from sslsession.probing.failures import ProbeError
from sslsession.probing.target import Target
from sslsession.session import Session

SERVER_SPEAKS_FIRST = frozenset({465, 563, 990, 993, 995})
PATIENCE = 2.0
"""Seconds that a server may think before it sends the first ticket or byte after the handshake."""
AFTER_TICKETS = 0.5
"""Seconds for an answer, or for a further ticket, once a ticket came."""
AFTER_ANSWER = 0.1
"""Seconds for more of the answer; tickets come before it."""
CLOSING = 0.5
"""Seconds for the server's close_notify."""
LOOK = 0.05
MOST_ANSWER = 1 << 20


@dataclass(frozen=True)
class Visit:
    """What one connection showed."""

    reused: bool
    """By OpenSSL's own flag (SSL_session_reused)."""
    why_not: str | None
    """Why it was not resumed; None where it was, or where nothing was offered."""
    session: Session | None
    """The connection's session when it ended."""
    received: tuple[Session, ...]
    """Each session or ticket that came, in order."""
    remark: str | None = None
    """How the server ended the connection after the handshake, where that was an alert."""
    early: EarlyData = EarlyData.NOT_SENT
    """What became of the question, where it was to be sent as early data."""

    @property
    def tickets(self) -> tuple[Session, ...]:
        """The sessions that came as a ticket."""
        return tuple(session for session in self.received if session.ticket is not None)


@dataclass
class Visitor:
    """Connects to one server, again and again; ``address`` is known after the first connection."""

    target: Target
    timeout: float
    """Seconds for each connection, all that happens on it included; looking the name up has the resolver's own."""
    address: Any = None
    _family: int = field(default=socket.AF_UNSPEC, repr=False)

    @property
    def where(self) -> str:
        """The address that all connections go to; empty before the first one."""
        return str(self.address[0]) if self.address is not None else ""

    def visit(
        self,
        ctx: ssl.SSLContext,
        session: Session | None = None,
        *,
        listen: bool = False,
        early: bool = False,
    ) -> Visit:
        """One connection from TCP to close. session: what to offer. listen: wait for TLS 1.3's tickets. early: send the
        question that makes the server speak, as early data; it is safe to do twice.

        Errors: :class:`ProbeError`; :class:`NotSpoken` where another TLS version may do better.
        """
        self._check_name(ctx)
        deadline = time.monotonic() + self.timeout
        received: list[Session] = []
        with SessionHooks(ctx, new=lambda _, new: received.append(new)), self._plain(deadline) as raw:
            if self.target.starttls is not None:
                self._begin_tls(raw, self.target.starttls, deadline)
            with self._wrapped(ctx, raw) as conn:
                refusal = self._offer(conn, session) if session is not None else None
                conn.settimeout(_left(deadline))
                try:
                    if early:
                        write_early_data(conn, self._question())
                    conn.do_handshake()
                except OSError as error:
                    raise failures.of_handshake(str(self.target), self.timeout, error) from error
                reused = bool(conn.session_reused)
                why_not = None if reused or session is None else refusal or str(why_not_resumed(conn))
                status = early_data_status(conn)
                remark = self._listen(conn, received, deadline) if listen else None
                own = get_session(conn)
                _close(conn, deadline)
        return Visit(reused, why_not, own, tuple(received), remark, status)

    def _plain(self, deadline: float) -> socket.socket:
        candidates = [(self._family, self.address)] if self.address is not None else self._look_up()
        failure: OSError = OSError("no address")
        for position, (family, address) in enumerate(candidates):
            raw = socket.socket(family, socket.SOCK_STREAM)
            try:
                raw.settimeout(_left(deadline) / (len(candidates) - position))
                raw.connect(address)
                self._family, self.address = family, address
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return raw
            except OSError as error:
                raw.close()
                failure = error
        raise failures.of_connecting(str(self.target), self.timeout, failure) from failure

    def _look_up(self) -> list[tuple[int, Any]]:
        try:
            found = socket.getaddrinfo(self.target.host, self.target.port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            raise failures.of_lookup(self.target.host, error) from error
        return [(family, address) for family, _, _, _, address in found]

    def _begin_tls(self, raw: socket.socket, protocol: str, deadline: float) -> None:
        def receive(size: int) -> bytes:
            raw.settimeout(_left(deadline))
            return raw.recv(size)

        wire = starttls.Wire(raw.sendall, receive)
        try:
            starttls.PROTOCOLS[protocol](wire)
            wire.finish()
        except ProbeError as error:
            raise ProbeError(f"{self.target}, {protocol}: {error}") from error
        except OSError as error:
            raise failures.of_connecting(f"{self.target}, {protocol}:", self.timeout, error) from error

    def _check_name(self, ctx: ssl.SSLContext) -> None:
        """Finds out what ssl thinks of the name where there is no socket yet that it would leave open."""
        name = self.target.server_name
        try:
            ctx.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
        except ValueError as error:
            raise ProbeError(f"{failures.printable(name)!r} is no server name: {error}") from error

    def _wrapped(self, ctx: ssl.SSLContext, raw: socket.socket) -> ssl.SSLSocket:
        name = self.target.server_name
        try:
            return ctx.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False)
        except OSError as error:
            raise failures.of_handshake(str(self.target), self.timeout, error) from error

    def _offer(self, conn: ssl.SSLSocket, session: Session) -> str | None:
        """Why the session was not offered, without the advice for programmers behind it; None where it was."""
        try:
            set_session(conn, session)
        except SessionError as error:
            return failures.printable(str(error).partition(". ")[0])
        return None

    def _listen(self, conn: ssl.SSLSocket, received: list[Session], deadline: float) -> str | None:
        """Reads until the tickets must have come: with the server's answer, at its end, or in its silence."""
        heard = 0
        last = time.monotonic()
        with contextlib.suppress(OSError):
            # Whoever closed already left an alert to read.
            if early_data_status(conn) is not EarlyData.ACCEPTED:
                conn.sendall(self._question())
        try:
            while heard < MOST_ANSWER:
                before = len(received)
                patience = AFTER_ANSWER if heard else AFTER_TICKETS if received else PATIENCE
                until = min(last + patience, deadline)
                conn.settimeout(max(min(LOOK, until - time.monotonic()), 0.001))
                with contextlib.suppress(socket.timeout):
                    piece = conn.recv(65536)
                    if not piece:
                        return None
                    heard += len(piece)
                    last = time.monotonic()
                if len(received) > before:
                    last = time.monotonic()
                elif time.monotonic() >= until:
                    return None
        except OSError as error:
            return (
                failures.told(error) if isinstance(error, ssl.SSLError) and error.library == "SSL" else None
            )
        return None

    def _question(self) -> bytes:
        """What makes the server say something: tickets come before it at the latest."""
        target = self.target
        if target.starttls is not None:
            return starttls.QUESTIONS[target.starttls]
        if target.port in SERVER_SPEAKS_FIRST:
            return b""
        name = target.server_name
        host = f"[{name}]".encode() if ":" in name else name.encode("ascii" if name.isascii() else "idna")
        return (
            b"HEAD / HTTP/1.1\r\nHost: " + host + b"\r\nUser-Agent: sslsession\r\nConnection: close\r\n\r\n"
        )


def _left(deadline: float) -> float:
    """Seconds until the deadline; never 0, which would mean not to block."""
    return max(deadline - time.monotonic(), 0.001)


def _close(conn: ssl.SSLSocket, deadline: float) -> None:
    """Says goodbye, so that a server does not withdraw the session."""
    conn.settimeout(min(CLOSING, _left(deadline)))
    with contextlib.suppress(OSError, ValueError):
        conn.unwrap().close()
