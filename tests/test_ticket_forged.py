"""Tickets that nobody issued: flipped, cut, extended, put together. None resumes, crashes, or ends a handshake."""

from __future__ import annotations

import contextlib
import os
import random
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.certs import Identity
from helpers.clients import begin
from helpers.openssl_calls import Unraisables, openssl, unbound
from helpers.peers import Pair, connect, server_context
from helpers.rings import IV, MAC, NAME, attached, current, key_of, needs_ring, with_ticket
from helpers.sessions import handle, take
from sslsession import ServerSessionCache, Session, TicketKeyRing, handover

pytestmark = [pytest.mark.binding, needs_ring]
MANY = 2_000
SOAK = int(os.environ.get("SSLSESSION_SOAK_TICKETS", "100000"))
LARGEST = 16_000
"""More than OpenSSL's client puts into a ClientHello is its own error."""


@pytest.fixture
def ring(server: ssl.SSLContext) -> TicketKeyRing:
    """A ring, on the server."""
    return attached(TicketKeyRing.random(), server)


def forged(tickets: list[bytes], seed: int) -> Iterator[bytes]:
    """Without end: what was made of these tickets in ways that a guess would take, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        ticket = bytearray(chance.choice(tickets))
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            how = chance.randrange(8)
            at = chance.randrange(len(ticket)) if ticket else 0
            if how == 0 and ticket:
                ticket[at] ^= 1 << chance.randrange(8)
            elif how == 1 and ticket:
                ticket[at] = chance.choice((0, 0xFF, chance.randrange(256)))
            elif how == 2:
                del ticket[at : at + chance.choice((1, 16, 32, 999))]
            elif how == 3:
                ticket[at:at] = chance.randbytes(chance.choice((1, 16, 32)))
            elif how == 4:
                ticket += chance.randbytes(chance.choice((1, 16, 32, 1000)))
            elif how == 5:
                other = chance.choice(tickets)
                ticket[at:] = other[at:]
            elif how == 6:
                ticket[:] = ticket[:NAME] + chance.randbytes(chance.randrange(400))
            else:
                ticket[NAME + IV : -MAC] = chance.randbytes(max(len(ticket) - NAME - IV - MAC, 0))
        if bytes(ticket) not in tickets and 0 < len(ticket) <= LARGEST:
            yield bytes(ticket)


def offering(session: Session) -> Callable[[Any], None]:
    """As a client does that is not ours, and minds neither what a ticket is for nor how often it was used."""

    def offer(conn: Any) -> None:
        context = handover.id_context()  # fact 41
        assert unbound("SSL_SESSION_set1_id_context", session._pointer, context, len(context)) == 1
        assert unbound("SSL_set_session", handle(conn), session._pointer) == 1

    return offer


def full(client: ssl.SSLContext, server: ssl.SSLContext, session: Session, *, whole: bool = True) -> None:
    """A connection that offers this, up to the server's answer or to its end, is a full handshake."""
    pair = Pair(client, server, prepare=offering(session))
    assert begin(pair), "the ClientHello has the ticket"
    with contextlib.suppress(ssl.SSLWantReadError):
        pair.server.do_handshake()
    assert not pair.server.session_reused
    assert pair.to_client.pending, "it went on"
    if whole:
        pair.handshake().exchange()
        assert not pair.client.session_reused
        pair.close()
    pair.drop()


def resumes(client: ssl.SSLContext, server: ssl.SSLContext, session: Session) -> bool:
    """Whether a whole connection does."""
    pair = connect(client, server, prepare=offering(session))
    pair.close()
    return bool(pair.server.session_reused)


def forge(client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, count: int, seed: int) -> None:
    """So many connections with forged tickets of this ring; in the middle and in the end the honest one resumes."""
    session, kept = take(client, server), [take(client, server) for _ in range(5)]
    der, tickets = session.to_der(), [each.ticket or b"" for each in (session, *kept)]
    before = ring.stats()
    for number, ticket in enumerate(forged(tickets, seed)):
        if number == count:
            break
        full(client, server, with_ticket(der, ticket), whole=number % 10 == 0)
        assert openssl.ERR_peek_last_error() == 0, "nothing stays in OpenSSL's queue of errors"
        if number == count // 2:
            assert resumes(client, server, kept.pop())
    assert resumes(client, server, kept.pop())
    assert ring.stats()["unknown"] > before["unknown"]
    assert ring.stats()["expired"] == 0


