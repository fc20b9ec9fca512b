"""What a session was earned under: the settings of its connection that decide whom it trusts and what it allows.

The policy is read from the ``SSL *`` at the start of the handshake, not from the context of the moment: a context
may be made strict between a lax handshake and the ticket that follows it.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import Any, NamedTuple

from sslsession._libssl import ffi


class Policy(NamedTuple):
    """The policy of one handshake. Two of equal ``digest`` let the same peers in."""

    server: bool
    """Whether this side is the server."""
    verify_mode: ssl.VerifyMode
    verify_flags: int
    """``X509_V_FLAG_*`` (X509_VERIFY_PARAM_get_flags)."""
    check_hostname: bool | None
    """Whether the certificate's name is checked; None where OpenSSL cannot say (before 3.0)."""
    host_flags: int
    """``X509_CHECK_FLAG_*`` (X509_VERIFY_PARAM_get_hostflags)."""
    depth: int
    security_level: int
    """0 to 5 (SSL_get_security_level)."""
    minimum_version: int
    """Wire version, 0 for the lowest there is (SSL_get_min_proto_version)."""
    maximum_version: int
    options: int
    """``SSL_OP_*`` (SSL_get_options)."""
    ciphers: bytes
    """SHA-256 of the offered suites' numbers."""
    certificate: bytes | None
    """SHA-256 of this side's own certificate; where it has several, of the SHA-256 of each."""
    unseen: int = 0
    """Stands for the ALPN protocols and groups that were set on an attached context; 0 where none were seen set."""
    server_name: str | None = None
    alpn: str | None = None

    @property
    def verifies(self) -> bool:
        """Whether the peer's certificate was asked for and had to hold."""
        return self.verify_mode != ssl.CERT_NONE

    @property
    def digest(self) -> str:
        """SHA-256 over all fields, in hexadecimal; the same in every process."""
        values = [int(value) if isinstance(value, ssl.VerifyMode) else value for value in self]
        return hashlib.sha256(repr(values).encode()).hexdigest()

    def named(self, server_name: str | None, alpn: str | None) -> Policy:
        """The same policy for a connection of this name and protocol."""
        return self._replace(server_name=server_name, alpn=alpn)


def from_native(native: Any) -> Policy:
    """The policy of an ``sslsession_policy``."""
    return Policy(
        server=bool(native.server),
        verify_mode=ssl.VerifyMode((native.verify_mode & 1) + (native.verify_mode >> 1 & 1)),
        verify_flags=native.verify_flags,
        check_hostname=None if native.name_checked < 0 else bool(native.name_checked),
        host_flags=native.host_flags,
        depth=native.depth,
        security_level=native.security_level,
        minimum_version=native.min_version,
        maximum_version=native.max_version,
        options=native.options,
        ciphers=bytes(ffi.buffer(native.ciphers)),
        certificate=bytes(ffi.buffer(native.certificate)) if native.has_certificate else None,
        unseen=native.unseen,
    )
