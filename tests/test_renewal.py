"""A new session or new keys in the middle of a connection: fact 29."""

from __future__ import annotations

import contextlib
import select
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.certs import Identity
from helpers.openssl_calls import openssl
from helpers.peers import Pair, SocketPair, connect, server_context
from helpers.sessions import handle, resumes, session_of
from sslsession import (
    Session,
    SessionError,
    SessionHooks,
    UnsupportedError,
    renegotiate,
    send_new_ticket,
    update_keys,
)
from sslsession._attachment import Attachment, User
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding
ALLOW_CLIENT_RENEGOTIATION = 1 << 8
NO_RENEGOTIATION = 1 << 30
GET_NUM_RENEGOTIATIONS = 10
needs_new_ticket = pytest.mark.skipif(
    ssl.OPENSSL_VERSION_INFO < (3, 0), reason="SSL_new_session_ticket came with OpenSSL 3.0"
)


@pytest.fixture
def server(server_identity: Identity) -> ssl.SSLContext:
    ctx = server_context(server_identity)
    ctx.options |= ALLOW_CLIENT_RENEGOTIATION
    return ctx


def renegotiations(conn: Any) -> int:
    return int(openssl.SSL_ctrl(handle(conn), GET_NUM_RENEGOTIATIONS, 0, ffi.NULL))


@contextlib.contextmanager
def reading(conn: ssl.SSLSocket, size: int) -> Iterator[bytearray]:
    """Let a thread read `size` bytes from `conn`, as its peer does other things; joined at the end."""
    got = bytearray()

    def read() -> None:
        while len(got) < size:
            got.extend(conn.recv(size - len(got)))

    thread = threading.Thread(target=read)
    thread.start()
    yield got
    thread.join()


