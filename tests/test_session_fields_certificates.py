"""What a session knows of certificates, keys and their verification, on both sides."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import client_context, connect, server_context
from helpers.processes import run
from helpers.programs import require
from helpers.sessions import offering, session_of, take
from sslsession import CertData, PrivateKeyInfo, Session

pytestmark = pytest.mark.binding
NO_ISSUER, SELF_SIGNED, UNTRUSTED_CHAIN = 20, 18, 21


@pytest.fixture(scope="module")
def chained(ca: Authority) -> Identity:
    """A server whose chain is a leaf and an intermediate."""
    return ca.issue("localhost", intermediate=True)


@pytest.fixture(scope="module")
def chained_client(ca: Authority) -> Identity:
    return ca.issue("client.example", client=True, intermediate=True)


def cert_data(session: Session) -> CertData:
    assert session.cert_data is not None
    return session.cert_data


class TestChains:
    def test_the_servers_on_a_client(self, ca: Authority, chained: Identity, tls_version: str) -> None:
        pair = connect(client_context(ca, version=tls_version), server_context(chained))
        session = session_of(pair.client)
        assert session.peer_certificate_chain == list(chained.chain)
        assert session.peer_certificate_chain[0] == pair.client.getpeercert(True)
        assert session.certificate_chain == []
        if hasattr(pair.client, "get_unverified_chain"):
            assert session.peer_certificate_chain == pair.client.get_unverified_chain()
            assert cert_data(session).chain == pair.client.get_verified_chain()

    def test_the_clients_on_a_server_leaf_first(
        self, ca: Authority, chained: Identity, chained_client: Identity, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version, identity=chained_client)
        pair = connect(client, server_context(chained, client_ca=ca))
        here, there = session_of(pair.client), session_of(pair.server)
        assert there.peer_certificate_chain == here.certificate_chain == list(chained_client.chain)
        assert there.peer_certificate_chain[0] == pair.server.getpeercert(True)
        assert there.certificate_chain == here.peer_certificate_chain == list(chained.chain)
        assert cert_data(there).verified
        assert cert_data(there).subject.startswith("CN=client.example")
        assert there.policy is not None
        assert there.policy.verifies

    def test_none_where_the_client_showed_none(
        self, ca: Authority, chained: Identity, tls_version: str
    ) -> None:
        for server in (server_context(chained), server_context(chained, client_ca=ca, require_client=False)):
            session = session_of(connect(client_context(ca, version=tls_version), server).server)
            assert session.peer_certificate_chain == []
            assert session.peer_public_key is None
            assert session.cert_data is None

    def test_a_client_that_has_one_and_was_not_asked(
        self, ca: Authority, chained: Identity, client_identity: Identity, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version, identity=client_identity)
        pair = connect(client, server_context(chained))
        assert session_of(pair.client).certificate_chain == list(client_identity.chain)
        assert session_of(pair.server).peer_certificate_chain == []

    def test_on_a_resumed_server(
        self, ca: Authority, chained: Identity, chained_client: Identity, tls_version: str
    ) -> None:
        """OpenSSL's session keeps the leaf alone, and a ticket holds no more."""
        client = client_context(ca, version=tls_version, identity=chained_client)
        server = server_context(chained, client_ca=ca)
        pair = connect(client, server, prepare=offering(take(client, server)))
        assert pair.server.session_reused
        there = session_of(pair.server)
        assert there.peer_certificate_chain[0] == chained_client.leaf_der
        assert session_of(pair.client).peer_certificate_chain == list(chained.chain)

    def test_the_envelope_keeps_them_and_der_the_leaf(
        self, ca: Authority, chained: Identity, chained_client: Identity, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version, identity=chained_client)
        pair = connect(client, server_context(chained, client_ca=ca))
        for conn, theirs, ours in (
            (pair.client, chained, chained_client),
            (pair.server, chained_client, chained),
        ):
            session = session_of(conn)
            again = Session.from_bytes(session.to_bytes())
            assert again.peer_certificate_chain == list(theirs.chain)
            assert again.certificate_chain == list(ours.chain)
            assert again.cert_data == session.cert_data
            alone = Session.from_der(session.to_der())
            assert alone.peer_certificate_chain == [theirs.leaf_der]
            assert alone.certificate_chain == []
            assert alone.cert_data is None


