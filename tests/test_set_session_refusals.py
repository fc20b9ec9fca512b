"""What `set_session` refuses for its name, its time or its state, and what `force` passes. Fact 18."""

from __future__ import annotations

import datetime
import ssl

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.peers import client_context, connect, server_context
from helpers.sessions import (
    LIFETIME_HINT_TAG,
    offering,
    resumes,
    session_of,
    ssl_resumes,
    take,
    with_der,
    with_facts,
    with_integer,
)
from sslsession import (
    InvalidSession,
    Session,
    SessionError,
    SessionExpired,
    SessionMismatch,
)

pytestmark = pytest.mark.binding
NO_CHECK_TIME = 0x200000


class TestNames:
    def test_fact_18_ssl_resumes_under_another_name_and_ours_refuses(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        own = connect(client, server).client.session
        assert ssl_resumes(client, server, own, "evil.example"), "checking is on, and nothing was checked"
        session = take(client, server)
        with pytest.raises(SessionMismatch, match=r"another host name \('localhost'.*'evil.example'"):
            resumes(client, server, session, "evil.example")
        with pytest.raises(SessionMismatch):
            resumes(client, server, session, "a.example")
        assert resumes(client, server, session)

    @pytest.mark.parametrize("spelling", ["LOCALHOST", "LocalHost"])
    def test_names_compare_without_case(
        self, client: ssl.SSLContext, server: ssl.SSLContext, spelling: str
    ) -> None:
        assert resumes(client, server, take(client, server), spelling)

    def test_a_final_dot_is_the_same_name_where_none_is_checked(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        session = take(client, server)
        with pytest.raises(SessionMismatch, match="hostname mismatch"):
            resumes(client, server, session, "localhost.")  # as in a full handshake
        client.check_hostname = False
        assert resumes(client, server, session, "localhost.")

    def test_an_address_is_a_name(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = take(client, server, "127.0.0.1")
        assert session.server_name == "127.0.0.1"
        with pytest.raises(SessionMismatch):
            resumes(client, server, session)
        assert resumes(client, server, session, "127.0.0.1")

    def test_a_named_session_needs_a_named_connection(
        self, ca: Authority, server: ssl.SSLContext, tls_version: str
    ) -> None:
        nameless = client_context(ca, version=tls_version, check_hostname=False)
        session = take(nameless, server)
        with pytest.raises(SessionMismatch, match="None"):
            resumes(nameless, server, session, None)

    def test_a_name_that_only_the_envelope_knows_is_compared_too(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        session = Session.from_bytes(take(client, server).to_bytes())
        with pytest.raises(SessionMismatch, match="another host name"):
            resumes(client, server, session, "a.example")

    def test_force_passes_the_name(self, client: ssl.SSLContext, server_identity: Identity) -> None:
        server = server_context(server_identity)
        pair = connect(client, server, "a.example", prepare=offering(take(client, server), force=True))
        assert pair.client.session_reused
        pair.close()

    def test_a_forced_session_does_not_count_as_earned(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        pair = connect(client, server, "c.example", prepare=offering(take(client, server), force=True))
        assert pair.client.session_reused
        session = session_of(pair.client)
        pair.close()
        assert session.cert_data is not None
        assert not session.cert_data.verified
        with pytest.raises(SessionMismatch, match="mismatch"):
            resumes(client, server, session, "c.example")


class TestTime:
    def test_an_expired_leaf_in_the_session(self, ca: Authority, tls_version: str) -> None:
        server = server_context(ca.issue("localhost", days=-1))
        lax = client_context(ca, version=tls_version, verify=False)
        session = take(lax, server)
        assert not session.is_expired, "the session itself is young"
        for client in (client_context(ca, version=tls_version), lax):
            for force in (False, True):
                with pytest.raises(SessionExpired, match="the certificate in it"):
                    resumes(client, server, session, force=force)

    def test_an_expired_leaf_in_the_context_that_earned_it(self, ca: Authority, tls_version: str) -> None:
        client = client_context(ca, version=tls_version)
        client.verify_flags |= NO_CHECK_TIME
        server = server_context(ca.issue("localhost", days=-1))
        with pytest.raises(SessionExpired):
            resumes(client, server, take(client, server))

    def test_a_leaf_that_is_not_valid_yet(self, ca: Authority, tls_version: str) -> None:
        tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
        server = server_context(ca.issue("localhost", not_before=tomorrow))
        session = take(client_context(ca, version=tls_version, verify=False), server)
        with pytest.raises(SessionExpired):
            resumes(client_context(ca, version=tls_version), server, session)

    @pytest.mark.parametrize(("hint", "expired"), [(7_200, False), (1, False), (0, True)])
    def test_a_tls13_hint_of_zero_means_discard(
        self, ca: Authority, server: ssl.SSLContext, hint: int, expired: bool
    ) -> None:
        session = take(client_context(ca, version="1.3"), server)
        changed = with_der(session, lambda der: with_integer(der, LIFETIME_HINT_TAG, hint))
        assert changed.lifetime_hint == hint
        assert changed.expires_at == changed.time + hint
        if expired:
            with pytest.raises(SessionExpired):
                resumes(client_context(ca, version="1.3"), server, changed)

    def test_a_tls12_hint_of_zero_means_unspecified(self, ca: Authority, server: ssl.SSLContext) -> None:
        session = take(client_context(ca, version="1.2"), server)
        changed = with_der(session, lambda der: with_integer(der, LIFETIME_HINT_TAG, 0))
        assert changed.expires_at == changed.ticket_expiry_time == changed.time + changed.timeout
        assert resumes(client_context(ca, version="1.2"), server, changed)

    def test_a_tls13_ticket_lives_seven_days_at_most(self, ca: Authority, server: ssl.SSLContext) -> None:
        session = take(client_context(ca, version="1.3"), server)
        year = 365 * 24 * 3600
        changed = with_der(
            session, lambda der: with_integer(with_integer(der, 2, year), LIFETIME_HINT_TAG, year)
        )
        assert changed.timeout == changed.lifetime_hint == year
        assert changed.expires_at == changed.ticket_expiry_time == changed.time + 7 * 24 * 3600


class TestResumability:
    def test_an_envelope_remembers_what_der_forgets(self, ca: Authority, server_identity: Identity) -> None:
        """OpenSSL's DER has no word for it: an id is enough to be resumable again."""
        server = server_context(server_identity)
        pair = connect(client_context(ca, version="1.3"), server)
        pair.to_client.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(ssl.SSLError):
            pair.client.read(1)
        dead = session_of(pair.client)
        assert not dead.is_resumable
        assert not Session.from_bytes(dead.to_bytes()).is_resumable

    def test_it_is_an_error_of_the_session(self, ca: Authority, server_identity: Identity) -> None:
        server = server_context(server_identity, tickets=0)
        client = client_context(ca, version="1.3")
        with pytest.raises(InvalidSession) as caught:
            resumes(client, server, take(client, server), force=True)
        assert isinstance(caught.value, (SessionError, ValueError))
        assert "first read" in str(caught.value)


def test_the_errors_are_the_built_in_ones_too() -> None:
    assert issubclass(SessionMismatch, ValueError)
    assert issubclass(SessionExpired, ValueError)
    assert issubclass(InvalidSession, ValueError)
    assert issubclass(sslsession.UnsupportedError, NotImplementedError)
    assert issubclass(sslsession.UnsupportedInterpreter, RuntimeError)


def test_a_fact_in_the_envelope_is_told_and_never_trusted(
    client: ssl.SSLContext, other_ca: Authority, tls_version: str
) -> None:
    impostor = server_context(other_ca.issue("localhost"))
    session = take(client_context(version=tls_version, verify=False), impostor)
    claimed = with_facts(session, verified=True, verify_result=0)
    assert claimed.cert_data is not None
    assert claimed.cert_data.verified
    with pytest.raises(SessionMismatch, match="does not hold"):
        resumes(client, impostor, claimed)
