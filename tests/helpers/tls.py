"""`TLSConnection`s joined by memory: what one has to send the other receives."""

from __future__ import annotations

import hashlib
import ssl
from typing import Any

from helpers.certs import Identity
from helpers.contexts import client_context
from sslsession import PinCertificateSHA256, TLSConnection


def carry(client: TLSConnection, server: TLSConnection) -> tuple[bytes, bytes]:
    """Carries bytes both ways until there are none; the plaintext that each got."""
    to_client, to_server = bytearray(), bytearray()
    while True:
        there, back = client.data_to_send(), server.data_to_send()
        if not there and not back:
            return bytes(to_client), bytes(to_server)
        if there:
            to_server += server.receive_data(there)
        if back:
            to_client += client.receive_data(back)


def attempt(client: TLSConnection, server: TLSConnection) -> None:
    """A handshake, which may fail."""
    client.connect()
    server.accept()
    carry(client, server)


def join(client: TLSConnection, server: TLSConnection) -> None:
    """A handshake, and a word each way, with which a TLS 1.3 client reads its tickets."""
    attempt(client, server)
    assert client.is_connected
    assert server.is_connected
    assert exchange(client, server) == (b"pong", b"ping")


def exchange(client: TLSConnection, server: TLSConnection) -> tuple[bytes, bytes]:
    """A word each way; what client and server got."""
    client.send(b"ping")
    _, there = carry(client, server)
    server.send(b"pong")
    back, _ = carry(client, server)
    return back, there


def part(client: TLSConnection, server: TLSConnection) -> None:
    """Both say close_notify."""
    client.close()
    server.receive_data(client.data_to_send())
    server.close()
    client.receive_data(server.data_to_send())


def serving(identity: Identity, **settings: Any) -> TLSConnection:
    """A server's connection with this certificate; `another()` for each client."""
    files = identity.cert_pem_path, identity.key_path
    return TLSConnection(server_side=True, certificate=files, **settings)


def pin_of(identity: Identity) -> PinCertificateSHA256:
    """The pin of its certificate."""
    return PinCertificateSHA256(hashlib.sha256(identity.leaf_der).digest())


WRONG_PIN = PinCertificateSHA256(bytes(32))
"""Of no certificate."""


def resumed(client: TLSConnection, server: TLSConnection) -> bool:
    """Connects, says whether both sides resumed, and closes."""
    join(client, server)
    assert client.connection is not None
    assert server.connection is not None
    reused = bool(client.connection.session_reused)
    assert reused == bool(server.connection.session_reused)
    part(client, server)
    return reused


def same_trust(context: ssl.SSLContext) -> ssl.SSLContext:
    """Another client's context of the same authorities and version, "1.2" or "1.3" alone."""
    made = client_context(version="1.2" if context.maximum_version == ssl.TLSVersion.TLSv1_2 else "1.3")
    made.load_verify_locations(cadata=b"".join(context.get_ca_certs(True)))
    return made
