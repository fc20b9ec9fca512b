"""Every field, on both sides, against what `ssl` itself says: live, in the envelope, in DER alone."""

from __future__ import annotations

import re
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import Pair, client_context, connect, server_context
from helpers.sessions import (
    FIELDS,
    MAX_FRAGMENT_TAG,
    PIKE_FIELDS,
    offering,
    session_of,
    take,
    values,
    with_integer,
)
from sslsession import CipherSpec, Session

pytestmark = pytest.mark.binding
LIVE_NONE = {"private_key", "ecc_point_format", "policy", "cert_data"}
LIVE_EMPTY = {"certificate_chain", "signature_algorithms", "ecc_curves", "ffdhe_groups"}
CLIENT_SUITES = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"


@pytest.fixture
def pair(ca: Authority, server_identity: Identity, tls_version: str) -> Any:
    client = client_context(ca, version=tls_version, ciphers=CLIENT_SUITES, alpn=["h2", "http/1.1"])
    joined = connect(client, server_context(server_identity, alpn=["http/1.1"]))
    yield joined
    joined.close()


@pytest.fixture
def session(pair: Pair) -> Session:
    """The client's."""
    return session_of(pair.client)


@pytest.fixture(params=["client", "server"])
def side(request: pytest.FixtureRequest, pair: Pair) -> ssl.SSLObject:
    """Each side of the pair in turn."""
    conn: ssl.SSLObject = getattr(pair, request.param)
    return conn


def plain(name: str | None) -> str | None:
    """A cipher's name without what OpenSSL's short and long names of it differ in."""
    return name.lower().replace("id-", "").replace("-", "") if name else None


