"""The plaintext before TLS: what SMTP, IMAP, POP3 and FTP say until both sides begin the handshake.

Sources: RFC 3207 (SMTP), RFC 9051 6.2.1 (IMAP), RFC 2595 4 (POP3), RFC 4217 4 (FTP). Whatever follows the server's
last plaintext line before the handshake is refused: it would be taken for what was said under TLS (CVE-2021-38371 and
its kin).
"""

from __future__ import annotations

from typing import Callable, NoReturn

from sslsession.probing.failures import ProbeError, printable

LONGEST_LINE = 8192
MOST_LINES = 200


class Wire:
    """Lines over a plain connection. receive returns at most that many bytes, and none at the end."""

    def __init__(self, send: Callable[[bytes], object], receive: Callable[[int], bytes]) -> None:
        self._send = send
        self._receive = receive
        self._waiting = b""

    def say(self, line: str) -> None:
        """Sends a line."""
        self._send(line.encode("ascii") + b"\r\n")

    def line(self) -> str:
        """The next line, without its end. Errors: :class:`ProbeError` at the end, or where it is too long."""
        while b"\n" not in self._waiting:
            piece = self._receive(LONGEST_LINE)
            if not piece:
                raise ProbeError("the server closed the connection before TLS began")
            self._waiting += piece
            if len(self._waiting) > LONGEST_LINE and b"\n" not in self._waiting:
                raise ProbeError("the server's answer before TLS is no line of text")
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line.decode("utf-8", errors="replace").rstrip("\r")

    def until(self, is_last: Callable[[str], bool]) -> list[str]:
        """The lines up to the one that ends the answer. Errors: as :meth:`line`."""
        lines: list[str] = []
        while not lines or not is_last(lines[-1]):
            if len(lines) == MOST_LINES:
                raise ProbeError("the server's answer before TLS does not end")
            lines.append(self.line())
        return lines

    def finish(self) -> None:
        """Errors: :class:`ProbeError` where the server said more than it was asked."""
        if self._waiting:
            raise ProbeError(
                "the server sent plaintext after it agreed to begin TLS, which must not be believed"
            )


def _refused(command: str, line: str) -> NoReturn:
    raise ProbeError(f"the server does not begin TLS: to {command} it said {printable(line)[:120]!r}")


def _is_last_reply(line: str) -> bool:
    """Whether a line ends a reply of SMTP or FTP: three digits, and no hyphen behind them."""
    return line[:3].isdigit() and line[3:4] in ("", " ")


def _expect(wire: Wire, code: str, command: str) -> list[str]:
    lines = wire.until(_is_last_reply)
    if not lines[-1].startswith(code):
        _refused(command, lines[-1])
    return lines


def smtp(wire: Wire) -> None:
    """RFC 3207."""
    _expect(wire, "220", "the connection")
    wire.say("EHLO localhost")
    offered = [line[4:].strip().upper() for line in _expect(wire, "250", "EHLO")]
    if "STARTTLS" not in offered:
        raise ProbeError("the server does not offer STARTTLS")
    wire.say("STARTTLS")
    _expect(wire, "220", "STARTTLS")


def imap(wire: Wire) -> None:
    """RFC 9051 6.2.1."""
    greeting = wire.line()
    if not greeting.upper().startswith(("* OK", "* PREAUTH")):
        _refused("the connection", greeting)
    wire.say("a STARTTLS")
    answer = wire.until(lambda line: line.startswith("a "))[-1]
    if not answer.upper().startswith("A OK"):
        _refused("STARTTLS", answer)


def pop3(wire: Wire) -> None:
    """RFC 2595 4."""
    for command in ("", "STLS"):
        if command:
            wire.say(command)
        answer = wire.line()
        if not answer.startswith("+OK"):
            _refused(command or "the connection", answer)


def ftp(wire: Wire) -> None:
    """RFC 4217 4."""
    _expect(wire, "220", "the connection")
    wire.say("AUTH TLS")
    _expect(wire, "234", "AUTH TLS")


PROTOCOLS: dict[str, Callable[[Wire], None]] = {"smtp": smtp, "imap": imap, "pop3": pop3, "ftp": ftp}
DEFAULT_PORTS = {"smtp": 25, "imap": 143, "pop3": 110, "ftp": 21}
QUESTIONS = {"smtp": b"EHLO localhost\r\n", "imap": b"b NOOP\r\n", "pop3": b"CAPA\r\n", "ftp": b"NOOP\r\n"}
"""What makes a server answer once TLS is up; the tickets come before the answer."""
