"""What a server must not resume, each beside its honest twin: sessions from before its trust changed, unseen too."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.memory import Pair
from helpers.processes import require, run
from helpers.servers import (
    BARE12,
    FAILED,
    FULL,
    IDS,
    RESUMED,
    Hosts,
    Serving,
    Way,
    earn,
    host,
    offer,
)

pytestmark = pytest.mark.binding


@pytest.fixture
def client(way: Way, ca: Authority, client_identity: Identity) -> ssl.SSLContext:
    return way.client(ca, client_identity)


def hashed(authority: Authority, directory: Path) -> Path:
    """A directory as c_rehash makes it."""
    name = run(require("openssl"), "x509", "-noout", "-hash", "-in", authority.pem_path).strip()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.0").write_text(authority.pem)
    return directory


class TestTheSameContext:
    @pytest.fixture
    def server(self, ca: Authority, server_identity: Identity) -> ssl.SSLContext:
        return host(server_identity, ca)

    def test_more_is_trusted(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, other_ca: Authority
    ) -> None:
        """Who is trusted now may have changed in any way; what is made from now on resumes."""
        serving.attach(server)
        session, old = earn(client, server), earn(client, server)
        assert offer(client, server, session) == RESUMED
        other_ca.trust(server)
        assert offer(client, server, old) == FULL
        assert offer(client, server, earn(client, server)) == RESUMED

    def test_the_same_once_more_is_no_change(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, ca: Authority
    ) -> None:
        serving.attach(server)
        session = earn(client, server)
        ca.trust(server)
        assert offer(client, server, session) == RESUMED

    def test_a_client_that_had_begun_before(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, other_ca: Authority
    ) -> None:
        """A connection waits for its ClientHello; what counts is the moment when that comes."""
        serving.attach(server)
        session = earn(client, server)
        pair = Pair(client, server, session=session)
        with pytest.raises(ssl.SSLWantReadError):
            pair.server.do_handshake()
        other_ca.trust(server)
        pair.handshake().exchange()
        assert not pair.server.session_reused
        pair.close()

    @pytest.mark.parametrize("setting", ["verify_flags", "verify_mode", "certificate"])
    def test_another_setting(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, ca: Authority, setting: str
    ) -> None:
        serving.attach(server)
        session = earn(client, server)
        if setting == "verify_flags":
            server.verify_flags |= ssl.VERIFY_X509_STRICT
        elif setting == "verify_mode":
            server.verify_mode = ssl.CERT_OPTIONAL
        else:
            ca.issue("localhost").load(server)
        with contextlib.suppress(AssertionError):  # strict: the certificates of tests may not be good enough
            assert offer(client, server, session) == FULL
            assert offer(client, server, earn(client, server)) == RESUMED

    def test_what_does_not_matter(
        self, serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        serving.attach(server)
        session = earn(client, server)
        server.set_alpn_protocols(["h2"])
        server.options |= ssl.OP_NO_COMPRESSION
        assert offer(client, server, session) == RESUMED

    def test_clients_without_certificates_do_not_care(
        self, way: Way, serving: Serving, ca: Authority, other_ca: Authority, server_identity: Identity
    ) -> None:
        client, server = way.client(ca), serving.attach(host(server_identity))
        session = earn(client, server)
        other_ca.trust(server)
        assert offer(client, server, session) == RESUMED


class TestDirectories:
    """OpenSSL reads a directory of CAs as it needs them: what will be trusted is not to be seen beforehand."""

    def trusting(self, directory: Path, identity: Identity) -> ssl.SSLContext:
        server = host(identity)
        server.load_verify_locations(capath=directory)
        server.verify_mode = ssl.CERT_REQUIRED
        return server

    def test_it_resumes_once_it_is_read(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        ca: Authority,
        server_identity: Identity,
        tmp_path: Path,
    ) -> None:
        """A session by a CA that was read for it is not resumed; the next one is, in each process that has read it."""
        server = serving.attach(self.trusting(hashed(ca, tmp_path / "ours"), server_identity))
        assert offer(client, server, earn(client, server)) == FULL
        assert offer(client, server, earn(client, server)) == RESUMED

    def test_another_server_s(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        ca: Authority,
        other_ca: Authority,
        server_identity: Identity,
        tmp_path: Path,
    ) -> None:
        """The same certificate, the same store and keys, nothing read yet: another directory."""
        ours = serving.attach(self.trusting(hashed(ca, tmp_path / "ours"), server_identity))
        theirs = serving.attach(self.trusting(hashed(other_ca, tmp_path / "theirs"), server_identity))
        assert offer(client, theirs, earn(client, ours)) == FAILED
        assert offer(client, theirs, earn(client, ours)) == FAILED

    def test_after_a_reload(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        ca: Authority,
        other_ca: Authority,
        server_identity: Identity,
        tmp_path: Path,
    ) -> None:
        home = serving.attach(host(server_identity, ca, other_ca))
        hosts = Hosts(home, a=self.trusting(hashed(ca, tmp_path / "ours"), server_identity))
        theirs = self.trusting(hashed(other_ca, tmp_path / "theirs"), server_identity)
        for _ in range(2):
            sessions = [earn(client, home, "a.example") for _ in range(2)]
            ours, hosts.of["a"] = hosts.of["a"], theirs
            assert [offer(client, home, each, "a.example") for each in sessions] == [FAILED, FAILED]
            hosts.of["a"] = ours


class TestOpenSSLsOwnCache:
    """A client that wants no tickets, where a ring is alone: its TLS 1.2 sessions are in OpenSSL's internal cache."""

    @pytest.fixture
    def way(self) -> Way:
        return BARE12

    @pytest.fixture
    def client(self, ca: Authority, client_identity: Identity) -> ssl.SSLContext:
        return IDS.client(ca, client_identity, tickets=False)

    def test_they_resume(
        self, serving: Serving, client: ssl.SSLContext, ca: Authority, server_identity: Identity
    ) -> None:
        home = serving.attach(host(server_identity, ca))
        Hosts(home, a=host(server_identity, ca))
        for name in ("localhost", "a.example"):
            session = earn(client, home, name)
            assert [offer(client, home, session, name) for _ in range(3)] == [RESUMED] * 3

    def test_not_after_a_reload(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        ca: Authority,
        other_ca: Authority,
        server_identity: Identity,
    ) -> None:
        home = serving.attach(host(server_identity, ca, other_ca))
        hosts = Hosts(home, a=host(server_identity, ca))
        session, second = earn(client, home, "a.example"), earn(client, home, "a.example")
        hosts.of["a"] = host(server_identity, ca, other_ca)
        assert [offer(client, home, session, "a.example") for _ in range(3)] == [FAILED, FULL, FULL]
        hosts.of["a"] = host(server_identity, other_ca)
        assert [offer(client, home, second, "a.example") for _ in range(3)] == [FAILED] * 3

    def test_not_of_a_directory_that_was_just_read(
        self,
        serving: Serving,
        client: ssl.SSLContext,
        ca: Authority,
        other_ca: Authority,
        server_identity: Identity,
        tmp_path: Path,
    ) -> None:
        trusting = TestDirectories().trusting
        home = serving.attach(host(server_identity, ca, other_ca))
        hosts = Hosts(home, a=trusting(hashed(ca, tmp_path / "ours"), server_identity))
        session = earn(client, home, "a.example")
        hosts.of["a"] = trusting(hashed(other_ca, tmp_path / "theirs"), server_identity)
        assert [offer(client, home, session, "a.example") for _ in range(2)] == [FAILED, FAILED]
