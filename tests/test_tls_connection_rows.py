"""Rows of the table "Sming's session as TLSConnection" in full: kinds of pins, certificates, cache sizes."""

from __future__ import annotations

import hashlib
import ssl

import pytest

from helpers.contexts import client_context, server_context
from helpers.tls import attempt, carry, exchange, join, part, same_trust, serving
from sslsession import (
    CertificateRefused,
    PeerCertificate,
    PinCertificateSHA1,
    PinCertificateSHA256,
    PinPublicKeySHA256,
    TLSConnection,
)

KINDS = {
    "certificate SHA-256": lambda peer: PinCertificateSHA256(hashlib.sha256(peer.der).hexdigest()),
    "certificate SHA-1": lambda peer: PinCertificateSHA1(
        hashlib.sha1(peer.der, usedforsecurity=False).hexdigest()
    ),
    "public key SHA-256": lambda peer: PinPublicKeySHA256(hashlib.sha256(peer.public_key).digest()),
    "callable": lambda peer: lambda certificate: certificate.der == peer.der,
}


@pytest.fixture
def server(server_identity):
    return serving(server_identity)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", [True, False])
def test_validators_of_each_kind_accept_their_peer_and_refuse_another(
    ca, client, server, server_identity, kind, later
):
    """A server of the same name and authority is another one all the same; what was accepted is resumed."""
    settings = {"verify_later": True} if later else {"context": client}
    pin = KINDS[kind](PeerCertificate(server_identity.leaf_der))
    conn = TLSConnection("localhost", validators=[pin], **settings)
    for resumed in (False, True):
        join(conn, other := server.another())
        assert conn.connection.session_reused is resumed
        assert conn.validate_certificate()
        part(conn, other)
    with pytest.raises(CertificateRefused):
        attempt(conn, serving(ca.issue("localhost")))


def test_key_cert_of_a_client(ca, server_identity, client_identity):
    context = server_context(server_identity, client_ca=ca)
    files = client_identity.cert_pem_path, client_identity.key_path
    settings = {"verify_later": True, "validators": [lambda certificate: True]}
    server = TLSConnection(server_side=True, context=context, client_auth=True)
    join(TLSConnection("localhost", certificate=files, **settings), server)
    assert server.connection.getpeercert(True) == client_identity.leaf_der
    assert server.validate_certificate()
    with pytest.raises(ssl.SSLError):
        attempt(TLSConnection("localhost", **settings), server.another())


def test_validate_certificate_without_validators_is_what_the_context_found(client, lax, server):
    for conn, verified in (
        (TLSConnection("localhost", context=client), True),
        (TLSConnection("localhost", context=lax, insecure=True), False),
    ):
        join(conn, other := server.another())
        assert conn.validate_certificate() is verified
        assert other.validate_certificate() is False  # its client showed none
        part(conn, other)


@pytest.mark.parametrize("size", [1, 2])
def test_cache_size_of_a_client_is_how_many_connections_at_once_resume(client13, server, size):
    first = TLSConnection("localhost", context=same_trust(client13), cache_size=size)
    join(first, other := server.another())
    part(first, other)
    conns = [first.another() for _ in range(3)]
    hellos = [
        conn.connect() and conn.data_to_send() for conn in conns
    ]  # which offer, before more tickets come
    resumed = []
    for conn, hello in zip(conns, hellos):
        other = server.another()
        other.receive_data(hello)
        carry(conn, other)
        resumed.append(conn.connection.session_reused)
    assert sorted(resumed, reverse=True) == [each < size for each in range(3)]


def test_verify_later_hands_over_nothing_before_its_validators(server):
    order = []

    def judge(certificate):
        order.append("validator")
        return True

    conn = TLSConnection("localhost", verify_later=True, validators=[judge])
    conn.connect()
    server.accept()
    while not server.is_connected:
        server.receive_data(conn.data_to_send())
        if not server.is_connected:
            order.append(conn.receive_data(server.data_to_send()))
    server.send(b"words")
    order.append(carry(conn, server)[0])
    assert [each for each in order if each] == ["validator", b"words"]
    assert exchange(conn, server) == (b"pong", b"ping")


def test_a_context_that_stopped_verifying_is_refused_at_the_next_connection(ca, server, server_identity):
    context = client_context(ca)
    conn = TLSConnection("localhost", context=context)
    join(conn, other := server.another())
    part(conn, other)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ValueError, match="verifies nothing"):
        conn.connect()
