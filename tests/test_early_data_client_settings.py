"""Early data of clients whose settings changed, whose sessions are from elsewhere, or whose context was exchanged."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.child_contexts import arguments
from helpers.children import run_python
from helpers.clients import Home
from helpers.early import ACCEPTED, MOST, NOT_SENT, PYTHONPATH, REQUEST, Site, earned, meet, speak
from helpers.memory import Pair
from helpers.peers import client_context, server_context
from helpers.servers import STATEFUL, TICKETS13, Way, params
from helpers.sessions import offering, with_integer
from sslsession import Session, early_data_status, get_session, write_early_data
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding

MAX_EARLY_DATA_TAG = 15


@pytest.fixture
def site(ca: Authority, server_identity: Identity) -> Iterator[Site]:
    site = Site(ca, server_identity)
    yield site
    site.close()


CHANGES: dict[str, Callable[[ssl.SSLContext, Identity], object]] = {
    "options": lambda ctx, identity: setattr(ctx, "options", ctx.options | ssl.OP_NO_COMPRESSION),
    "verify_mode": lambda ctx, identity: (
        setattr(ctx, "check_hostname", False),
        setattr(ctx, "verify_mode", ssl.CERT_NONE),
    ),
    "check_hostname": lambda ctx, identity: setattr(ctx, "check_hostname", False),
    "verify_flags": lambda ctx, identity: setattr(
        ctx, "verify_flags", ctx.verify_flags ^ ssl.VERIFY_X509_STRICT
    ),
    "minimum_version": lambda ctx, identity: setattr(ctx, "minimum_version", ssl.TLSVersion.TLSv1_2),
    "ciphers": lambda ctx, identity: ctx.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256:ECDHE+AESGCM"),
    "client certificate": lambda ctx, identity: identity.load(ctx),
    "trust": lambda ctx, identity: ctx.load_verify_locations(cadata=identity.chain[0]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_settings_that_changed(site: Site, client_identity: Identity, change: str) -> None:
    """The connection goes on; and the next one, whose session is of the new settings, has early data again."""
    if change == "options" and site.client.options & ssl.OP_NO_COMPRESSION:
        site.client.options &= ~ssl.OP_NO_COMPRESSION
    else:
        CHANGES[change](site.client, client_identity)
    assert site.speak().status is NOT_SENT
    assert site.speak().status is ACCEPTED


def test_suites_that_changed(site: Site, openssl_version: tuple[int, int, int]) -> None:
    """The server would choose another one, and OpenSSL's rejects early data then."""
    if not hasattr(site.client, "set_ciphersuites"):
        pytest.skip("this Python cannot choose suites of TLS 1.3")
    site.client.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256")
    assert site.speak().status is NOT_SENT


class TestSessionsFromElsewhere:
    @pytest.mark.parametrize("same", [True, False])
    def test_from_bytes(self, site: Site, ca: Authority, same: bool) -> None:
        data = earned(client_context(ca, version="1.3"), site.server).to_bytes()
        other = client_context(ca, version="1.3" if same else None)
        told = site.speak(client=other, prepare=offering(Session.from_bytes(data)))
        assert told.reused
        assert told.status is (ACCEPTED if same else NOT_SENT)

    def test_from_der_nothing_is_known_of_its_settings(self, site: Site, ca: Authority) -> None:
        client = client_context(ca, version="1.3")
        der = earned(client, site.server).to_der()
        told = site.speak(client=client, prepare=offering(Session.from_der(der), force=True))
        assert told.reused
        assert told.status is NOT_SENT

    def test_added_to_a_cache(self, site: Site, ca: Authority) -> None:
        data = earned(client_context(ca, version="1.3"), site.server).to_bytes()
        home, client = Home(early_data=True), client_context(ca, version="1.3")
        home.attach(client)
        home.cache.add(Session.from_bytes(data), "localhost")
        assert site.speak(client=client).status is ACCEPTED
        home.close()

    def test_out_of_a_store(self, site: Site, ca: Authority) -> None:
        home, client = Home(MemoryStore(), early_data=True), client_context(ca, version="1.3")
        home.visit(client, site.server)
        home.restart()
        assert site.speak(client=client).status is ACCEPTED
        home.restart()
        client.set_alpn_protocols(["h2"])
        assert site.speak(client=client).status is NOT_SENT
        home.close()

    def test_out_of_another_process(
        self, site: Site, ca: Authority, server_identity: Identity, tmp_path: Path
    ) -> None:
        """The child offers a ticket that this process earned, and hands its flight over."""
        path = tmp_path / "own" / "s.db"
        home, client = Home(f"sqlite://{path}", early_data=True), client_context(ca, version="1.3")
        home.visit(client, site.server)
        home.close()
        done = run_python(
            """
            import ssl, sys
            import sslsession
            from helpers import child_contexts

            client = child_contexts.client(version="1.3")
            cache = sslsession.ClientSessionCache("sqlite://" + sys.argv[4], early_data=True)
            cache.attach(client)
            out = ssl.MemoryBIO()
            conn = client.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
            assert sslsession.write_early_data(conn, b"from a child") == 12
            print(out.read().hex())
            """,
            args=[*arguments(ca, server_identity), path],
            env={"PYTHONPATH": PYTHONPATH},
        )
        from helpers.early import replay

        assert replay(bytes.fromhex(done.stdout), site.server) == b"from a child"


