"""A session is for whom a full handshake would trust today: other trust must not resume it, and the honest twin does.

Each probe is tried with the session still near, and with it come out of a store, as in another process.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Home, not_offered, visit
from helpers.peers import Pair, client_context, connect, server_context
from helpers.processes import require, run
from helpers.sessions import ssl_resumes
from sslsession import Reason
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


def refused(home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """The full handshake fails, so this one has to as well: twice, for the first may have used up a ticket."""
    with pytest.raises(ssl.SSLCertVerificationError):
        visit(client, server)
    for _ in range(2):
        with pytest.raises(ssl.SSLCertVerificationError):
            home.visit(client, server)
    assert home.cache.stats()["offered"] == home.cache.stats()["resumed"], "nobody was offered more"


class TestVerifyMode:
    def test_a_context_that_does_not_verify_then_one_that_does(
        self, home: Home, ca: Authority, other_ca: Authority, tls_version: str
    ) -> None:
        impostor = server_context(other_ca.issue("localhost"))
        home.earn(client_context(ca, version=tls_version, verify=False), impostor)
        refused(home, client_context(ca, version=tls_version), impostor)

    def test_fact_39_the_same_context_made_strict(
        self, home: Home, ca: Authority, other_ca: Authority, tls_version: str
    ) -> None:
        impostor = server_context(other_ca.issue("localhost"))
        client = client_context(ca, version=tls_version, verify=False)
        home.earn(client, impostor)
        pair = connect(client, impostor)
        client.verify_mode, client.check_hostname = ssl.CERT_REQUIRED, True
        assert ssl_resumes(client, impostor, pair.client.session), "the danger"
        refused(home, client, impostor)

    def test_names_that_are_not_checked_and_then_are(
        self, home: Home, ca: Authority, tls_version: str
    ) -> None:
        other_name = server_context(ca.issue("b.example"))
        client = client_context(ca, version=tls_version, check_hostname=False)
        home.earn(client, other_name)
        client.check_hostname = True
        refused(home, client, other_name)

    def test_an_optional_certificate_is_verified_all_the_same(
        self, home: Home, ca: Authority, other_ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        """A client that finds certificates optional verifies them (SSL_VERIFY_PEER)."""
        impostor = server_context(other_ca.issue("localhost"))
        client = client_context(ca, version=tls_version, verify=False)
        home.earn(client, impostor)
        client.verify_mode = ssl.CERT_OPTIONAL
        refused(home, client, impostor)
        home.earn(client, server)

    def test_a_context_made_strict_between_handshake_and_ticket(
        self, home: Home, ca: Authority, other_ca: Authority
    ) -> None:
        """Fact 60: a ticket belongs to the policy under which its handshake began."""
        impostor = server_context(other_ca.issue("localhost"))
        client = client_context(ca, version="1.3", verify=False)

        home.attach(client)
        pair = Pair(client, impostor).handshake()
        client.verify_mode, client.check_hostname = ssl.CERT_REQUIRED, True
        pair.exchange()  # only now are the tickets read
        pair.close()
        assert home.cache.stats()["kept"] == 2
        home.restart()
        refused(home, client, impostor)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        home.restart()
        assert home.visit(client, impostor).reused, "where it was earned it is good"


class TestAuthorities:
    @pytest.mark.parametrize("how", ["cafile", "cadata", "capath"])
    def test_another_authority(
        self, home: Home, ca: Authority, other_ca: Authority, tmp_path: Path, tls_version: str, how: str
    ) -> None:
        server = server_context(ca.issue("localhost"))
        ours, theirs = (trusting(each, tmp_path / each.name, how, tls_version) for each in (ca, other_ca))
        home.earn(ours, server)
        refused(home, theirs, server)
        again = trusting(ca, tmp_path / "again", how, tls_version)
        home.visit(ours, server)
        home.restart()
        assert home.visit(again, server).reused, "another context of the same trust may"

    def test_two_directories_look_alike_until_they_are_used(
        self, home: Home, ca: Authority, other_ca: Authority, tmp_path: Path, tls_version: str
    ) -> None:
        """Fact 55: OpenSSL shows nothing of a directory before it read from it."""
        impostor = server_context(other_ca.issue("localhost"))
        ours = trusting(ca, tmp_path / "ours", "capath", tls_version)
        theirs = trusting(other_ca, tmp_path / "theirs", "capath", tls_version)
        assert ours.cert_store_stats() == theirs.cert_store_stats()
        home.earn(theirs, impostor)
        refused(home, ours, impostor)

    def test_one_context_that_is_given_another_authority(
        self, ca: Authority, other_ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        home, client = Home(), client_context(ca, version=tls_version)
        home.earn(client, server)
        other_ca.trust(client)
        done = home.visit(client, server)
        assert not_offered(done)
        assert done.reason is Reason.POLICY_CHANGED
        other_ca.trust(client)
        assert home.visit(client, server).reused, "the same again changes nothing"
        home.close()

    def test_one_context_that_is_given_another_directory(
        self, ca: Authority, other_ca: Authority, server: ssl.SSLContext, tmp_path: Path, tls_version: str
    ) -> None:
        home, client = Home(), client_context(ca, version=tls_version)
        home.earn(client, server)
        client.load_verify_locations(capath=hashed(other_ca, tmp_path / "other"))
        assert not_offered(home.visit(client, server))
        assert home.visit(client, server).reused
        home.close()

    def test_one_that_came_out_of_a_store_is_verified_under_the_trust_of_today(
        self, ca: Authority, other_ca: Authority, tls_version: str
    ) -> None:
        """A context cannot lose an authority: what held before still holds, and is looked at again."""
        home = Home(MemoryStore())
        server, client = server_context(ca.issue("localhost")), client_context(ca, version=tls_version)
        home.earn(client, server)
        other_ca.trust(client)
        assert home.visit(client, server).reused
        home.close()

    def test_an_intermediate_that_only_the_other_context_knows(
        self, home: Home, ca: Authority, tls_version: str, tmp_path: Path
    ) -> None:
        """The server shows its leaf alone: without the intermediate there is no chain."""
        identity = ca.issue("localhost", intermediate=True)
        leaf = tmp_path / "leaf.pem"
        leaf.write_text(ssl.DER_cert_to_PEM_cert(identity.chain[0]))
        server = server_context(Identity(identity.names, leaf, identity.key_path, identity.chain[:1]))
        knowing, without = (client_context(ca, version=tls_version) for _ in range(2))
        knowing.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(identity.chain[1]))
        home.earn(knowing, server)
        refused(home, without, server)

    def test_a_context_that_knows_the_intermediate_alone(
        self, home: Home, ca: Authority, tls_version: str
    ) -> None:
        """Trusting an intermediate is a matter of a flag (X509_V_FLAG_PARTIAL_CHAIN), which is part of the policy."""
        identity = ca.issue("localhost", intermediate=True)
        server = server_context(identity)
        partial = client_context(version=tls_version)
        partial.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(identity.chain[1]))
        partial.verify_flags |= 0x80000
        home.earn(partial, server)
        partial.verify_flags &= ~0x80000
        refused(home, partial, server)


def trusting(authority: Authority, place: Path, how: str, version: str) -> ssl.SSLContext:
    """A client's context that got the authority in one of three ways."""
    client = client_context(version=version)
    if how == "cafile":
        client.load_verify_locations(cafile=str(authority.pem_path))
    elif how == "cadata":
        client.load_verify_locations(cadata=authority.pem)
    else:
        client.load_verify_locations(capath=hashed(authority, place))
    return client