def test_forged_tickets_never_resume(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, unraisables: Unraisables
) -> None:
    forge(client, server, ring, MANY, seed=1)
    assert unraisables.errors == []


@pytest.mark.soak
def test_soak_forged_tickets_never_resume(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, unraisables: Unraisables
) -> None:
    forge(client, server, ring, SOAK, seed=2)
    assert unraisables.errors == []


def test_forged_tickets_never_resume_where_a_cache_has_the_sessions(
    client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
) -> None:
    """Their tickets are ids, or OpenSSL's own where the ring is beside the cache."""
    with ServerSessionCache() as cache:
        cache.attach(server)
        forge(client, server, attached(TicketKeyRing.random(), server), MANY // 10, seed=3)
        assert cache.stats()["resumed"] == 2
    assert unraisables.errors == []


def test_every_single_bit_counts(client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing) -> None:
    """Of each byte one bit: name, IV, state and MAC."""
    session = take(client, server)
    der, ticket = session.to_der(), session.ticket
    assert ticket is not None
    for at in range(len(ticket)):
        changed = bytearray(ticket)
        changed[at] ^= 1 << at % 8
        full(client, server, with_ticket(der, bytes(changed)), whole=False)
    assert ring.stats()["unknown"] == NAME, "and it is the name that tells which key"
    assert ring.stats()["opened"] == 0, "none of them was whole"
    assert resumes(client, server, with_ticket(der, ticket))


def test_every_length_but_the_right_one(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    session = take(client, server)
    der, ticket = session.to_der(), session.ticket
    assert ticket is not None
    for size in range(1, len(ticket)):
        full(client, server, with_ticket(der, ticket[:size]), whole=size % 16 == 0)
    for more in (1, 15, 16, 32, 4096, LARGEST - len(ticket)):
        full(client, server, with_ticket(der, ticket + b"\0" * more))
    full(client, server, with_ticket(der, ticket * 2))
    full(client, server, with_ticket(der, ticket[NAME:]))


def test_the_parts_of_good_tickets_do_not_make_another(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    """Each part of one beside the rest of another, under the same key and under two."""
    session, same = take(client, server), take(client, server)
    ring.rotate()
    later = take(client, server)
    assert key_of(same) == key_of(session) != key_of(later) == current(ring).name
    der, one = session.to_der(), session.ticket
    assert one is not None
    for other in (same.ticket, later.ticket):
        assert other is not None
        for start, end in (
            (0, NAME),
            (NAME, NAME + IV),
            (NAME + IV, len(one) - MAC),
            (len(one) - MAC, len(one)),
        ):
            mixed = one[:start] + other[start:end] + one[end:]
            if mixed != one:
                full(client, server, with_ticket(der, mixed))


def test_a_ticket_beside_another_session_s_secret_resumes_nothing(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    """Who saw a ticket on the wire, and has no secret of it: the handshake ends."""
    mine, seen = take(client, server), take(client, server)
    assert seen.ticket is not None
    pair = Pair(client, server, prepare=offering(with_ticket(mine.to_der(), seen.ticket)))
    with pytest.raises(ssl.SSLError):
        pair.handshake()
    assert resumes(client, server, seen)


def test_a_ticket_of_another_ring_with_the_key_s_name(
    server_identity: Identity, client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing
) -> None:
    """Well made in all but the secret."""
    other = server_context(server_identity)
    attached(TicketKeyRing.random(), other)
    session = take(client, other)
    assert session.ticket is not None
    full(client, server, with_ticket(session.to_der(), current(ring).name + session.ticket[NAME:]))
    assert ring.stats()["unknown"] == 0
