"""The keys of a ring as its owner handles them: told of, rotated and withdrawn by hand; and what is no ring at all."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from helpers.openssl_calls import Unraisables
from helpers.rings import (
    HOUR,
    LIFETIME,
    ROTATE_EVERY,
    SECRET,
    Hand,
    again,
    attached,
    coming,
    current,
    key_of,
    names,
    needs_ring,
    states,
)
from helpers.sessions import resumes, take
from sslsession import SessionError, TicketKeyRing, UnsupportedError, tickets
from sslsession._attachment import EVP_KEY_CALLBACK
from sslsession._schedules import AHEAD, SKEW
from sslsession.stores import MemoryStore

pytestmark = needs_ring
KINDS = ["random", "secret", "shared"]


@pytest.fixture
def hand() -> Hand:
    return Hand()


def made(kind: str, hand: Hand, **settings: Any) -> TicketKeyRing:
    """A ring of this kind."""
    settings["clock"] = hand
    if kind == "secret":
        return TicketKeyRing.from_secret(SECRET, **settings)
    if kind == "shared":
        return TicketKeyRing.shared(MemoryStore(clock=hand), **settings)
    return TicketKeyRing.random(**settings)


@pytest.fixture(params=KINDS)
def ring(request: pytest.FixtureRequest, hand: Hand) -> TicketKeyRing:
    """Each ring whose keys are not a file's, in turn."""
    return made(request.param, hand)


def passes(hand: Hand, ring: TicketKeyRing, seconds: float = 3) -> None:
    """The moment after which all rings of a store have a key that was made by hand."""
    hand.move(seconds, ring)


# What is told of keys


def test_the_one_that_encrypts_then_those_to_come_then_the_retired_newest_first(
    ring: TicketKeyRing, hand: Hand
) -> None:
    for _ in range(8):
        hand.move(HOUR, ring)
        infos = ring.key_info()
        told = [info.state for info in infos]
        retired = told.count("retired")
        assert told == ["current", *["next"] * (len(infos) - retired - 1), *["retired"] * retired]
        begins = [info.encrypts_from for info in infos]
        assert begins[0] <= hand.now < begins[1]
        assert begins[1 : len(infos) - retired] == sorted(begins[1 : len(infos) - retired])
        assert begins[len(infos) - retired :] == sorted(begins[len(infos) - retired :], reverse=True)
        assert all(info.decrypts_until >= info.encrypts_from + ROTATE_EVERY + LIFETIME for info in infos)
        assert len({info.name for info in infos}) == len(infos)
        assert ring.stats()["keys"] == len(infos)


def test_its_repr_says_how_many(ring: TicketKeyRing) -> None:
    assert repr(ring) == f"<TicketKeyRing of {len(ring.key_info())} keys>"


def test_what_key_info_calls_current_is_what_encrypts(
    client12: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, hand: Hand
) -> None:
    """Also where several keys began in the same second, and where the clock went back before all of them."""
    attached(ring, server)
    for turn in range(AHEAD):
        ring.rotate()
        assert key_of(take(client12, server)) == current(ring).name, turn
    passes(hand, ring)
    assert key_of(take(client12, server)) == current(ring).name
    hand.move(-99 * 24 * HOUR, ring)
    assert key_of(take(client12, server)) == current(ring).name


# Rotated by hand


def test_rotate_makes_the_next_key_the_present_one_and_opens_what_was_issued(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, hand: Hand
) -> None:
    attached(ring, server)
    session, before = take(client, server), current(ring).name
    ring.rotate()
    passes(hand, ring)
    assert current(ring).name != before
    session = again(client, server, session)
    assert key_of(session) == current(ring).name
    assert next(info for info in ring.key_info() if info.name == before).state == "retired"


@pytest.mark.parametrize("kind", ["random", "shared"])
def test_rotating_again_and_again_never_runs_out_of_keys(
    client: ssl.SSLContext, server: ssl.SSLContext, hand: Hand, kind: str
) -> None:
    ring = attached(made(kind, hand), server)
    session, seen = take(client, server), {current(ring).name}
    for _ in range(20):
        ring.rotate()
        passes(hand, ring)
        assert states(ring).count("next") >= AHEAD
        assert current(ring).name not in seen
        seen.add(current(ring).name)
        session = again(client, server, session)
    for _ in range(90):
        hand.move(6000, ring)
        session = again(client, server, session)
    assert len(names(ring)) <= 2 * AHEAD + 2, "it is back to what is needed"


# Withdrawn by hand


@pytest.mark.parametrize("which", ["current", "retired"])
def test_tickets_under_a_withdrawn_key_are_full_handshakes_and_no_others(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, hand: Hand, which: str
) -> None:
    attached(ring, server)
    old = [take(client, server) for _ in range(2)]
    hand.move(ROTATE_EVERY, ring)
    new = [take(client, server) for _ in range(2)]
    assert key_of(old[0]) != key_of(new[0])
    bad, good = (new, old) if which == "current" else (old, new)
    assert resumes(client, server, good.pop())
    ring.revoke(key_of(bad[0]))
    assert key_of(bad[0]) not in names(ring)
    assert not resumes(client, server, bad.pop())
    assert resumes(client, server, good.pop())
    assert key_of(take(client, server)) == current(ring).name != key_of(bad[0])
    for _ in range(20):
        hand.move(HOUR, ring)
        assert key_of(bad[0]) not in names(ring), "it does not come back"


