"""Why a server could not be probed, each as one sentence that says what to do."""

from __future__ import annotations

import os
import socket
import ssl

from sslsession.errors import SessionError

NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)


class ProbeError(SessionError, OSError):
    """The server cannot be probed; ``str()`` is one line for people."""


class NotSpoken(ProbeError):
    """The server ended the handshake in a way that one without this TLS version would."""


def printable(text: str) -> str:
    """A peer's text on one line, with nothing in it that a terminal would obey."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text.strip()
    )


def of_lookup(host: str, error: OSError | ValueError) -> ProbeError:
    """The name has no address."""
    told = error.strerror if isinstance(error, OSError) else None
    return ProbeError(f"{printable(host)} has no address: {told or 'it is no host name'}")


def of_connecting(where: str, timeout: float, error: OSError) -> ProbeError:
    """No TCP connection came about."""
    if isinstance(error, socket.timeout):
        return ProbeError(f"{where} did not answer within {timeout:g} s")
    if isinstance(error, ConnectionRefusedError):
        return ProbeError(f"{where} refused the connection")
    return ProbeError(f"{where} cannot be reached: {told(error)}")


def of_handshake(where: str, timeout: float, error: OSError) -> ProbeError:
    """TCP came about and TLS did not; :class:`NotSpoken` where another TLS version may do better."""
    if isinstance(error, socket.timeout):
        return ProbeError(
            f"{where} took the connection and did not answer the TLS handshake within {timeout:g} s: "
            "it may not speak TLS, or needs --starttls"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProbeError(
            f"the certificate of {where} fails: {error.verify_message.rstrip('.')}. "
            "--ca names a CA to trust, --servername another name to expect, --insecure verifies nothing"
        )
    if isinstance(error, ssl.SSLError) and error.reason in NOT_TLS:
        return ProbeError(f"{where} is not a TLS server, or needs --starttls: its answer is not TLS")
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        return NotSpoken("the server closed the connection during the handshake")
    return NotSpoken(told(error))


def told(error: OSError) -> str:
    """The system's or OpenSSL's own words, without their numbers."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return printable(str(error)) or type(error).__name__
