"""Detours by which a session that nobody verified here might come to count as verified: each ends in a verification.

In each case the full handshake would fail, and so does the session; its honest twin resumes.
"""

from __future__ import annotations

import ssl

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.peers import Pair, client_context, connect, server_context
from helpers.sessions import offering, resumes, session_of, take
from sslsession import Reason, SessionExpired, SessionHooks, SessionMismatch

pytestmark = pytest.mark.binding


@pytest.fixture
def mallory(ca: Authority, tls_version: str) -> ssl.SSLContext:
    """A server of a trusted certificate, for another name."""
    return server_context(ca.issue("evil.example"), version=tls_version)


def unbegun(context: ssl.SSLContext, **given: object) -> ssl.SSLObject:
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost", **given)


class TestASessionThatWasOnlySet:
    """`SSL_set_session` copies the old result: read back before the handshake, it is nobody's verdict."""

    def test_by_ssl_itself(self, lax: ssl.SSLContext, mallory: ssl.SSLContext) -> None:
        own = connect(lax, mallory).client.session
        lax.verify_mode, lax.check_hostname = ssl.CERT_REQUIRED, True
        laundered = session_of(unbegun(lax, session=own))
        assert not laundered.cert_data.verified
        with pytest.raises(SessionMismatch, match="hostname mismatch"):
            resumes(lax, mallory, laundered)

    def test_by_force(self, strict: ssl.SSLContext, lax: ssl.SSLContext, mallory: ssl.SSLContext) -> None:
        session, conn = take(lax, mallory), unbegun(strict)
        sslsession.set_session(conn, session, force=True)
        laundered = session_of(conn)
        assert not laundered.cert_data.verified
        with pytest.raises(SessionMismatch, match="hostname mismatch"):
            resumes(strict, mallory, laundered)
        with pytest.raises(ssl.SSLWantReadError):
            conn.do_handshake()
        begun = session_of(conn)
        assert not begun.cert_data.verified
        with pytest.raises((SessionMismatch, SessionExpired)):
            resumes(strict, mallory, begun)

    def test_its_honest_twin(self, strict: ssl.SSLContext, server_identity: Identity) -> None:
        server = server_context(server_identity)
        conn = unbegun(strict)
        sslsession.set_session(conn, take(strict, server))
        assert resumes(strict, server, session_of(conn))


class TestAContextThatIsExchanged:
    """`conn.context = other`: what was verified for one context is not for the other."""

    def test_after_set_session(
        self, ca: Authority, other_ca: Authority, strict: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server, other = server_context(server_identity), client_context(other_ca)
        session = take(strict, server)

        def prepare(conn: ssl.SSLObject) -> None:
            sslsession.set_session(conn, session)
            conn.context = other

        with pytest.raises(ssl.SSLCertVerificationError):
            connect(strict, server, prepare=prepare)

        def prepare_honestly(conn: ssl.SSLObject) -> None:
            prepare(conn)
            conn.context = twin

        twin = client_context(ca)
        pair = connect(strict, server, prepare=prepare_honestly)
        assert not pair.client.session_reused
        assert sslsession.why_not_resumed(pair.client) is Reason.POLICY_CHANGED

    def test_before_get_session(
        self, other_ca: Authority, strict: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server, other = server_context(server_identity), client_context(other_ca)
        with SessionHooks(strict), SessionHooks(other):
            pair = connect(strict, server)
            pair.client.context = other
            session = session_of(pair.client)
        with pytest.raises(SessionMismatch):
            resumes(other, server, session)
        assert resumes(strict, server, session)


class TestWhatNobodyWatched:
    def test_trust_that_changed_between_handshake_and_get_session(
        self, ca: Authority, other_ca: Authority, server_identity: Identity, tls_version: str
    ) -> None:
        """The settings of that moment may not be those of the handshake: such a session is verified again."""
        impostor = server_context(other_ca.issue("localhost"), version=tls_version)
        context = client_context(ca, version=tls_version, verify=False)
        pair = connect(context, impostor)
        context.verify_mode, context.check_hostname = ssl.CERT_REQUIRED, True
        session = session_of(pair.client)
        with pytest.raises(SessionMismatch):
            resumes(context, impostor, session)
        honest = server_context(server_identity, version=tls_version)
        assert resumes(context, honest, take(context, honest))

    def test_a_session_remembers_what_it_was_verified_under(
        self, ca: Authority, other_ca: Authority, server_identity: Identity
    ) -> None:
        server, strict = server_context(server_identity, version="1.2"), client_context(ca)
        session = take(strict, server)
        assert resumes(strict, server, session)
        assert session._native.held.until > session.time
        assert resumes(strict, server, session)
        with pytest.raises(SessionMismatch):
            resumes(client_context(other_ca), server, session)
        assert resumes(client_context(ca), server, session)


class TestClientsOfAServer:
    """A get hook may hand over what was earned under another context: its client is verified again."""

    def get(self, server: ssl.SSLContext, session: sslsession.Session) -> SessionHooks:
        return SessionHooks(
            server, get=lambda conn, session_id: session if session_id == session.id else None
        )

    @pytest.fixture
    def made(
        self, ca: Authority, other_ca: Authority, server_identity: Identity
    ) -> dict[str, tuple[sslsession.Session, sslsession.Session, ssl.SSLContext]]:
        """By whose certificate the client showed: the server's session, the client's, and the client."""
        found = {}
        for who, authority in (("nobody", None), ("ours", ca), ("other", other_ca)):
            identity = authority.issue("client.example", client=True) if authority else None
            client = client_context(ca, version="1.2", tickets=False, identity=identity)
            kept: list[sslsession.Session] = []
            maker = server_context(server_identity, session_tickets=False, client_ca=authority)
            with SessionHooks(maker, new=lambda conn, session, kept=kept: kept.append(session)):
                found[who] = kept, take(client, maker), client
        return {who: (kept[0], ours, client) for who, (kept, ours, client) in found.items()}

    @pytest.mark.parametrize(("who", "resumed"), [("ours", True), ("other", False), ("nobody", False)])
    def test_a_server_that_requires_certificates(
        self, made: dict, ca: Authority, server_identity: Identity, who: str, resumed: bool
    ) -> None:
        kept, session, client = made[who]
        server = server_context(server_identity, session_tickets=False, client_ca=ca)
        pair = Pair(client, server, prepare=offering(session))
        with self.get(server, kept):
            if resumed:
                assert pair.handshake().client.session_reused
            else:
                with pytest.raises(ssl.SSLError):
                    pair.handshake().exchange()
            assert bool(pair.server.session_reused) is resumed

    @pytest.mark.parametrize(("who", "resumed"), [("ours", True), ("other", False), ("nobody", True)])
    def test_a_server_that_asks_for_them(
        self, made: dict, ca: Authority, server_identity: Identity, who: str, resumed: bool
    ) -> None:
        kept, session, client = made[who]
        server = server_context(server_identity, session_tickets=False, client_ca=ca, require_client=False)
        pair = Pair(client, server, prepare=offering(session))
        with self.get(server, kept):
            try:
                pair.handshake()
            except ssl.SSLError:
                assert not resumed
        assert bool(pair.server.session_reused) is resumed