class TestTickets:
    def test_each_is_offered_once(self, site: Site, ca: Authority) -> None:
        """Also where nothing was sent early, or nothing was sent at all."""
        client = client_context(ca, version="1.3")
        session = earned(client, site.server)
        pair = Pair(client, site.server, prepare=offering(session))
        write_early_data(pair.client, REQUEST)
        pair.drop()
        for again in (session, Session.from_bytes(session.to_bytes())):
            with pytest.raises(sslsession.SessionExpired):
                sslsession.set_session(Pair(client, site.server).client, again)

    def test_its_siblings_are_kept(self, ca: Authority, server_identity: Identity) -> None:
        site = Site(ca, server_identity, tickets=4)
        held = site.home.cache.stats()["sessions"]
        pair = Pair(site.client, site.server)
        write_early_data(pair.client, REQUEST)
        assert site.home.cache.stats()["sessions"] == held - 1
        meet(pair)
        told = site.home.cache.stats()
        assert (told["offered"], told["resumed"], told["declined"]) == (1, 1, 0)
        site.close()

    def test_a_session_that_lies(self, site: Site, ca: Authority) -> None:
        """It says that more is allowed than its server said: too much is the server's to see."""
        client = client_context(ca, version="1.3")
        session = Session.from_der(
            with_integer(earned(client, site.server).to_der(), MAX_EARLY_DATA_TAG, 100 * MOST)
        )
        assert session.max_early_data == 100 * MOST
        told = site.speak(b"x" * 3 * MOST, client=client, prepare=offering(session, force=True))
        assert told.status is NOT_SENT, "of its settings nothing is known"


@pytest.mark.parametrize("way", params(STATEFUL, TICKETS13))
def test_a_context_set_after_early_data_was_asked_for(
    ca: Authority, other_ca: Authority, server_identity: Identity, way: Way
) -> None:
    """Nothing of the one's goes out under the other."""
    site = Site(ca, server_identity, way)
    other = client_context(other_ca, version="1.3")
    pair = Pair(site.client, site.server)
    assert write_early_data(pair.client, b"") == 0
    pair.client.context = other
    assert write_early_data(pair.client, REQUEST) == 0
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(pair)
    site.close()


def test_a_context_set_after_early_data_was_refused(
    ca: Authority, other_ca: Authority, server_identity: Identity
) -> None:
    """The other one does not trust this server, and a session of the first would resume there."""
    site = Site(ca, server_identity)
    pair = Pair(site.client, site.server)
    assert write_early_data(pair.client, b"x" * (MOST + 1)) == 0
    pair.client.context = client_context(other_ca, version="1.3")
    try:
        with pytest.raises(ssl.SSLCertVerificationError):
            meet(pair)
    finally:
        site.close()


@pytest.mark.parametrize("then", ["writes", "goes on"])
def test_a_session_set_after_early_data_was_refused(
    ca: Authority, server_identity: Identity, then: str
) -> None:
    """By ssl's own `session`, and earned while nobody looked at certificates: what is known of ours is not of that."""
    client = client_context(ca, version="1.3", check_hostname=False)
    client.verify_mode = ssl.CERT_NONE
    site = Site(ca, server_identity, client=client)
    loose = Pair(client, site.server)
    meet(loose)
    loose.exchange()
    client.verify_mode = ssl.CERT_REQUIRED
    site.visit()
    pair = Pair(client, site.server)
    assert write_early_data(pair.client, b"x" * (MOST + 1)) == 0
    pair.client.session = loose.client.session
    if then == "writes":
        assert write_early_data(pair.client, REQUEST) == 0
    meet(pair)
    pair.exchange()
    assert pair.client.session_reused
    assert early_data_status(pair.client) is NOT_SENT
    session = get_session(pair.client)
    assert session is not None
    assert session.cert_data is not None
    assert not session.cert_data.verified
    site.close()


def test_a_server_of_tls_1_2(ca: Authority, server_identity: Identity, site: Site) -> None:
    """It cannot read what came early, and the connection ends (RFC 8446 D.3); the tickets go with it."""
    site.client.minimum_version = ssl.TLSVersion.TLSv1_2
    site.visit()
    old = server_context(server_identity, version="1.2")
    pair = Pair(site.client, old)
    assert write_early_data(pair.client, REQUEST)
    with pytest.raises(ssl.SSLError):
        pair.handshake().exchange()
    with pytest.raises(ssl.SSLError):
        pair.client.do_handshake()
    told = speak(site.client, old)
    assert told.status is NOT_SENT
    assert early_data_status(Pair(site.client, old).client) is NOT_SENT


@pytest.mark.skipif(not hasattr(ssl.SSLContext, "set_psk_client_callback"), reason="new in Python 3.13")
def test_pre_shared_keys_are_asked_for_by_connections_alone(ca: Authority, server_identity: Identity) -> None:
    """To see what a context offers by ALPN, a ClientHello is made that nobody gets."""
    client = client_context(ca, alpn=["h2"])
    asked: list[Any] = []
    client.set_psk_client_callback(lambda hint: asked.append(hint) or (None, b""))
    site = Site(ca, server_identity, client=client, server=server_context(server_identity, alpn=["h2"]))
    assert site.speak().status is ACCEPTED
    site.close()
