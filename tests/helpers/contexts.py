"""`ssl` contexts for tests: explicit about all that a session depends on."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from helpers.certs import Authority, Identity

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(
    ca: Authority | None = None,
    *,
    version: str | None = None,
    verify: bool = True,
    check_hostname: bool | None = None,
    identity: Identity | None = None,
    ciphers: str | None = None,
    alpn: Iterable[str] = (),
    tickets: bool = True,
    cls: type[ssl.SSLContext] = ssl.SSLContext,
) -> ssl.SSLContext:
    """A client's context that trusts `ca` and nothing else.

    `version` is "1.2", "1.3" or None for both. `check_hostname` follows `verify`
    unless given. `identity` is the client certificate. `ciphers` names TLS 1.2
    suites. `tickets=False` sets OP_NO_TICKET. `cls` is the class to make.
    """
    ctx = cls(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = verify if check_hostname is None else check_hostname
    ctx.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if ca is not None:
        ca.trust(ctx)
    _configure(ctx, version, identity, ciphers, alpn, tickets)
    return ctx


def server_context(
    identity: Identity,
    *,
    version: str | None = None,
    tickets: int | None = None,
    session_tickets: bool = True,
    client_ca: Authority | None = None,
    require_client: bool = True,
    ciphers: str | None = None,
    alpn: Iterable[str] = (),
    cls: type[ssl.SSLContext] = ssl.SSLContext,
) -> ssl.SSLContext:
    """A server's context that presents `identity`.

    `version` is "1.2", "1.3" or None for both. `tickets` is how many a TLS 1.3
    handshake sends (`num_tickets`; None: OpenSSL's 2). `session_tickets=False` sets
    OP_NO_TICKET: TLS 1.2 resumes by id, TLS 1.3 tickets are stateful. With
    `client_ca` clients are asked for a certificate, and must have one unless
    `require_client` is False.
    """
    ctx = cls(ssl.PROTOCOL_TLS_SERVER)
    if client_ca is not None:
        client_ca.trust(ctx)
        ctx.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    if tickets is not None:
        ctx.num_tickets = tickets
    _configure(ctx, version, identity, ciphers, alpn, session_tickets)
    return ctx


def _configure(
    ctx: ssl.SSLContext,
    version: str | None,
    identity: Identity | None,
    ciphers: str | None,
    alpn: Iterable[str],
    session_tickets: bool,
) -> None:
    ctx.minimum_version = VERSIONS[version or "1.2"]
    ctx.maximum_version = VERSIONS[version or "1.3"]
    if identity is not None:
        identity.load(ctx)
    if ciphers is not None:
        ctx.set_ciphers(ciphers)
    if protocols := list(alpn):
        ctx.set_alpn_protocols(protocols)
    if not session_tickets:
        ctx.options |= ssl.OP_NO_TICKET
