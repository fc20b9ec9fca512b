"""A ring of ticket keys on server contexts: what resumes, what is renewed, and what becomes of it as time goes on."""

from __future__ import annotations

import gc
import ssl
import weakref

import pytest

from helpers.certs import Authority, Identity
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context, connect, server_context
from helpers.rings import (
    HOUR,
    LIFETIME,
    ROTATE_EVERY,
    Hand,
    RawTicketKey,
    again,
    attached,
    coming,
    current,
    key_of,
    needs_ring,
    time_goes_on,
)
from helpers.sessions import offering, resumes, take
from sslsession import Session, SessionError, SessionHooks, TicketKeyRing
from sslsession._ring_of_c import COUNTS

pytestmark = [pytest.mark.binding, needs_ring]
WEEK = 7 * 24 * HOUR


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def ring(hand: Hand) -> TicketKeyRing:
    return TicketKeyRing.random(clock=hand)


@pytest.fixture
def twin(server_identity: Identity) -> ssl.SSLContext:
    """A context like `server`: another worker's."""
    return server_context(server_identity)


def tickets_of(client: ssl.SSLContext, server: ssl.SSLContext, session: Session | None = None) -> int:
    """How many tickets a connection brings; one that offers a session resumes it."""
    came: list[Session] = []
    with SessionHooks(client, new=lambda conn, new: came.append(new)):
        pair = connect(client, server, prepare=offering(session) if session is not None else None)
        assert pair.client.session_reused == (session is not None)
        pair.close()
    return len(came)


# What resumes, and what is renewed


