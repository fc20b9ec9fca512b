"""The helpers do what they say, with nothing but plain `ssl`."""

from __future__ import annotations

import datetime
import ssl

import pytest

from helpers import programs
from helpers.certs import Authority, Identity
from helpers.peers import (
    EchoServer,
    Pair,
    SocketPair,
    client_context,
    connect,
    dial,
    server_context,
)

NAMES = ("localhost", "127.0.0.1")


@pytest.fixture(scope="module", params=["trustme", "openssl"])
def authority(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    backend: str = request.param
    if backend == "trustme":
        pytest.importorskip("trustme")
    else:
        programs.require("openssl")
    return Authority(tmp_path_factory.mktemp(backend), backend=backend)


class TestCertificates:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("intermediate", [False, True])
    def test_a_server_is_verified(self, authority: Authority, name: str, intermediate: bool) -> None:
        identity = authority.issue(*NAMES, intermediate=intermediate)
        assert len(identity.chain) == (2 if intermediate else 1)
        connect(client_context(authority), server_context(identity), name).close()

    def test_the_strict_default_context_verifies_it(self, authority: Authority) -> None:
        strict = ssl.create_default_context(cafile=str(authority.pem_path))
        identity = authority.issue("localhost", intermediate=True)
        connect(strict, server_context(identity)).close()

    def test_another_name_or_authority_is_refused(self, authority: Authority, other_ca: Authority) -> None:
        server = server_context(authority.issue("localhost"))
        with pytest.raises(ssl.SSLCertVerificationError):
            Pair(client_context(authority), server, "c.example").handshake()
        with pytest.raises(ssl.SSLCertVerificationError):
            Pair(client_context(other_ca), server).handshake()

    def test_an_expired_one_is_refused(self, authority: Authority) -> None:
        past = datetime.datetime.now(datetime.timezone.utc)
        past -= datetime.timedelta(days=3)
        for identity in (
            authority.issue("localhost", days=-1),
            authority.issue("localhost", not_after=past),
        ):
            server = server_context(identity)
            with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                Pair(client_context(authority), server).handshake()

    def test_a_client_certificate_is_for_clients_only(self, authority: Authority) -> None:
        identity = authority.issue("localhost", client=True)
        client = client_context(authority, identity=identity)
        server = server_context(authority.issue("localhost"), client_ca=authority)
        pair = connect(client, server)
        assert pair.server.getpeercert(True) == identity.leaf_der
        pair.close()
        with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
            Pair(client_context(authority), server_context(identity)).handshake()

    def test_an_rsa_leaf_serves_rsa_key_exchange(self, authority: Authority) -> None:
        suite = "AES128-GCM-SHA256"
        identity = authority.issue("localhost", rsa=True)
        client = client_context(authority, version="1.2", ciphers=suite)
        pair = connect(client, server_context(identity, ciphers=suite))
        assert pair.client.cipher() == (suite, "TLSv1.2", 128)
        pair.close()


def has_ticket(pair: Pair) -> bool:
    assert pair.client.session is not None
    return pair.client.session.has_ticket


class TestPairs:
    def test_plain_ssl_resumes(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        client = client_context(ca, version=tls_version)
        server = server_context(server_identity)
        first = connect(client, server)
        assert first.client.version() == f"TLSv{tls_version}"
        assert not first.client.session_reused
        session = first.client.session
        first.close()
        second = connect(client, server, session=session)
        assert second.client.session_reused
        assert second.server.session_reused
        second.close()

    def test_no_ticket_is_read_before_the_exchange(self, ca: Authority, server_identity: Identity) -> None:
        client = client_context(ca, version="1.3")
        pair = Pair(client, server_context(server_identity)).handshake()
        assert not has_ticket(pair)
        pair.exchange(b"x" * 100_000)
        assert has_ticket(pair)
        pair.close()

    def test_no_tickets_when_none_are_wanted(self, ca: Authority, server_identity: Identity) -> None:
        pair = connect(
            client_context(ca, version="1.3"),
            server_context(server_identity, tickets=0),
        )
        assert not has_ticket(pair)
        pair.close()
        pair = connect(
            client_context(ca, version="1.2"),
            server_context(server_identity, session_tickets=False),
        )
        assert not has_ticket(pair)
        pair.close()

    def test_the_first_error_of_either_side_is_raised(
        self, ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        client = client_context(ca, version=tls_version)
        server = server_context(server_identity, client_ca=ca)
        for kind in (Pair, SocketPair):
            pair = kind(client, server)
            with pytest.raises(ssl.SSLError, match=r"(?i)peer.did.not.return"):
                pair.handshake()
            pair.drop()

    def test_prepare_comes_before_the_handshake(self, ca: Authority, server_identity: Identity) -> None:
        versions: list[str | None] = []
        for kind in (Pair, SocketPair):
            with kind(
                client_context(ca),
                server_context(server_identity),
                prepare=lambda conn: versions.append(conn.version()),
            ) as pair:
                assert pair.client.version() == "TLSv1.3"
        assert versions == [None, None]

    def test_close_tells_the_peer_and_drop_does_not(self, ca: Authority, server_identity: Identity) -> None:
        contexts = client_context(ca), server_context(server_identity)
        pair = connect(*contexts)
        pair.close()
        with pytest.raises(ssl.SSLZeroReturnError):
            pair.server.read()
        pair = connect(*contexts)
        wire = pair.to_server
        pair.drop()
        assert not wire.pending
        assert not hasattr(pair, "client")

    def test_sockets_resume_too(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        client = client_context(ca, version=tls_version)
        server = server_context(server_identity)
        with SocketPair(client, server) as first:
            first.exchange()
            session = first.client.session
        with SocketPair(client, server, session=session) as second:
            assert second.client.session_reused

    def test_alpn_and_client_certificates(
        self, ca: Authority, server_identity: Identity, client_identity: Identity
    ) -> None:
        pair = connect(
            client_context(ca, identity=client_identity, alpn=["h2"]),
            server_context(server_identity, client_ca=ca, alpn=["h2"]),
        )
        assert pair.server.selected_alpn_protocol() == "h2"
        assert pair.server.getpeercert(True) == client_identity.leaf_der
        pair.close()


class TestEchoServer:
    def test_it_counts_and_echoes(self, ca: Authority, server_identity: Identity, tls_version: str) -> None:
        client = client_context(ca, version=tls_version)
        with EchoServer(server_context(server_identity)) as server:
            session = None
            for _ in range(2):
                with dial(server.port, client, session=session) as conn:
                    conn.sendall(b"hello")
                    assert conn.recv(100) == b"hello"
                    session = conn.session
                    conn.unwrap().close()
            assert server.reused == [False, True]
        assert server.connections == 2
        assert not server.errors

    def test_it_stops_with_connections_open_and_failed(
        self, ca: Authority, other_ca: Authority, server_identity: Identity
    ) -> None:
        with EchoServer(server_context(server_identity)) as server:
            conn = dial(server.port, client_context(ca))
            with pytest.raises(ssl.SSLCertVerificationError):
                dial(server.port, client_context(other_ca))
        conn.close()
        assert [type(error) for error in server.errors] == [ssl.SSLError]

    def test_a_bug_in_a_hook_is_raised(self, ca: Authority, server_identity: Identity) -> None:
        def hook(conn: ssl.SSLSocket) -> None:
            raise LookupError(conn.version())

        def visit() -> None:
            server = EchoServer(server_context(server_identity), on_connect=hook)
            with server, dial(server.port, client_context(ca)) as conn:
                assert conn.recv(1) == b""

        with pytest.raises(LookupError, match=r"TLSv1\.3"):
            visit()