class TestRenegotiate:
    def test_fact_29_the_client_gets_a_new_session(
        self, client12: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        pair = connect(client12, server)
        before = session_of(pair.client)
        renegotiate(pair.client)
        pair.pump()
        pair.exchange(b"under new keys")
        after = session_of(pair.client)
        assert renegotiations(pair.client) == 1
        assert after.master_secret != before.master_secret
        assert after.master_secret == session_of(pair.server).master_secret
        pair.close()
        assert resumes(client12, server, after)
        assert resumes(client12, server, before)

    def test_fact_29_the_server_asks(self, client12: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pair = connect(client12, server)
        before = session_of(pair.client)
        renegotiate(pair.server)
        assert pair.to_client.pending
        pair.pump()
        pair.exchange()
        assert session_of(pair.client).master_secret != before.master_secret
        assert renegotiations(pair.server) == 1
        pair.close()

    def test_fact_29_over_sockets_a_client_is_done_on_return(
        self, client12: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        with SocketPair(client12, server) as pair:
            pair.exchange()
            before = session_of(pair.client)
            with reading(pair.server, 4) as got:
                renegotiate(pair.client)
                assert session_of(pair.client).master_secret != before.master_secret
                pair.client.sendall(b"done")
            assert got == b"done"
            assert session_of(pair.server).master_secret == session_of(pair.client).master_secret

    def test_fact_29_over_sockets_it_happens_while_the_server_reads(
        self, client12: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        def follow(conn: ssl.SSLSocket) -> None:
            conn.setblocking(False)
            while not renegotiations(conn) or lib.SSL_in_init(handle(conn)):
                assert select.select([conn], [], [], 20)[0]
                with contextlib.suppress(ssl.SSLWantReadError):
                    conn.recv(1)
            conn.setblocking(True)
            conn.sendall(b"done")

        with SocketPair(client12, server) as pair:
            before = session_of(pair.client)
            renegotiate(pair.server)
            thread = threading.Thread(target=follow, args=[pair.client])
            thread.start()
            assert pair.server.recv(4) == b"done"
            thread.join()
            after = session_of(pair.client)
            assert after.master_secret == session_of(pair.server).master_secret
            assert after.master_secret != before.master_secret

    def test_fact_29_a_client_may_not_begin_unless_the_server_lets_it(
        self, client12: ssl.SSLContext, server_identity: Identity
    ) -> None:
        server = server_context(server_identity)
        server.options &= ~ALLOW_CLIENT_RENEGOTIATION
        pair = connect(client12, server)
        before = session_of(pair.client)
        renegotiate(pair.client)
        with pytest.raises(ssl.SSLError):
            pair.pump()
        assert session_of(pair.server).master_secret == before.master_secret

    def test_fact_29_this_side_may_forbid_it(self, client12: ssl.SSLContext, server: ssl.SSLContext) -> None:
        client12.options |= NO_RENEGOTIATION
        pair = connect(client12, server)
        with pytest.raises(SessionError, match="no renegotiation"):
            renegotiate(pair.client)
        assert openssl.ERR_peek_last_error() == 0
        pair.exchange(b"still alive")
        pair.close()

    def test_fact_29_tls13_has_none(self, client13: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pair = connect(client13, server)
        for side in (pair.client, pair.server):
            assert lib.SSL_renegotiate(handle(side)) == 0
            lib.ERR_clear_error()
            with pytest.raises(UnsupportedError, match=r"update_keys\(conn\)"):
                renegotiate(side)
        pair.exchange(b"still alive")
        pair.close()

    def test_fact_29_a_stored_session_is_offered_at_the_first_handshake_alone(
        self, client12: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        class Offers(User):
            asked = 0

            def offer(self, borrowed: Any) -> Any:
                self.asked += 1
                return ffi.NULL

        user = Offers()
        attachment = Attachment.join(client12, user)
        try:
            pair = connect(client12, server)
            renegotiate(pair.client)
            pair.pump()
            pair.exchange()
            assert renegotiations(pair.client) == 1
            assert user.asked == 1
            pair.close()
        finally:
            attachment.leave(user)

    def test_the_hook_gets_the_new_session(self, client12: ssl.SSLContext, server: ssl.SSLContext) -> None:
        came: list[Session] = []
        with SessionHooks(client12, new=lambda conn, session: came.append(session)):
            pair = connect(client12, server)
            renegotiate(pair.client)
            pair.pump()
            pair.exchange()
            pair.close()
        assert len(came) == 2
        assert came[1].cert_data is not None
        assert came[1].cert_data.verified
        assert all(resumes(client12, server, session) for session in came)


@needs_new_ticket
class TestSendNewTicket:
    @pytest.mark.parametrize("kind", [Pair, SocketPair])
    def test_fact_29_the_clients_session_changes(
        self, client13: ssl.SSLContext, server: ssl.SSLContext, kind: Any
    ) -> None:
        pair = kind(client13, server).handshake()
        pair.exchange()
        first = session_of(pair.client)
        send_new_ticket(pair.server)
        pair.exchange()
        second = session_of(pair.client)
        assert second.ticket != first.ticket
        pair.close()
        assert resumes(client13, server, first)
        assert resumes(client13, server, second)

    def test_each_one_comes_to_the_hook(self, client13: ssl.SSLContext, server_identity: Identity) -> None:
        server = server_context(server_identity, tickets=0)
        came: list[Session] = []
        with SessionHooks(client13, new=lambda conn, session: came.append(session)):
            pair = connect(client13, server)
            assert came == []
            for _ in range(3):
                send_new_ticket(pair.server)
            pair.exchange()
            pair.close()
        assert len({session.ticket for session in came}) == 3
        assert all(resumes(client13, server, session) for session in came)

    def test_in_an_ssl_object_it_waits_in_the_outgoing_bio(
        self, client13: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        pair = connect(client13, server)
        assert not pair.to_client.pending
        send_new_ticket(pair.server)
        assert pair.to_client.pending
        pair.pump()
        pair.close()

    def test_its_errors(
        self, client12: ssl.SSLContext, client13: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        with pytest.raises(SessionError, match="only a server sends tickets"):
            send_new_ticket(connect(client13, server).client)
        with pytest.raises(UnsupportedError, match=r"needs TLS 1.3.*renegotiate\(conn\)"):
            send_new_ticket(connect(client12, server).server)


class TestUpdateKeys:
    @pytest.mark.parametrize("kind", [Pair, SocketPair])
    def test_the_session_stays_and_data_passes(
        self, client13: ssl.SSLContext, server: ssl.SSLContext, kind: Any
    ) -> None:
        pair = kind(client13, server).handshake()
        pair.exchange()
        before = session_of(pair.client)
        for _ in range(3):
            for side in (pair.client, pair.server):
                update_keys(side)
                pair.exchange(b"under new keys")
        assert session_of(pair.client).ticket == before.ticket
        pair.close()
        assert resumes(client13, server, before)

    def test_it_sends_a_message(self, client13: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pair = connect(client13, server)
        update_keys(pair.client)
        assert pair.to_server.pending
        pair.pump()
        pair.close()

    def test_tls12_has_none(self, client12: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pair = connect(client12, server)
        for side in (pair.client, pair.server):
            with pytest.raises(UnsupportedError, match=r"needs TLS 1.3.*renegotiate\(conn\)"):
                update_keys(side)
        pair.exchange(b"still alive")
        pair.close()

    def test_not_while_a_write_is_half_done(self, client13: ssl.SSLContext, server: ssl.SSLContext) -> None:
        pair = SocketPair(client13, server).handshake()
        pair.client.setblocking(False)
        with contextlib.suppress(ssl.SSLWantWriteError):
            while True:
                pair.client.send(b"x" * 16_384)
        with pytest.raises(SessionError, match="OpenSSL refused"):
            update_keys(pair.client)
        pair.drop()


@pytest.mark.parametrize("renew", [renegotiate, send_new_ticket, update_keys])
def test_not_before_the_handshake_is_done(
    client13: ssl.SSLContext, server: ssl.SSLContext, renew: Callable[[Any], None]
) -> None:
    pair = Pair(client13, server)
    for side in (pair.client, pair.server):
        with pytest.raises(SessionError, match=r"do_handshake\(\) first"):
            renew(side)
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    with pytest.raises(SessionError, match=r"do_handshake\(\) first"):
        renew(pair.client)
