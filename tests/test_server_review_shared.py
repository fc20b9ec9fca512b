"""What a server does to sessions that OpenSSL's internal cache lends to several connections, and threads, at once.

With a ring alone OpenSSL keeps the TLS 1.2 sessions of clients without tickets itself. A client that comes back with
such an id, and says that it would take a ticket now, is resumed and gets one.
"""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.contexts import client_context, server_context
from helpers.memory import Pair
from helpers.openssl_calls import cached
from helpers.servers import BARE12, RESUMED, Serving, Way, earn, offer, params, renew
from helpers.sessions import handle
from sslsession._libssl import ffi, lib

pytestmark = pytest.mark.binding

SERVER_HELLO = 2


@pytest.fixture(params=params(BARE12))
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def client(ca: Authority) -> ssl.SSLContext:
    """One that takes no tickets."""
    return client_context(ca, version="1.2", tickets=False)


@pytest.fixture
def server(server_identity: Identity) -> ssl.SSLContext:
    return server_context(server_identity)


def stamp_of(conn: Any) -> tuple[Any, int]:
    """Where the stamp of a connection's session is, and its size."""
    data, size = ffi.new("void **"), ffi.new("size_t *")
    lib.SSL_SESSION_get0_ticket_appdata(lib.SSL_get_session(handle(conn)), data, size)
    return ffi.cast("unsigned char *", data[0]), int(size[0])


class Marked:
    """Changes the last byte of a resumed session's stamp, where it is, as the ServerHello is written."""

    def __init__(self, server: ssl.SSLContext) -> None:
        self.marked: int | None = None
        server._msg_callback = self._said  # type: ignore[attr-defined]

    def _said(self, conn: Any, direction: str, _version: Any, _content: Any, kind: Any, _data: bytes) -> None:
        if direction == "write" and kind == SERVER_HELLO and conn.session_reused:
            stamp, size = stamp_of(conn)
            stamp[size - 1] ^= 0xFF
            self.marked = stamp[size - 1]


def was_written(
    serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession
) -> bool:
    """Whether a session's stamp was made anew while a connection resumed it."""
    mark = Marked(server)
    pair = Pair(client, server, session=session).handshake()
    pair.exchange()
    assert pair.server.session_reused
    stamp, size = stamp_of(pair.server)
    assert mark.marked is not None
    return stamp[size - 1] != mark.marked


def test_one_whose_client_takes_no_ticket_is_only_read(
    serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    serving.attach(server)
    session = earn(client, server)
    assert cached(server) == 1, "OpenSSL keeps it"
    assert not was_written(serving, client, server, session)


def test_one_whose_client_takes_a_ticket_now_is_only_read(
    serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    serving.attach(server)
    session = earn(client, server)
    client.options &= ~ssl.OP_NO_TICKET
    assert not was_written(serving, client, server, session)


def test_it_gets_a_ticket_that_resumes(
    serving: Serving, client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    """Whatever else: a client that comes with an id and wants a ticket has both."""
    serving.attach(server)
    session = earn(client, server)
    client.options &= ~ssl.OP_NO_TICKET
    outcome, newer = renew(client, server, session)
    assert outcome == RESUMED
    assert newer.has_ticket
    assert offer(client, server, newer) == RESUMED
