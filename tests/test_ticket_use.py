"""A TLS 1.3 ticket is used once: fact 15, whoever holds however many copies of it."""

from __future__ import annotations

import ssl
import threading
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import Pair, SocketPair, client_context, connect, server_context
from helpers.sessions import offering, resumes, session_of, ssl_resumes, take
from sslsession import Reason, Session, SessionExpired, set_session, why_not_resumed

pytestmark = pytest.mark.binding
USED = "the TLS 1.3 ticket was used already"


@pytest.fixture
def client(ca: Authority) -> ssl.SSLContext:
    return client_context(ca, version="1.3")


def test_fact_15_ssl_uses_a_ticket_again_and_ours_does_not(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    own = connect(client, server).client.session
    assert [ssl_resumes(client, server, own) for _ in range(2)] == [True, True]
    session = take(client, server)
    assert session.single_use
    assert resumes(client, server, session)
    for force in (False, True):
        with pytest.raises(SessionExpired, match=USED):
            resumes(client, server, session, force=force)


@pytest.mark.parametrize("form", ["bytes", "der", "pem", "mixed"])
def test_fact_15_copies_are_one_ticket(client: ssl.SSLContext, server: ssl.SSLContext, form: str) -> None:
    session = take(client, server)
    copies = {
        "bytes": [Session.from_bytes(session.to_bytes()) for _ in range(2)],
        "der": [Session.from_der(session.to_der()) for _ in range(2)],
        "pem": [Session.from_pem(session.to_pem()) for _ in range(2)],
        "mixed": [Session.from_bytes(session.to_bytes()), session],
    }[form]
    assert resumes(client, server, copies[0])
    with pytest.raises(SessionExpired, match=USED):
        resumes(client, server, copies[1])
    with pytest.raises(SessionExpired, match=USED):
        resumes(client, server, Session.from_der(session.to_der()))


def test_fact_15_a_ticket_taken_twice_from_one_connection(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    pair = connect(client, server)
    first, second = session_of(pair.client), session_of(pair.client)
    pair.close()
    assert first.ticket == second.ticket
    assert resumes(client, server, first)
    with pytest.raises(SessionExpired, match=USED):
        resumes(client, server, second)


def test_fact_15_in_another_context_it_is_the_same_ticket(
    ca: Authority, client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    session = take(client, server)
    assert resumes(client_context(ca), server, session)
    with pytest.raises(SessionExpired, match=USED):
        resumes(client, server, session)


@pytest.mark.parametrize("kind", [Pair, SocketPair])
@pytest.mark.parametrize("copied", [False, True])
def test_fact_15_of_two_connections_prepared_with_it_one_offers_it(
    client: ssl.SSLContext, server: ssl.SSLContext, kind: Any, copied: bool
) -> None:
    session = take(client, server)
    other = Session.from_bytes(session.to_bytes()) if copied else session
    first = kind(client, server, prepare=offering(session))
    second = kind(client, server, prepare=offering(other))
    for pair in (second, first):
        pair.handshake().exchange()
    assert (second.client.session_reused, first.client.session_reused) == (True, False)
    assert why_not_resumed(second.client) is Reason.RESUMED
    assert why_not_resumed(first.client) is Reason.TICKET_USED
    first.close()
    second.close()


def test_fact_15_a_handshake_that_only_began_has_used_it(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> None:
    session = take(client, server)
    pair = Pair(client, server, prepare=offering(session))
    assert not pair.to_server.pending
    prepared = Pair(client, server, prepare=offering(session))
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    pair.drop()
    with pytest.raises(SessionExpired, match=USED):
        resumes(client, server, session)
    prepared.handshake()
    assert not prepared.client.session_reused
    prepared.close()


def test_a_connection_that_never_began_used_nothing(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    session = take(client, server)
    Pair(client, server, prepare=offering(session)).drop()
    assert resumes(client, server, session)


def test_the_next_ticket_is_a_new_one(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    pair = connect(client, server, prepare=offering(take(client, server)))
    assert pair.client.session_reused
    following = session_of(pair.client)
    pair.close()
    assert resumes(client, server, following)


def test_a_tls12_session_is_used_as_often_as_it_lives(ca: Authority, server_identity: Identity) -> None:
    client = client_context(ca, version="1.2")
    for tickets in (True, False):
        server = server_context(server_identity, session_tickets=tickets)
        session = take(client, server)
        assert not session.single_use
        prepared = [Pair(client, server, prepare=offering(session)) for _ in range(2)]
        for pair in prepared:
            pair.handshake().exchange()
            assert pair.client.session_reused
            pair.close()
        assert resumes(client, server, session)


def test_fact_15_of_many_threads_one_offers_it(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    session = take(client, server)
    count = 8
    ready = threading.Barrier(count)
    reused: list[bool] = []

    def run() -> None:
        pair = Pair(client, server)
        ready.wait()
        try:
            set_session(pair.client, session)
        except SessionExpired:
            return
        pair.handshake().exchange()
        reused.append(bool(pair.client.session_reused))
        pair.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reused.count(True) == 1
