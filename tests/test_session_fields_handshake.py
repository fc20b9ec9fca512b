"""Fields that the handshake alone tells, against the bytes of its hellos: groups, schemes, encrypt-then-MAC, sizes."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.hellos import ENCRYPT_THEN_MAC, SIGNATURE_ALGORITHMS, SUPPORTED_GROUPS, hellos
from helpers.peers import EchoServer, Pair, client_context, connect, server_context
from helpers.programs import s_client
from helpers.sessions import context_handle, offering, session_of, take
from sslsession import Session, SessionHooks
from sslsession._libssl import features, ffi, lib

pytestmark = pytest.mark.binding
SET_GROUPS_LIST = 92
NO_ENCRYPT_THEN_MAC = 1 << 19
CBC_SUITE = "ECDHE-ECDSA-AES128-SHA256"
FFDHE2048 = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


@pytest.fixture(scope="module")
def rsa_identity(ca: Authority) -> Identity:
    return ca.issue("localhost", rsa=True)


def set_groups(ctx: ssl.SSLContext, names: str) -> None:
    """Make `ctx` propose or accept these groups; skip where this OpenSSL has none of that name."""
    if not lib.SSL_CTX_ctrl(context_handle(ctx), SET_GROUPS_LIST, 0, ffi.from_buffer(names.encode() + b"\0")):
        lib.ERR_clear_error()
        pytest.skip(f"this OpenSSL has no group {names}")


class TestWhatThePeerOffers:
    def test_groups_and_schemes_are_those_of_the_client_hello(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        pair = Pair(client_context(ca, version=tls_version), server_context(server_identity))
        said, _ = hellos(pair)
        session = session_of(pair.server)
        assert session.ecc_curves == said.numbers(SUPPORTED_GROUPS)
        assert session.signature_algorithms == said.numbers(SIGNATURE_ALGORITHMS)
        assert session.ffdhe_groups == [
            each for each in said.numbers(SUPPORTED_GROUPS) if 0x100 <= each < 0x200
        ]
        assert "unknown" not in {code.name for code in (*session.ecc_curves, *session.signature_algorithms)}

    def test_in_the_clients_order(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        client = client_context(ca, version=tls_version)
        set_groups(client, "P-384:X25519:P-256")
        pair = connect(client, server_context(server_identity))
        assert [code.name for code in session_of(pair.server).ecc_curves] == [
            "secp384r1",
            "x25519",
            "secp256r1",
        ]

    def test_a_client_learns_none(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        session = take(client_context(ca, version=tls_version), server_context(server_identity))
        assert session.ecc_curves == session.ffdhe_groups == session.signature_algorithms == []

    def test_schemes_come_with_a_certificate_request(
        self, ca: Authority, server_identity: Identity, client_identity: Identity, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version, identity=client_identity)
        pair = connect(client, server_context(server_identity, client_ca=ca))
        schemes = session_of(pair.client).signature_algorithms
        assert {"ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256"} <= {code.name for code in schemes}


class TestCurve:
    @pytest.mark.parametrize(
        ("group", "name"),
        [
            ("X25519", "x25519"),
            ("P-256", "secp256r1"),
            ("P-521", "secp521r1"),
            ("X448", "x448"),
            ("ffdhe2048", "ffdhe2048"),
            ("ffdhe3072", "ffdhe3072"),
            ("X25519MLKEM768", "X25519MLKEM768"),
        ],
    )
    def test_the_group_of_a_tls13_handshake(
        self, ca: Authority, server_identity: Identity, group: str, name: str
    ) -> None:
        client, server = client_context(ca, version="1.3"), server_context(server_identity)
        set_groups(client, group)
        set_groups(server, group)
        pair = connect(client, server)
        for side in (pair.client, pair.server):
            session = session_of(side)
            assert session.curve is not None
            assert session.curve.name == name
            assert Session.from_bytes(session.to_bytes()).curve == session.curve
            if features["SSL_new_session_ticket"]:
                assert Session.from_der(session.to_der()).curve == session.curve

    @pytest.mark.parametrize(
        ("group", "name"), [("P-256", "secp256r1"), ("P-384", "secp384r1"), ("X25519", "x25519")]
    )
    def test_the_curve_of_a_tls12_handshake(
        self, ca: Authority, rsa_identity: Identity, group: str, name: str
    ) -> None:
        client = client_context(ca, version="1.2")
        set_groups(client, group)
        pair = connect(client, server_context(rsa_identity))
        for side in (pair.client, pair.server):
            curve = session_of(side).curve
            assert curve is not None
            assert curve.name == name

    def test_rsa_key_exchange_has_none(self, ca: Authority, rsa_identity: Identity) -> None:
        suite = "AES128-GCM-SHA256"
        pair = connect(
            client_context(ca, version="1.2", ciphers=suite), server_context(rsa_identity, ciphers=suite)
        )
        for side in (pair.client, pair.server):
            session = session_of(side)
            assert session.cipher_spec is not None
            assert session.cipher_spec.key_exchange == "KxRSA"
            assert session.curve is None
            assert Session.from_der(session.to_der()).curve is None

    @pytest.mark.skipif(
        ssl.OPENSSL_VERSION_INFO < (3, 0), reason="EVP_PKEY_get_group_name came with OpenSSL 3.0"
    )
    def test_a_known_finite_field_is_a_group_too(
        self, ca: Authority, rsa_identity: Identity, tmp_path: Path
    ) -> None:
        """Of a TLS 1.2 server OpenSSL forgets the key, and with it the group."""
        suite = "DHE-RSA-AES128-GCM-SHA256"
        server = server_context(rsa_identity, ciphers=suite)
        (tmp_path / "dh").write_text(FFDHE2048)
        server.load_dh_params(str(tmp_path / "dh"))
        pair = connect(client_context(ca, version="1.2", ciphers=suite), server)
        session = session_of(pair.client)
        assert session.curve is not None
        assert session.curve.name == "ffdhe2048"
        assert Session.from_bytes(session.to_bytes()).curve == 0x0100
        assert session_of(pair.server).curve is None


class TestEncryptThenMac:
    @pytest.fixture
    def contexts(self, ca: Authority, server_identity: Identity) -> Any:
        client = client_context(ca, version="1.2", ciphers=CBC_SUITE)
        server = server_context(server_identity, ciphers=CBC_SUITE)
        with SessionHooks(client, new=lambda conn, session: None):
            with SessionHooks(server, new=lambda conn, session: None):
                yield client, server

    @pytest.mark.parametrize("here", [True, False])
    @pytest.mark.parametrize("there", [True, False])
    def test_it_is_what_the_server_hello_says(self, contexts: Any, here: bool, there: bool) -> None:
        for ctx, wanted in zip(contexts, (here, there)):
            if not wanted:
                ctx.options |= NO_ENCRYPT_THEN_MAC
        pair = Pair(*contexts)
        said, answer = hellos(pair)
        assert (ENCRYPT_THEN_MAC in said.extensions) is here
        assert (ENCRYPT_THEN_MAC in answer.extensions) is (here and there)
        for side in (pair.client, pair.server):
            session = session_of(side)
            assert session.encrypt_then_mac is (here and there)
            assert Session.from_bytes(session.to_bytes()).encrypt_then_mac is (here and there)
            assert Session.from_der(session.to_der()).encrypt_then_mac is None

    def test_a_resumed_connection_says_it_too(self, contexts: Any) -> None:
        pair = connect(*contexts, prepare=offering(take(*contexts)))
        assert pair.client.session_reused
        assert session_of(pair.client).encrypt_then_mac is True
        assert session_of(pair.server).encrypt_then_mac is True

    def test_unknown_where_nobody_watched(self, ca: Authority, server_identity: Identity) -> None:
        client = client_context(ca, version="1.2", ciphers=CBC_SUITE)
        pair = connect(client, server_context(server_identity, ciphers=CBC_SUITE))
        assert session_of(pair.client).encrypt_then_mac is None
        assert session_of(pair.server).encrypt_then_mac is None

    def test_no_matter_for_aead_suites(self, ca: Authority, server_identity: Identity) -> None:
        client = client_context(ca, version="1.2")
        with SessionHooks(client, new=lambda conn, session: None):
            pair = Pair(client, server_context(server_identity))
            said, answer = hellos(pair)
        assert ENCRYPT_THEN_MAC in said.extensions
        assert ENCRYPT_THEN_MAC not in answer.extensions
        assert session_of(pair.client).encrypt_then_mac is False


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096])
def test_max_packet_size_that_a_client_asked_for(
    ca: Authority, server_identity: Identity, tls_version: str, size: int
) -> None:
    seen: list[Session] = []
    server = server_context(server_identity, version=tls_version)
    with EchoServer(server, on_connect=lambda conn: seen.append(session_of(conn))) as echo:
        done = s_client(echo.port, "-maxfraglen", str(size), "-CAfile", ca.pem_path)
        assert done.returncode == 0, done.output
    assert [session.max_packet_size for session in seen] == [size]
    assert Session.from_bytes(seen[0].to_bytes()).max_packet_size == size
    assert Session.from_der(seen[0].to_der()).max_packet_size == size


@pytest.mark.parametrize(
    ("suite", "length"), [("TLS_AES_128_GCM_SHA256", 32), ("TLS_AES_256_GCM_SHA384", 48)]
)
def test_a_tls13_secret_is_as_long_as_the_suites_hash(
    ca: Authority, server_identity: Identity, suite: str, length: int
) -> None:
    seen: list[Session] = []
    with EchoServer(
        server_context(server_identity), on_connect=lambda conn: seen.append(session_of(conn))
    ) as echo:
        s_client(echo.port, "-ciphersuites", suite, "-CAfile", ca.pem_path)
    assert [len(session.master_secret) for session in seen] == [length]
    assert [session.cipher_suite and session.cipher_suite.name for session in seen] == [suite]
