"""However a handshake is driven, and whatever the user does himself, the cache offers once and at its beginning."""

from __future__ import annotations

import contextlib
import ssl

import pytest

from helpers.certs import Authority
from helpers.clients import Clock, Home, begin, visit
from helpers.peers import Pair, SocketPair, connect
from helpers.sessions import handle, offering, session_of, take
from sslsession import (
    ClientSessionCache,
    Reason,
    SessionMismatch,
    renegotiate,
    send_new_ticket,
    why_not_resumed,
)
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding
ALLOW_CLIENT_RENEGOTIATION = 1 << 8


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestRenegotiation:
    """Fact 29: the handshake's start is told again, and nothing is offered then."""

    def test_a_new_session_is_kept_and_none_is_offered(
        self, client12: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home = Home()
        server.options |= ALLOW_CLIENT_RENEGOTIATION
        home.attach(client12)
        home.visit(client12, server)
        before = home.cache.stats()
        pair = Pair(client12, server)
        pair.handshake().exchange()
        assert pair.client.session_reused
        renegotiated(pair)
        stats = home.cache.stats()
        assert stats["offered"] == before["offered"] + 1
        assert stats["kept"] == before["kept"] + 1
        pair.close()
        assert home.visit(client12, server).reused
        home.close()

    def test_a_new_ticket_in_the_middle_is_kept(
        self, client13: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        if ssl.OPENSSL_VERSION_INFO < (3, 0):
            pytest.skip("SSL_new_session_ticket came with OpenSSL 3.0")
        home = Home()
        home.attach(client13)
        pair = connect(client13, server)
        kept = home.cache.stats()["kept"]
        send_new_ticket(pair.server)
        pair.exchange()
        assert home.cache.stats()["kept"] == kept + 1
        pair.close()
        home.close()


def renegotiated(pair: Pair) -> None:
    """Over memory both sides have to be read from, in turns."""
    renegotiate(pair.client)
    for _ in range(3):
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.do_handshake()
        pair.pump()
    pair.exchange()


class TestWhoWins:
    """Fact 51: a session that the user set himself."""

    def test_ssl_s_own_session(self, home: Home, client12: ssl.SSLContext, server: ssl.SSLContext) -> None:
        first = connect(client12, server)
        own = first.client.session
        first.close()  # PyPy's is no copy: a drop would withdraw it
        home.earn(client12, server)
        before = home.cache.stats()["offered"]
        done = home.visit(client12, server, session=own)
        assert done.reused
        assert done.offered != home.visit(client12, server).offered
        assert home.cache.stats()["offered"] == before + 1

    def test_set_session(self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        session = take(client, server)
        home.earn(client, server)
        before = home.cache.stats()["offered"]
        done = home.visit(client, server, prepare=offering(session))
        assert done.reused
        assert home.cache.stats()["offered"] == before

    def test_a_session_that_was_refused_leaves_it_to_the_cache(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext, other_ca: Authority
    ) -> None:
        foreign = take(client, server, "a.example")
        home.earn(client, server)

        def refused(conn: ssl.SSLObject) -> None:
            with pytest.raises(SessionMismatch):
                offering(foreign)(conn)

        assert home.visit(client, server, prepare=refused).reused


class TestKindsOfConnections:
    def test_do_handshake(self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        """Sockets without a port, as socketpair makes them."""
        home.attach(client)
        seen = []
        for _ in range(2):
            pair = SocketPair(client, server).handshake()
            pair.exchange()
            seen.append(bool(pair.client.session_reused))
            pair.close()
            home.restart()
        assert seen == [False, True]

    def test_a_handshake_inside_read_and_write(
        self, home: Home, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        home.earn(client, server)
        for first in ("read", "write"):
            pair = Pair(client, server)
            while True:
                try:
                    pair.client.read(1) if first == "read" else pair.client.write(b"x")
                    break
                except ssl.SSLWantReadError:
                    try:
                        pair.server.do_handshake()
                    except ssl.SSLWantReadError:
                        continue
                    if first == "read":
                        pair.server.write(b"x")
            assert pair.client.session_reused
            assert why_not_resumed(pair.client) is Reason.RESUMED
            pair.drop()

    def test_fact_54_the_info_callback_comes_before_the_client_hello(
        self, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """The day that this fails, sessions cannot be offered this way any more."""
        home = Home()
        home.earn(client, server)
        pair = Pair(client, server)
        assert lib.SSL_get_session(handle(pair.client)) == ffi.NULL
        assert begin(pair)
        assert lib.SSL_get_session(handle(pair.client)) != ffi.NULL
        pair.drop()
        home.close()

    def test_the_session_of_a_connection_is_its_own(
        self, client12: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        """Fact 34: what is kept is given to no two connections; each has a dup."""
        home = Home()
        home.earn(client12, server)
        pairs = [connect(client12, server) for _ in range(3)]
        pointers = {str(lib.SSL_get_session(handle(pair.client))) for pair in pairs}
        assert len(pointers) == 3
        assert len({session_of(pair.client).id for pair in pairs}) == 1
        for pair in pairs:
            pair.close()
        home.close()


def test_a_closed_cache_is_told_nothing(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    cache = ClientSessionCache()
    cache.attach(client)
    cache.close()
    visit(client, server)
    assert cache.stats()["kept"] == 0