def hashed(authority: Authority, place: Path) -> str:
    """A directory as c_rehash makes it."""
    subject_hash = run(require("openssl"), "x509", "-noout", "-hash", "-in", authority.pem_path).strip()
    place.mkdir()
    (place / f"{subject_hash}.0").write_text(authority.pem)
    return str(place)


class TestTheContextOfAConnectionIsExchanged:
    """`conn.context = other` before the handshake: what that one trusts is what counts."""

    def test_the_trust_is_the_other_context_s(
        self, home: Home, ca: Authority, other_ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        client, other = client_context(ca, version=tls_version), client_context(other_ca, version=tls_version)
        home.attach(other)
        home.earn(client, server)

        def exchange(conn: ssl.SSLObject) -> None:
            conn.context = other

        with pytest.raises(ssl.SSLCertVerificationError):
            home.visit(client, server, prepare=exchange)
        assert home.cache.stats()["offered"] == home.cache.stats()["resumed"]

    def test_its_honest_twin(
        self, home: Home, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        client, other = client_context(ca, version=tls_version), client_context(ca, version=tls_version)
        home.attach(other)
        home.earn(client, server)

        def exchange(conn: ssl.SSLObject) -> None:
            conn.context = other

        assert home.visit(client, server, prepare=exchange).reused
