"""What can go wrong, as exceptions: each says what happened, why, and what to do.

They also inherit the built-in exception that a caller would catch without knowing this library.
"""

from __future__ import annotations

import ssl


class SessionError(Exception):
    """The root of everything that sslsession raises by itself."""


class UnsupportedInterpreter(SessionError, RuntimeError):
    """This interpreter's OpenSSL cannot be reached or proved; ``sslsession doctor`` prints the same and more."""


class UnsupportedError(SessionError, NotImplementedError):
    """The OpenSSL in use, or the protocol version of the connection, has no such operation."""


class SessionMismatch(SessionError, ValueError):
    """The session was earned for another name, or under a trust that does not hold here."""


class SessionExpired(SessionError, ValueError):
    """The session is past its lifetime, or its TLS 1.3 ticket was used already, or a fatal alert withdrew it."""


class InvalidSession(SessionError, ValueError):
    """Bytes that are no session, or a session that cannot be resumed."""


class StoreError(SessionError, OSError):
    """A store could not do what was asked of it."""


class InsecureStoreError(StoreError, ValueError):
    """A store that others could write to was to be used without a secret; who writes to it could plant sessions."""


class KeyFileError(SessionError, ValueError):
    """A ticket key file that is cut, damaged or no secret, or keys that such a file cannot have."""


class CertificateRefused(SessionError, ssl.SSLCertVerificationError):
    """No validator of a ``TLSConnection`` accepted the peer's certificate, or the peer showed none."""


class FragmentTooLarge(SessionError, ssl.SSLError):
    """The peer of a ``TLSConnection`` sent more in one record than its ``max_buffer_size`` allows."""