def test_contexts_of_one_ring_resume_each_other_s_sessions(
    client: ssl.SSLContext, server: ssl.SSLContext, twin: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    assert not resumes(client, twin, take(client, server)), "without a ring they do not"
    attached(ring, server, twin)
    for one, other in ((server, twin), (twin, server), (server, server)):
        session = take(client, one)
        assert key_of(session) == current(ring).name
        assert resumes(client, other, session)


def test_another_ring_s_tickets_are_full_handshakes(
    client: ssl.SSLContext, server: ssl.SSLContext, twin: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    other = attached(TicketKeyRing.random(), twin)
    attached(ring, server)
    assert not resumes(client, twin, take(client, server))
    assert other.stats()["unknown"] == 1
    assert other.stats()["opened"] == 0


@pytest.mark.parametrize(("answer", "tickets"), [(1, 0), (2, 1)], ids=["fine", "renew"])
def test_fact_36_only_the_answer_renew_brings_a_resumed_client_a_ticket(
    client13: ssl.SSLContext, server: ssl.SSLContext, answer: int, tickets: int
) -> None:
    """OpenSSL by itself, with a custom key callback and TLS 1.3."""
    RawTicketKey(server, answer)
    session = take(client13, server)
    assert key_of(session) == b"n" * 16
    assert tickets_of(client13, server, session) == tickets


def test_fact_36_a_resumed_tls_1_3_client_always_gets_a_fresh_ticket(
    client13: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    attached(ring, server)
    assert tickets_of(client13, server) == 2
    session = take(client13, server)
    assert tickets_of(client13, server, session) == 1
    seen = set()
    session = take(client13, server)
    for _ in range(10):
        seen.add(session.ticket)
        session = again(client13, server, session)
    assert len(seen) == 10
    assert ring.stats()["renewed"] == ring.stats()["opened"] == 11


def test_a_tls_1_2_client_gets_another_ticket_only_when_the_key_is_not_the_present_one(
    client12: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    attached(ring, server)
    session = take(client12, server)
    first = session.ticket
    for _ in range(3):
        session = again(client12, server, session)
        assert session.ticket == first
    assert (ring.stats()["issued"], ring.stats()["renewed"]) == (1, 0)
    ring.rotate()
    session = again(client12, server, session)
    assert session.ticket != first
    assert key_of(session) == current(ring).name
    assert (ring.stats()["issued"], ring.stats()["renewed"]) == (2, 1)
    assert again(client12, server, session).ticket == session.ticket


def test_what_it_counts(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, tls_version: str
) -> None:
    attached(ring, server)
    assert ring.stats() == {**dict.fromkeys(COUNTS, 0), "errors": 0, "keys": 3}
    session = take(client, server)
    first = 2 if tls_version == "1.3" else 1
    assert ring.stats()["issued"] == current(ring).issued == first
    assert resumes(client, server, session)
    assert ring.stats()["opened"] == current(ring).opened == 1
    ring.rotate()
    assert (current(ring).issued, current(ring).opened) == (0, 0), "each key has its own"
    assert sum(info.opened for info in ring.key_info()) == 1
    assert ring.stats()["opened"] == 1


# Time


def test_rotation_never_drops_a_resumption(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, hand: Hand
) -> None:
    """Two days in steps that fit no slot: who comes often, and who comes at the very end of his ticket's life."""
    attached(ring, server)
    often = take(client, server)
    keys, waiting = set(), []
    for _ in range(48 * HOUR // 2111):
        waiting.append((hand.now, take(client, server)))
        hand.move(2111, ring)
        often = again(client, server, often)
        keys.add(key_of(often))
        while waiting[0][0] + LIFETIME - 1 < hand.now + 2111:
            made, session = waiting.pop(0)
            time_goes_on(ring, made + LIFETIME - 1)
            again(client, server, session)
            time_goes_on(ring, hand.now)
    assert len(keys) >= 12
    assert ring.stats()["unknown"] == ring.stats()["expired"] == 0


def test_the_change_of_keys_is_c_s_and_to_the_second(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, hand: Hand
) -> None:
    """No Python looks at the moment when the next key's time comes."""
    attached(ring, server)
    before, after = current(ring), coming(ring)
    time_goes_on(ring, after.encrypts_from - 1)
    assert key_of(take(client, server)) == before.name
    time_goes_on(ring, after.encrypts_from)
    assert key_of(take(client, server)) == after.name
    hand.move(ROTATE_EVERY, ring)
    assert current(ring).name == after.name


def test_a_retired_key_dies_on_time_whether_or_not_python_looks(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, hand: Hand
) -> None:
    attached(ring, server)
    sessions = [take(client, server) for _ in range(3)]
    key = current(ring)
    assert key.decrypts_until == hand.now + ROTATE_EVERY + LIFETIME
    time_goes_on(ring, key.decrypts_until - 1)
    assert resumes(client, server, sessions[0])
    time_goes_on(ring, key.decrypts_until)
    assert not resumes(client, server, sessions[1])
    assert ring.stats()["expired"] == 1
    hand.move(ROTATE_EVERY + LIFETIME, ring)
    assert not resumes(client, server, sessions[2])
    assert ring.stats()["unknown"] == 1
    assert key.name not in {info.name for info in ring.key_info()}


def test_the_authentication_limit_holds_across_renewals(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, hand: Hand, tls_version: str
) -> None:
    """Seven days after the full handshake it is over, however fresh the ticket; then they begin anew."""
    attached(ring, server)
    session, began = take(client, server), hand.now
    while hand.now + 7000 < began + WEEK:
        hand.move(7000, ring)
        session = again(client, server, session)
    hand.move(began + WEEK - 1 - hand.now, ring)
    session = again(client, server, session)
    hand.move(1, ring)
    assert not resumes(client, server, session)
    assert resumes(client, server, take(client, server))


# Contexts


def test_detach_gives_the_context_openssl_s_own_key_back(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    own = [take(client, server) for _ in range(2)]
    attached(ring, server)
    ours = take(client, server)
    assert not resumes(client, server, own.pop())
    ring.detach(server)
    assert resumes(client, server, own.pop()), "the key that it had before"
    assert not resumes(client, server, ours)
    assert key_of(take(client, server)) != key_of(ours)
    issued = ring.stats()["issued"]
    take(client, server)
    assert ring.stats()["issued"] == issued
    ring.detach(server)
    ring.attach(server)
    assert key_of(take(client, server)) == key_of(ours)


def test_attaching_again_does_nothing_and_another_ring_must_wait(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    ring.attach(server)
    ring.attach(server)
    other = TicketKeyRing.random()
    with pytest.raises(SessionError, match="has a TicketKeyRing already: detach that one first"):
        other.attach(server)
    assert key_of(take(client, server)) == current(ring).name
    other.detach(server)
    ring.detach(server)
    other.attach(server)
    assert key_of(take(client, server)) == current(other).name


def test_only_a_server_s_context_will_do(client13: ssl.SSLContext, ring: TicketKeyRing) -> None:
    with pytest.raises(ValueError, match="this context is a client's, and ticket keys"):
        ring.attach(client13)
    for wrong in (None, "context", object(), ssl.SSLContext):
        with pytest.raises(TypeError, match=r"an ssl.SSLContext is needed, not \w+"):
            ring.attach(wrong)  # type: ignore[arg-type]


def test_a_ring_lives_as_long_as_its_contexts_and_no_longer(
    ca: Authority, server_identity: Identity, unraisables: Unraisables
) -> None:
    """Nobody has to hold it; and when the contexts are gone, it is gone, with its keys."""
    client, servers = client_context(ca), [server_context(server_identity) for _ in range(3)]
    held = weakref.ref(attached(TicketKeyRing.random(), *servers))
    for _ in range(2):
        gc.collect()
        assert resumes(client, servers[0], take(client, servers[-1]))
        servers.pop()
    servers.clear()
    TicketKeyRing.random().attach(server_context(server_identity))  # whoever attaches looks for what went
    gc.collect()
    assert held() is None
    assert unraisables.errors == []


def test_a_ring_may_leave_in_the_middle_of_a_handshake(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    """And come back in the middle of the next; both end well, and so does who offers what they brought."""
    attached(ring, server)
    for turn in (ring.detach, ring.attach):
        server.sni_callback = lambda conn, name, ctx, turn=turn: turn(server)
        session = take(client, server)
        server.sni_callback = None
        pair = connect(client, server, prepare=offering(session))
        pair.close()
    assert resumes(client, server, take(client, server))
