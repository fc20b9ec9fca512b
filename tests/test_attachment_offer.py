"""Offering a session as a client's handshake begins, which caches build on: `_attachment.User.offer`."""

from __future__ import annotations

import ssl
import sys
import time
from typing import Any

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.openssl_calls import Unraisables
from helpers.peers import Pair, SocketPair, client_context, connect, server_context
from sslsession._attachment import Attachment, User
from sslsession._borrow import borrow
from sslsession._libssl import ffi, lib
from sslsession.handover import offer_unasked

pytestmark = pytest.mark.binding


class Offer:
    """Joined to a context, offers `session` on each new connection; `asked` has their owners."""

    def __init__(self, ctx: ssl.SSLContext, session: sslsession.Session | None) -> None:
        self.asked: list[Any] = []
        self.session = session
        self.user = User()
        self.user.offer = self.offer
        self.attachment = Attachment.join(ctx, self.user)

    def offer(self, borrowed: Any) -> bool:
        self.asked.append(borrowed.owner)
        return (
            self.session is not None
            and offer_unasked(self.session, borrowed.ssl, borrowed.owner.server_hostname, int(time.time()))
            is None
        )

    def close(self) -> None:
        self.attachment.leave(self.user)


def take(client: ssl.SSLContext, server: ssl.SSLContext) -> sslsession.Session:
    pair = connect(client, server)
    session = sslsession.get_session(pair.client)
    pair.close()
    assert session is not None
    return session


def ticket_in_use(conn: ssl.SSLObject) -> bytes:
    """The ticket of the session that a connection offers or has."""
    data, size = ffi.new("unsigned char **"), ffi.new("size_t *")
    lib.SSL_SESSION_get0_ticket(lib.SSL_get_session(borrow(conn).ssl), data, size)
    return bytes(ffi.buffer(data[0], size[0]))


def test_fact_54_what_is_offered_at_the_handshake_s_start_resumes(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    """Fails on the day that OpenSSL builds the ClientHello before it says HANDSHAKE_START."""
    session = take(client, server)
    offer = Offer(client, session)
    pair = connect(client, server)
    assert pair.client.session_reused
    assert offer.asked == [pair.client]
    assert sslsession.why_not_resumed(pair.client) is sslsession.Reason.RESUMED
    pair.close()
    offer.close()
    with Pair(client, server) as without:
        assert not without.client.session_reused
    assert len(offer.asked) == 1


def test_it_is_offered_also_where_the_handshake_happens_inside_a_read(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    offer = Offer(client, take(client, server))
    pair = Pair(client, server)
    for _ in range(4):
        for side in (pair.client, pair.server):
            with pytest.raises(ssl.SSLWantReadError):
                side.read(1)
    assert pair.client.session_reused
    assert offer.asked == [pair.client]
    offer.close()


def test_it_is_offered_on_sockets_too(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    offer = Offer(client, take(client, server))
    with SocketPair(client, server) as pair:
        assert pair.client.session_reused
        assert offer.asked == [pair.client]
    offer.close()


def test_servers_are_not_asked(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    offer = Offer(server, take(client, server))
    with Pair(client, server) as pair:
        assert not pair.client.session_reused
    assert offer.asked == []
    offer.close()


def test_fact_51_what_the_user_set_wins(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    his, stored = take(client, server), take(client, server)
    offer = Offer(client, stored)
    pair = Pair(client, server, prepare=lambda conn: sslsession.set_session(conn, his))
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    assert ticket_in_use(pair.client) == his.ticket
    pair.handshake()
    assert pair.client.session_reused
    assert offer.asked == []
    offer.close()


def test_fact_51_what_ssl_s_own_session_says_wins(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    stored = take(client, server)
    pair = connect(client, server)
    his = pair.client.session
    pair.close()
    offer = Offer(client, stored)
    pair = Pair(client, server, session=his)
    pair.handshake()
    assert pair.client.session_reused
    assert offer.asked == []
    offer.close()


@pytest.mark.parametrize("early", [False, True], ids=["begun", "with early data"])
def test_fact_51_a_second_start_of_the_same_handshake_asks_no_more(
    client: ssl.SSLContext, server: ssl.SSLContext, early: bool
) -> None:
    offer = Offer(client, None)
    pair = Pair(client, server)
    for _ in range(3):
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.do_handshake()
    pair.handshake()
    assert len(offer.asked) == 1
    offer.close()


def test_fact_29_a_renegotiation_asks_no_more(ca: Authority, server_identity: Identity) -> None:
    client, server = client_context(ca, version="1.2"), server_context(server_identity)
    offer = Offer(client, None)
    pair = connect(client, server)
    sslsession.renegotiate(pair.server)
    pair.pump()
    pair.exchange()
    assert len(offer.asked) == 1
    offer.close()
    pair.close()


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_fact_45_an_offer_that_raises_means_a_full_handshake(
    client: ssl.SSLContext, server: ssl.SSLContext, kind: type[Exception]
) -> None:
    offer = Offer(client, None)

    def failing(borrowed: Any) -> Any:
        raise kind("from an offer")

    offer.user.offer = failing
    with Unraisables() as reported:
        pair = connect(client, server)
    assert [type(error) for error in reported.errors] == [kind]
    assert not pair.client.session_reused
    assert sslsession.why_not_resumed(pair.client) is sslsession.Reason.NO_SESSION_OFFERED
    pair.close()
    offer.close()


def test_of_several_the_last_that_has_one_offers(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    sessions = [take(client, server) for _ in range(2)]
    offers = [Offer(client, session) for session in (*sessions, None)]
    pair = Pair(client, server)
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    assert ticket_in_use(pair.client) == sessions[1].ticket
    assert [len(offer.asked) for offer in offers] == [0, 1, 1]
    for offer in offers:
        offer.close()


def test_an_offer_that_the_server_does_not_know_is_declined(
    client: ssl.SSLContext, server: ssl.SSLContext, server_identity: Identity
) -> None:
    offer = Offer(client, take(client, server))
    pair = connect(client, server_context(server_identity))
    assert not pair.client.session_reused
    assert sslsession.why_not_resumed(pair.client) is sslsession.Reason.SERVER_DECLINED
    pair.close()
    offer.close()


def test_the_reference_that_was_handed_over_is_given_back(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    session = take(client, server)
    offer = Offer(client, session)
    for _ in range(50):
        pair = Pair(client, server)
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.do_handshake()
        pair.drop()
    assert session.to_der()
    assert sys.getrefcount(session) < 10 if hasattr(sys, "getrefcount") else True
    offer.close()