class TestKeys:
    @pytest.mark.parametrize(
        ("rsa", "info"), [(False, PrivateKeyInfo("EC", 256)), (True, PrivateKeyInfo("RSA", 2048))]
    )
    def test_that_there_is_one_and_its_kind(
        self, ca: Authority, rsa: bool, info: PrivateKeyInfo, tls_version: str
    ) -> None:
        identity = ca.issue("localhost", rsa=rsa)
        pair = connect(client_context(ca, version=tls_version), server_context(identity))
        session = session_of(pair.server)
        assert session.private_key == info
        assert Session.from_bytes(session.to_bytes()).private_key == info
        assert session_of(pair.client).private_key is None
        key = base64.b64decode(identity.key_path.read_text().split("-----")[2])
        windows = {key[at : at + 16] for at in range(len(key) - 15)}
        secret = {window for window in windows if window not in identity.leaf_der}
        assert len(secret) > 20
        stored = session.to_bytes()
        assert not [window for window in secret if window in stored], "never its bytes"

    @pytest.mark.parametrize("rsa", [False, True])
    def test_the_peers_public_key_as_openssl_reads_it(self, ca: Authority, rsa: bool) -> None:
        identity = ca.issue("localhost", rsa=rsa)
        session = take(client_context(ca), server_context(identity))
        pem = run(require("openssl"), "x509", "-in", identity.cert_pem_path, "-noout", "-pubkey")
        text = pem.replace("PUBLIC KEY", "CERTIFICATE")
        assert session.peer_public_key == ssl.PEM_cert_to_DER_cert(text)
        assert Session.from_der(session.to_der()).peer_public_key == session.peer_public_key

    def test_the_peers_public_key_loads(self, ca: Authority, server_identity: Identity) -> None:
        serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
        session = take(client_context(ca), server_context(server_identity))
        assert serialization.load_der_public_key(session.peer_public_key).key_size == 256


class TestVerification:
    def test_verified(self, ca: Authority, chained: Identity, tls_version: str) -> None:
        data = cert_data(take(client_context(ca, version=tls_version), server_context(chained)))
        assert (data.verified, data.verify_result, data.error, data.self_signed) == (True, 0, None, False)
        assert data.chain == [*chained.chain, ca.der]
        assert data.subject.startswith("CN=localhost")
        assert data.subject != data.issuer

    def test_not_asked_for(self, other_ca: Authority, server_identity: Identity, tls_version: str) -> None:
        client = client_context(other_ca, version=tls_version, verify=False)
        session = take(client, server_context(server_identity))
        data = cert_data(session)
        assert not data.verified
        assert data.verify_result == session.verify_result == NO_ISSUER
        assert data.error == "unable to get local issuer certificate"
        assert Session.from_der(session.to_der()).verify_result in (NO_ISSUER, UNTRUSTED_CHAIN)

    def test_not_asked_for_and_yet_right(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version, verify=False)
        data = cert_data(take(client, server_context(server_identity)))
        assert not data.verified
        assert data.verify_result == 0

    def test_self_signed(self, tmp_path: Path, tls_version: str) -> None:
        key, certificate = tmp_path / "key", tmp_path / "pem"
        run(
            *(
                require("openssl"),
                "req",
                "-x509",
                "-nodes",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ),
            *("-subj", "/O=a b/CN=self,signed", "-keyout", key, "-out", certificate),
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        data = cert_data(take(client_context(version=tls_version, verify=False), server))
        assert data.self_signed
        assert data.verify_result == SELF_SIGNED
        assert data.subject == data.issuer == r"CN=self\,signed,O=a b"

    def test_policy(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        server = server_context(server_identity)
        strict = take(client_context(ca, version=tls_version), server).policy
        again = take(client_context(ca, version=tls_version), server).policy
        lax = take(client_context(ca, version=tls_version, verify=False), server).policy
        assert strict is not None
        assert again is not None
        assert lax is not None
        assert strict.digest == again.digest != lax.digest
        assert (strict.verifies, lax.verifies) == (True, False)
        assert (strict.server, strict.server_name) == (False, "localhost")
        assert strict.check_hostname is not False
        assert strict.verify_mode is ssl.CERT_REQUIRED


class TestReusableAs:
    def test_two_of_one_kind(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        first, second = take(client, server), take(client, server)
        assert first.ticket != second.ticket
        assert first.reusable_as(first)
        assert first.reusable_as(second)
        assert second.reusable_as(Session.from_bytes(first.to_bytes()))

    def test_not_of_another_version(self, ca: Authority, server_identity: Identity) -> None:
        server = server_context(server_identity)
        first, second = (take(client_context(ca, version=version), server) for version in ("1.2", "1.3"))
        assert not first.reusable_as(second)
        assert not second.reusable_as(first)

    def test_not_of_another_name(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        assert not take(client, server).reusable_as(take(client, server, "a.example"))

    def test_not_of_another_suite(self, ca: Authority, server_identity: Identity) -> None:
        server = server_context(server_identity)
        first, second = (
            take(client_context(ca, version="1.2", ciphers=suite), server)
            for suite in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384")
        )
        assert not first.reusable_as(second)

    def test_not_of_another_certificate_of_ours(
        self, ca: Authority, server_identity: Identity, client_identity: Identity, tls_version: str
    ) -> None:
        server = server_context(server_identity)
        bare = take(client_context(ca, version=tls_version), server)
        known = take(client_context(ca, version=tls_version, identity=client_identity), server)
        assert not bare.reusable_as(known)

    @pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3, 0), reason="the option came with OpenSSL 3.0")
    def test_not_without_the_extended_master_secret(self, ca: Authority, server_identity: Identity) -> None:
        client, server = client_context(ca, version="1.2"), server_context(server_identity)
        bound = take(client, server)
        client.options |= 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET
        unbound = take(client, server)
        assert bound.extended_master_secret
        assert not unbound.extended_master_secret
        assert not bound.reusable_as(unbound)
        assert not unbound.reusable_as(bound)
