"""Whom to probe and whom to trust."""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from sslsession.probing.failures import ProbeError, printable
from sslsession.probing.starttls import DEFAULT_PORTS

HTTPS = 443
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True)
class Target:
    """A server: where it is, and the name that it is to prove."""

    host: str
    port: int
    server_name: str
    """What SNI says and the certificate is checked for; an IP address is checked and not sent (RFC 6066 3)."""
    starttls: str | None = None
    """The protocol whose command begins TLS: a key of ``starttls.PROTOCOLS``; None where TLS is spoken at once."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return printable(f"{host}:{self.port}")


def parse_target(text: str, *, server_name: str | None = None, starttls: str | None = None) -> Target:
    """``HOST``, ``HOST:PORT``, ``[V6]:PORT`` or a bare IPv6 address; the port's default is 443, or the protocol's.

    Errors: :class:`ProbeError` for what is none of these.
    """
    default = DEFAULT_PORTS[starttls] if starttls else HTTPS
    host, colon, port = text, "", ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not closed or colon not in ("", ":"):
            raise ProbeError(
                f"{printable(text)!r} is no HOST[:PORT]: an IPv6 address with a port is [ADDRESS]:PORT"
            )
    elif text.count(":") == 1:
        host, colon, port = text.partition(":")
    if not text.isprintable() or " " in text:
        raise ProbeError(f"{printable(text)!r} is no HOST[:PORT]")
    if not host or (colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise ProbeError(f"{printable(text)!r} is no HOST[:PORT]: a port is a number from 1 to 65535")
    return Target(host, int(port) if colon else default, server_name or host, starttls)


@dataclass(frozen=True)
class Trust:
    """Which certificates are believed."""

    ca: Path | None = None
    """A PEM file or a directory of hashed ones; None: the system's CAs."""
    insecure: bool = False
    """Whether nothing is verified at all."""

    def context(self, version: ssl.TLSVersion, *, tickets: bool = True) -> ssl.SSLContext:
        """A client's context for one TLS version. Errors: :class:`ProbeError` where the CA cannot be read."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            ctx.check_hostname = False
            ctx.verify_mode = ssl.CERT_NONE
        elif self.ca is None:
            ctx.load_default_certs()
        else:
            self._load(ctx, self.ca)
        ctx.minimum_version = ctx.maximum_version = version
        if not tickets:
            ctx.options |= ssl.OP_NO_TICKET
        return ctx

    def _load(self, ctx: ssl.SSLContext, ca: Path) -> None:
        try:
            if stat.S_ISDIR(ca.stat().st_mode):
                ctx.load_verify_locations(capath=str(ca))
            else:
                ctx.load_verify_locations(cafile=str(ca))
        except ssl.SSLError as error:
            raise ProbeError(f"{printable(str(ca))} holds no CA certificate in PEM") from error
        except OSError as error:
            raise ProbeError(f"{printable(str(ca))} cannot be read: {error.strerror}") from error