def test_the_next_key_can_be_withdrawn_before_its_time(
    client: ssl.SSLContext, server: ssl.SSLContext, hand: Hand
) -> None:
    """Another host, whose clock is ahead, issued under it already; when its time comes, nothing is dropped."""
    ahead = Hand(hand.now + SKEW - 1)
    hand.move(ROTATE_EVERY - 30)
    ahead.move(ROTATE_EVERY - 30)
    here, there = made("secret", hand), made("secret", ahead)
    attached(there, server)
    early = [take(client, server) for _ in range(2)]
    there.detach(server)
    attached(here, server)
    assert key_of(early[0]) == coming(here).name
    assert resumes(client, server, early.pop())
    here.revoke(coming(here).name)
    assert not resumes(client, server, early.pop())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_dropped_when_the_time_of_a_withdrawn_key_comes(
    client: ssl.SSLContext, server: ssl.SSLContext, hand: Hand, kind: str
) -> None:
    """Another encrypts then, and what encrypts will open it for as long as tickets live."""
    ring = attached(made(kind, hand), server)
    ring.revoke(coming(ring).name)
    session, waiting = take(client, server), []
    for _ in range(30):
        waiting.append((hand.now, take(client, server)))
        hand.move(1500, ring)
        assert current(ring).decrypts_until >= hand.now + LIFETIME
        session = again(client, server, session)
        while waiting[0][0] + LIFETIME <= hand.now + 1500:
            again(client, server, waiting.pop(0)[1])


def test_any_number_of_keys_can_be_withdrawn(
    client: ssl.SSLContext, server: ssl.SSLContext, ring: TicketKeyRing, hand: Hand
) -> None:
    attached(ring, server)
    gone: set[bytes] = set()
    for _ in range(12):
        session, name = take(client, server), current(ring).name
        ring.revoke(name)
        gone.add(name)
        assert not resumes(client, server, session)
    assert not gone & names(ring)
    assert states(ring).count("next") >= AHEAD
    hand.move(1, ring)
    assert resumes(client, server, take(client, server))


def test_a_name_that_is_no_key_s(ring: TicketKeyRing) -> None:
    with pytest.raises(KeyError, match="there is no ticket key 6e6f in this ring"):
        ring.revoke(b"no")
    for wrong in ("0011", None, 7):
        with pytest.raises(TypeError, match="key_name is bytes, the name of a KeyInfo, not"):
            ring.revoke(wrong)  # type: ignore[arg-type]
    ring.revoke(bytearray(current(ring).name))


# What is no ring


def test_a_ring_is_made_by_one_of_four() -> None:
    with pytest.raises(
        TypeError, match=r"TicketKeyRing.random\(\), .from_secret\(\), .shared\(\) or .from_file"
    ):
        TicketKeyRing()


@pytest.mark.parametrize(
    ("secret", "error", "told"),
    [
        ("short", ValueError, "at least 32 random bytes, such as secrets.token_hex"),
        (b"x" * 64, ValueError, "at least 32 random bytes"),
        (bytes(32), ValueError, "at least 32 random bytes"),
        (None, TypeError, "the secret is bytes or text, not NoneType"),
        (32, TypeError, "not int"),
    ],
)
def test_a_secret_that_is_none(secret: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        TicketKeyRing.from_secret(secret)


@pytest.mark.parametrize("kind", KINDS)
def test_times_that_make_no_sense(kind: str, hand: Hand) -> None:
    for settings, told in (
        ({"rotate_every": 0}, "rotate_every is 1 second to 30 days"),
        ({"lifetime": 8 * 24 * HOUR}, "7 days"),
        ({"rotate_every": 60, "lifetime": 7200}, "need a rotate_every of at least"),
    ):
        with pytest.raises(ValueError, match=told):
            made(kind, hand, **settings)
    with pytest.raises(TypeError, match="lifetime is a number of seconds, not str"):
        made(kind, hand, lifetime="2h")


def test_the_clocks_of_hosts_need_room_in_a_ring_of_a_secret(hand: Hand) -> None:
    with pytest.raises(
        ValueError, match="need a rotate_every of at least 3, not 1: there is room for 64 keys"
    ):
        made("secret", hand, rotate_every=1, lifetime=10)
    assert len(names(made("secret", hand, rotate_every=3, lifetime=10))) <= 64


def test_what_is_no_store() -> None:
    with pytest.raises(TypeError, match=r"a store of sslsession.stores, or its URL, is needed"):
        TicketKeyRing.shared(object())
    with pytest.raises(TypeError, match="MemoryStore is a class: make one of it"):
        TicketKeyRing.shared(MemoryStore)
    with pytest.raises(TypeError, match="name is a str, not bytes"):
        TicketKeyRing.shared(MemoryStore(), name=b"workers")  # type: ignore[arg-type]


def test_an_older_openssl_has_no_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tickets.features, EVP_KEY_CALLBACK, False)
    with pytest.raises(UnsupportedError, match=r"ticket keys need OpenSSL 3.0"):
        TicketKeyRing.random()


def test_nothing_is_said_unheard(ring: TicketKeyRing, hand: Hand, unraisables: Unraisables) -> None:
    for _ in range(10):
        ring.rotate()
        hand.move(ROTATE_EVERY, ring)
    with pytest.raises((KeyError, SessionError)):
        ring.revoke(b"?" * 16)
    assert unraisables.errors == []
    assert ring.stats()["errors"] == 0
