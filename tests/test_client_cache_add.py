"""cache.add: a session from elsewhere, for the host that it is of."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from helpers.certs import Authority
from helpers.clients import not_offered, visit
from helpers.peers import Pair, client_context, connect
from helpers.sessions import aged, session_of, take
from sslsession import (
    ClientSessionCache,
    InvalidSession,
    Session,
    SessionExpired,
    SessionMismatch,
)

pytestmark = pytest.mark.binding
HOUR = 3600


class TestAdd:
    @pytest.fixture
    def cache(self) -> ClientSessionCache:
        return ClientSessionCache()

    def test_it_is_offered_to_that_host(
        self, cache: ClientSessionCache, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        session = take(client, server)
        cache.add(session, "LocalHost")
        cache.attach(client)
        assert not_offered(visit(client, server, "a.example"))
        assert visit(client, server).reused
        assert cache.stats()["hits"] == 1

    @pytest.mark.parametrize("what", [None, b"", "", object(), Session])
    def test_what_is_no_session(self, cache: ClientSessionCache, what: Any) -> None:
        with pytest.raises(TypeError, match=r"a sslsession\.Session is needed"):
            cache.add(what, "localhost")

    def test_ssl_s_own_session(
        self, cache: ClientSessionCache, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        with pytest.raises(TypeError, match=r"not .*Session"):
            cache.add(connect(client, server).client.session, "localhost")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("host", "port", "error", "says"),
        [
            ("", None, ValueError, "is no host"),
            (None, None, TypeError, "host must be text"),
            (b"localhost", None, TypeError, "host must be text"),
            ("localhost", "443", TypeError, "port must be a number"),
            ("localhost", 4.5, TypeError, "port must be a number"),
            ("localhost", True, TypeError, "port must be a number"),
            ("localhost", 0, ValueError, "no port 0"),
            ("localhost", 65536, ValueError, "no port 65536"),
            ("localhost", -1, ValueError, "no port -1"),
        ],
    )
    def test_hosts_and_ports_that_are_none(
        self,
        cache: ClientSessionCache,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        host: Any,
        port: Any,
        error: type[Exception],
        says: str,
    ) -> None:
        with pytest.raises(error, match=says):
            cache.add(take(client, server), host, port)
        assert cache.stats()["kept"] == cache.stats()["sessions"] == 0

    def test_sessions_that_cannot_be_resumed(
        self, cache: ClientSessionCache, ca: Authority, client: ssl.SSLContext, server: ssl.SSLContext
    ) -> None:
        with pytest.raises(SessionExpired, match="Connect without it"):
            cache.add(aged(take(client, server), 3 * HOUR), "localhost")
        with pytest.raises(SessionMismatch, match=r"'localhost'.*'a\.example'"):
            cache.add(take(client, server), "a.example")
        early = Pair(client_context(ca, version="1.3"), server).handshake()
        with pytest.raises(InvalidSession, match="after a first read"):
            cache.add(session_of(early.client), "localhost")
        early.close()
        assert cache.stats()["kept"] == cache.stats()["sessions"] == 0