class TestAgainstSsl:
    def test_version_and_suite(self, side: ssl.SSLObject) -> None:
        session = session_of(side)
        cipher = side.cipher()
        assert cipher is not None
        assert session.version.name.replace("_", ".") == side.version()
        assert session.cipher_spec is not None
        assert (session.cipher_spec.name, session.cipher_spec.protocol, session.cipher_spec.bits) == cipher

    def test_the_suite_as_the_context_describes_it(self, side: ssl.SSLObject) -> None:
        session = session_of(side)
        assert session.cipher_spec is not None
        (known,) = [each for each in side.context.get_ciphers() if each["name"] == session.cipher_spec.name]
        facts: dict[str, Any] = {**known}
        spec = session.cipher_spec
        assert session.cipher_suite == spec.id == facts["id"] & 0xFFFF
        assert session.cipher_suite is not None
        assert session.cipher_suite.name == spec.standard_name
        assert spec.bits == facts["strength_bits"]
        if "symmetric" in facts:
            assert spec.aead == facts["aead"]
            assert plain(spec.cipher) == plain(facts["symmetric"])
            assert (spec.digest or "").lower() == (facts["digest"] or "").lower()
            kinds = {
                "kx-ecdhe": "KxECDHE",
                "kx-any": "KxANY",
                "auth-ecdsa": "AuthECDSA",
                "auth-any": "AuthANY",
            }
            assert spec.key_exchange == kinds[facts["kea"]]
            assert spec.authentication == kinds[facts["auth"]]

    def test_the_suite_is_among_the_shared_ones(self, pair: Pair) -> None:
        session = session_of(pair.server)
        assert session.cipher_spec is not None
        shared = pair.server.shared_ciphers()
        assert shared is not None
        assert session.cipher_spec.name in [name for name, _, _ in shared]

    def test_what_ssls_own_session_shows(self, pair: Pair, session: Session) -> None:
        own = pair.client.session
        assert own is not None
        assert bytes(own.id) == session.id == session.identity
        assert own.time == session.time
        assert own.timeout == session.timeout
        assert own.ticket_lifetime_hint == session.lifetime_hint
        assert own.has_ticket is bool(session.ticket)

    def test_alpn(self, pair: Pair, side: ssl.SSLObject) -> None:
        assert session_of(side).alpn == side.selected_alpn_protocol() == "http/1.1"

    def test_server_name(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        server = server_context(server_identity)
        seen: list[str] = []
        server.sni_callback = lambda conn, name, ctx: seen.append(name)
        pair = connect(client_context(ca, version=tls_version), server, "a.example")
        assert session_of(pair.client).server_name == pair.client.server_hostname == "a.example"
        assert [session_of(pair.server).server_name] == seen == ["a.example"]

    def test_server_name_that_nobody_sent(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        server = server_context(server_identity)
        client = client_context(ca, version=tls_version, check_hostname=False)
        pair = connect(client, server, None)
        assert session_of(pair.client).server_name is None
        assert session_of(pair.server).server_name is None
        pair = connect(client, server, "127.0.0.1")
        assert session_of(pair.client).server_name == "127.0.0.1"
        assert session_of(pair.server).server_name is None, "an address is no SNI (RFC 6066 3)"

    def test_verify_result_and_id_context(self, pair: Pair) -> None:
        assert session_of(pair.client).verify_result == 0
        assert session_of(pair.server).id_context.rstrip(b"\0") == b"Python"

    def test_time_is_now(self, side: ssl.SSLObject) -> None:
        session, now = session_of(side), time.time()
        assert now - 60 < session.time <= now
        assert session.time <= session.last_activity <= now

    def test_both_sides_have_the_same_secret(self, pair: Pair, session: Session) -> None:
        there = session_of(pair.server)
        assert session.master_secret == there.master_secret
        assert len(session.master_secret) == 48, "SHA-384 in TLS 1.3, 48 always before it"
        assert session.curve == there.curve

    def test_master_secret_against_the_key_log(
        self, ca: Authority, server_identity: Identity, tmp_path: Path
    ) -> None:
        client = client_context(ca, version="1.2")
        if not hasattr(client, "keylog_filename"):
            pytest.skip("this interpreter writes no key log")
        client.keylog_filename = str(tmp_path / "keys")
        session = take(client, server_context(server_identity))
        logged = re.search(r"^CLIENT_RANDOM \w+ (\w+)$", (tmp_path / "keys").read_text(), re.MULTILINE)
        assert logged is not None
        assert session.master_secret.hex() == logged[1]


class TestConstants:
    def test_what_openssl_has_no_more_or_never_had(self, side: ssl.SSLObject) -> None:
        session = session_of(side)
        assert side.compression() is None
        assert session.compression_algorithm == 0
        assert session.heartbeat_mode == 0
        assert session.truncated_hmac is False
        assert session.max_early_data == 0
        assert session.ticket_appdata is None
        assert session.max_packet_size == 16_384
        assert session.ecc_point_format == 0
        assert session.encrypt_then_mac is False, "an AEAD suite has no MAC to encrypt before"
        assert session.extended_master_secret is True

    def test_single_use(self, session: Session, tls_version: str) -> None:
        assert session.single_use is (tls_version == "1.3")


class TestTickets:
    def test_on_clients(self, session: Session) -> None:
        assert session.ticket
        assert session.lifetime_hint == 7_200
        assert session.ticket_expiry_time == session.expires_at == session.time + 7_200
        assert len(session.id) == 32
        assert session.is_resumable

    def test_on_servers(self, pair: Pair, tls_version: str) -> None:
        session = session_of(pair.server)
        assert (session.ticket, session.lifetime_hint, session.ticket_expiry_time) == (None, None, None)
        assert len(session.id) == (0 if tls_version == "1.2" else 32)

    def test_without_them_both_sides_have_the_id(self, ca: Authority, server_identity: Identity) -> None:
        server = server_context(server_identity, session_tickets=False)
        pair = connect(client_context(ca, version="1.2"), server)
        here, there = session_of(pair.client), session_of(pair.server)
        assert here.id == there.id
        assert len(here.id) == 32
        assert (here.ticket, here.lifetime_hint, here.ticket_expiry_time) == (None, None, None)
        assert here.expires_at == here.time + here.timeout


class TestFormats:
    def test_the_fields_are_those_that_pike_has(self) -> None:
        assert len(PIKE_FIELDS) == 25
        assert all(isinstance(getattr(Session, name), property) for name in FIELDS)

    def test_every_field_survives_the_envelope(self, side: ssl.SSLObject) -> None:
        session = session_of(side)
        again = Session.from_bytes(session.to_bytes())
        assert values(again) == values(session)
        assert values(Session.from_bytes(again.to_bytes())) == values(session)
        assert again.describe(secrets=True) == session.describe(secrets=True)

    def test_der_has_what_openssl_keeps(self, side: ssl.SSLObject) -> None:
        session = session_of(side)
        again = values(Session.from_der(session.to_der()))
        live = values(session)
        assert {name for name in LIVE_NONE if again[name] is not None} == set()
        assert {name for name in LIVE_EMPTY if again[name]} == set()
        exempt = {
            *LIVE_NONE,
            *LIVE_EMPTY,
            "server_name",
            "peer_certificate_chain",
            "last_activity",
            "is_resumable",
        }
        exempt.add("id_context")
        kept = {name: value for name, value in again.items() if name not in exempt}
        assert kept == {name: live[name] for name in kept}
        assert again["peer_certificate_chain"] == live["peer_certificate_chain"][:1]
        assert again["last_activity"] == live["time"]
        assert again["id_context"] == (live["id_context"] if side.server_side else b"")

    def test_der_knows_a_name_that_the_server_took(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        for accepts, name in ((False, None), (True, "localhost")):
            server.sni_callback = (lambda conn, name, ctx: None) if accepts else None
            pair = connect(client, server)
            for conn in (pair.client, pair.server):
                session = session_of(conn)
                assert session.server_name == "localhost"
                assert Session.from_der(session.to_der()).server_name == name

    def test_der_has_the_flag_of_the_extended_master_secret(
        self, ca: Authority, server_identity: Identity
    ) -> None:
        without = client_context(ca, version="1.2")
        without.options |= 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET, OpenSSL 3.0
        expected = ssl.OPENSSL_VERSION_INFO < (3, 0)
        for ctx, known in ((client_context(ca, version="1.2"), True), (without, expected)):
            pair = connect(ctx, server_context(server_identity))
            for conn in (pair.client, pair.server):
                session = session_of(conn)
                assert session.extended_master_secret is known
                assert Session.from_der(session.to_der()).extended_master_secret is known

    def test_describe_names_every_field(self, session: Session) -> None:
        described = session.describe()
        for name in FIELDS:
            if name != "identity":
                assert re.search(rf"^{name}: ", described, re.MULTILINE), name


@pytest.mark.parametrize(
    ("mode", "size"), [(0, 16_384), (1, 512), (2, 1024), (3, 2048), (4, 4096), (255, 16_384)]
)
def test_max_packet_size_by_the_code_in_the_session(session: Session, mode: int, size: int) -> None:
    assert Session.from_der(with_integer(session.to_der(), MAX_FRAGMENT_TAG, mode)).max_packet_size == size


def test_a_resumed_connection_tells_what_the_first_one_did(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    client, server = client_context(ca, version=tls_version), server_context(server_identity)
    first = take(client, server)
    pair = connect(client, server, prepare=offering(first))
    assert pair.client.session_reused
    second = session_of(pair.client)
    for name in (
        *(
            "version",
            "cipher_suite",
            "cipher_spec",
            "server_name",
            "peer_certificate_chain",
            "peer_public_key",
        ),
        *("extended_master_secret", "encrypt_then_mac", "verify_result", "policy", "max_packet_size"),
    ):
        assert getattr(second, name) == getattr(first, name), name
    assert second.cert_data is not None
    assert second.cert_data.verified
    assert second.cert_data.chain == [], "a resumed handshake verified no chain"


def test_records_are_named_tuples(session: Session) -> None:
    assert isinstance(session.cipher_spec, CipherSpec)
    assert session.cipher_spec._fields[:3] == ("id", "name", "standard_name")
    assert repr(session.cipher_suite).startswith("<0x")


def test_a_policy_is_told_in_a_word_and_its_digest(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    for verify in (True, False):
        client = client_context(ca, version=tls_version, verify=verify)
        session = take(client, server_context(server_identity))
        assert session.policy is not None
        word = "verifies" if verify else "verifies nothing"
        (line,) = [line for line in session.describe().splitlines() if line.startswith("policy")]
        assert line.split(None, 1)[1] == f"{word}, digest {session.policy.digest[:16]}"
