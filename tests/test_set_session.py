"""`set_session`: what it takes, and on which connections. Facts 14 and 54."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import Pair, SocketPair, client_context, connect, server_context
from helpers.sessions import (
    handle,
    offering,
    resumes,
    session_of,
    take,
)
from sslsession import (
    Reason,
    Session,
    SessionError,
    set_session,
    why_not_resumed,
)
from sslsession._attachment import Attachment, User
from sslsession._libssl import lib

pytestmark = pytest.mark.binding
NO_CHECK_TIME = 0x200000


class TestItResumes:
    def test_over_memory_and_over_sockets(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        for kind in (Pair, SocketPair):
            pair = kind(client, server, prepare=offering(take(client, server)))
            pair.handshake().exchange()
            assert pair.client.session_reused
            assert pair.server.session_reused
            assert why_not_resumed(pair.client) is Reason.RESUMED
            pair.close()

    @pytest.mark.parametrize("session_tickets", [True, False])
    def test_with_a_ticket_and_with_an_id(
        self, client: ssl.SSLContext, server_identity: Identity, session_tickets: bool
    ) -> None:
        server = server_context(server_identity, session_tickets=session_tickets)
        assert resumes(client, server, take(client, server))

    def test_read_back_in_each_format(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        for read_back in (
            lambda session: Session.from_bytes(session.to_bytes()),
            lambda session: Session.from_der(session.to_der()),
            lambda session: Session.from_pem(session.to_pem()),
        ):
            assert resumes(client, server, read_back(take(client, server)))

    def test_many_times_in_a_row(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = take(client, server)
        for _ in range(5):
            pair = connect(client, server, prepare=offering(session))
            assert pair.client.session_reused
            session = session_of(pair.client)
            pair.close()

    def test_the_last_one_set_is_offered(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        first, second = take(client, server), take(client, server)

        def prepare(conn: ssl.SSLObject) -> None:
            set_session(conn, first)
            set_session(conn, second)

        pair = connect(client, server, prepare=prepare)
        assert pair.client.session_reused
        pair.close()
        assert resumes(client, server, first), "the one that was replaced is not used up"

    def test_setting_one_twice_on_a_connection_is_using_it_once(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        session = take(client, server)

        def prepare(conn: ssl.SSLObject) -> None:
            set_session(conn, session)
            set_session(conn, session)

        assert connect(client, server, prepare=prepare).client.session_reused


class TestTheHandshakeHasBegun:
    def test_fact_14_openssl_ruins_a_live_connection_and_ours_refuses(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        session = take(client, server)
        ruined = connect(client, server)
        assert lib.SSL_set_session(handle(ruined.client), session._pointer) == 1
        assert session_of(ruined.client).id == session.id, "it claims another connection's session"
        whole = connect(client, server)
        before = session_of(whole.client).id
        for force in (False, True):
            with pytest.raises(SessionError, match="do_handshake_on_connect=False"):
                set_session(whole.client, session, force=force)
        assert session_of(whole.client).id == before
        whole.exchange(b"still alive")
        whole.close()

    def test_one_flight_is_enough(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = take(client, server)
        pair = Pair(client, server)
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.do_handshake()
        with pytest.raises(SessionError, match="began already"):
            set_session(pair.client, session)
        pair.handshake().exchange()
        assert not pair.client.session_reused
        pair.close()

    def test_after_the_end_too(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = take(client, server)
        pair = connect(client, server)
        pair.close()
        with pytest.raises(SessionError, match="began already"):
            set_session(pair.client, session)

    def test_the_refusal_uses_nothing_up(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = take(client, server)
        pair = connect(client, server)
        with pytest.raises(SessionError):
            set_session(pair.client, session)
        assert resumes(client, server, session)


class TestWhatIsNoSessionOfAClient:
    def test_a_server_is_told_what_servers_do(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = take(client, server)
        pair = Pair(client, server)
        with pytest.raises(SessionError, match="for clients"):
            set_session(pair.server, session, force=True)

    @pytest.mark.parametrize("other", [None, b"bytes", "text", object()])
    def test_only_a_session_will_do(self, client: ssl.SSLContext, server: ssl.SSLContext, other: Any) -> None:
        pair = Pair(client, server)
        with pytest.raises(TypeError, match=r"Session is needed.*get_session"):
            set_session(pair.client, other)

    def test_ssls_own_session_will_not(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        own: Any = connect(client, server).client.session
        with pytest.raises(TypeError, match=r"not \S+\.(SSL)?Session: see get_session"):
            set_session(Pair(client, server).client, own)

    def test_of_another_protocol_version(self, ca: Authority, server: ssl.SSLContext) -> None:
        for earned, offered in (("1.2", "1.3"), ("1.3", "1.2")):
            session = take(client_context(ca, version=earned), server)
            client = client_context(ca, version=offered)
            pair = Pair(client, server)
            with contextlib.suppress(SessionError):
                set_session(pair.client, session)
            pair.handshake().exchange()
            assert not pair.client.session_reused
            pair.close()


class Offers(User):
    """A user of an attachment that offers a copy of one session at every chance."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.asked: list[Any] = []

    def offer(self, borrowed: Any) -> bool:
        self.asked.append(borrowed.owner)
        copy = lib.SSL_SESSION_dup(self.session._pointer)
        done = lib.SSL_set_session(borrowed.ssl, copy)
        lib.SSL_SESSION_free(copy)
        return bool(done)


@pytest.mark.parametrize("kind", [Pair, SocketPair])
def test_fact_54_a_session_set_inside_the_info_callback_is_offered(
    client: ssl.SSLContext, server: ssl.SSLContext, kind: Any
) -> None:
    user = Offers(take(client, server))
    attachment = Attachment.join(client, user)
    try:
        pair = kind(client, server)
        pair.handshake().exchange()
        assert pair.client.session_reused
        assert pair.server.session_reused
        assert user.asked == [pair.client]
        pair.close()
    finally:
        attachment.leave(user)
    assert not connect(client, server).client.session_reused
