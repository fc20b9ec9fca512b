"""Which ticket keys there are, and when: nobody's ticket loses its key too soon, and no key outlives its tickets."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable

import pytest

from helpers.rings import HOUR, LIFETIME, ROTATE_EVERY, Fleet, encrypting
from sslsession import _schedules
from sslsession._schedules import AHEAD, SKEW, Derived, Ratchet, Slots, Timed

NOW = 1_700_000_000
YEAR = 365 * 24 * HOUR
ROOM = 64
SECRET = bytes(range(32))
Keys = Callable[[float], list[Timed]]


SCHEDULES = {
    "ratchet": lambda every, lifetime: Ratchet(SECRET, NOW, every, lifetime).keys,
    "derived": lambda every, lifetime: Derived(SECRET, every, lifetime).keys,
    "agreed": lambda every, lifetime: Fleet(every, lifetime).keys,
}


@pytest.fixture(params=SCHEDULES)
def schedule(request: pytest.FixtureRequest) -> Callable[[float, float], Keys]:
    """Each kind in turn, by how often it rotates and how long tickets live."""
    found: Callable[[float, float], Keys] = SCHEDULES[request.param]
    return found


@pytest.mark.parametrize("seed", range(12))
def test_a_ticket_s_key_is_there_until_the_ticket_is_dead(
    schedule: Callable[[float, float], Keys], seed: int
) -> None:
    """Whatever the times, and at whatever moments somebody looks: the issuing key is known before and long enough."""
    chance = random.Random(seed)
    every, lifetime = chance.choice([60, 600, 1000.5, HOUR, 4 * HOUR]), chance.choice([60, 599, 1800, 3600])
    lifetime = min(lifetime, every * 50)
    look = schedule(every, lifetime)
    now = NOW + chance.random()
    before: set[bytes] = {each.material.name for each in look(now)}
    encrypted_until: dict[bytes, float] = {}
    for _ in range(300):
        now += chance.random() * every * chance.choice([0.01, 0.5, 1])
        keys = look(now)
        alive = {each.material.name for each in keys}
        name = encrypting(keys, now).material.name
        assert name in before, "the key was there before its time"
        encrypted_until[name] = now
        for each, until in encrypted_until.items():
            assert each in alive or until + lifetime <= now
        before = alive


def test_each_key_encrypts_once_and_dies_soon_after_its_last_ticket(
    schedule: Callable[[float, float], Keys],
) -> None:
    look = schedule(ROTATE_EVERY, LIFETIME)
    order: list[bytes] = []
    last_seen: dict[bytes, float] = {}
    for step in range(0, 5 * ROTATE_EVERY, 300):
        keys = look(NOW + step)
        name = encrypting(keys, NOW + step).material.name
        if name not in order[-1:]:
            order.append(name)
        last_seen.update({each.material.name: NOW + step for each in keys})
    assert len(order) == len(set(order)), "no key comes back"
    assert len(order) in (5, 6)
    for name, successor in zip(order, order[1:]):
        assert last_seen[name] < last_seen[successor]
    first_dead = next(step for step in range(0, 9**9, 300) if NOW + step > last_seen[order[0]])
    assert first_dead <= ROTATE_EVERY + LIFETIME + SKEW + 300


def test_there_are_always_two_keys_before_their_time(schedule: Callable[[float, float], Keys]) -> None:
    look = schedule(ROTATE_EVERY, LIFETIME)
    for step in range(0, 3 * ROTATE_EVERY, 777):
        ahead = sorted(each.encrypts_from for each in look(NOW + step) if each.encrypts_from > NOW + step)
        assert len(ahead) >= AHEAD
        assert ahead[0] <= NOW + step + ROTATE_EVERY
        assert ahead[1] - ahead[0] == ROTATE_EVERY


def test_a_process_that_slept_a_year_has_the_present_key(schedule: Callable[[float, float], Keys]) -> None:
    look = schedule(ROTATE_EVERY, LIFETIME)
    before = {each.material.name for each in look(NOW)}
    keys = look(NOW + YEAR)
    assert encrypting(keys, NOW + YEAR).encrypts_from > NOW + YEAR - ROTATE_EVERY
    assert not before & {each.material.name for each in keys}
    assert len(keys) <= AHEAD + 4


def test_a_clock_that_goes_back_leaves_keys_to_use(schedule: Callable[[float, float], Keys]) -> None:
    look = schedule(ROTATE_EVERY, LIFETIME)
    for step in (0, 10, YEAR, 0, -HOUR):
        keys = look(NOW + step)
        assert keys
        assert all(each.decrypts_until > NOW + step for each in keys)


def test_all_names_and_secrets_differ(schedule: Callable[[float, float], Keys]) -> None:
    look = schedule(HOUR, HOUR)
    materials = {each.material for step in range(0, 400 * HOUR, HOUR) for each in look(NOW + step)}
    assert len(materials) >= 400
    parts = [part for each in materials for part in each]
    assert len(set(parts)) == len(parts) == 3 * len(materials)
    assert {tuple(map(len, each)) for each in materials} == {(16, 32, 32)}


# One chain, in one process or several


def test_the_chain_cannot_be_turned_back() -> None:
    """What a process holds once a key's tickets are dead gives neither that key nor any before it."""
    chain = Ratchet(SECRET, NOW, ROTATE_EVERY, LIFETIME)
    dead = chain.keys(NOW)[0].material
    chain.keys(NOW + ROTATE_EVERY + LIFETIME)
    held = pickle.dumps(vars(chain))
    assert SECRET not in held
    assert not any(part in held for part in dead)
    state: bytes = chain._state[0]
    for _ in range(1000):
        assert _schedules.derive(state, b"key") != dead
        state = _schedules.expand(state, b"sslsession next", 32)


def test_children_that_look_at_other_times_have_the_same_keys() -> None:
    """One that slept, or that was never asked, knows what its siblings issued meanwhile."""
    chance = random.Random(3)
    for _ in range(20):
        awake, asleep = (Ratchet(SECRET, NOW, 600, 1500) for _ in range(2))
        now = float(NOW)
        for _ in range(chance.randrange(1, 60)):
            now += chance.random() * 900
            awake.keys(now)
        assert awake.keys(now) == asleep.keys(now)


def test_more_keys_can_be_had_before_their_time() -> None:
    for kind in (Ratchet(SECRET, NOW, HOUR, HOUR), Derived(SECRET, HOUR, HOUR)):
        fewer, more = kind.keys(NOW), kind.keys(NOW, 7)
        assert more[: len(fewer)] == fewer
        assert len(more) == len(fewer) + 7 - AHEAD
        assert [each.encrypts_from for each in more] == sorted(each.encrypts_from for each in more)


# One secret, on hosts that do not talk


def test_a_secret_gives_the_same_keys_everywhere_and_another_gives_others() -> None:
    one, same, other = (Derived(secret, HOUR, HOUR).keys(NOW) for secret in (SECRET, SECRET, SECRET[::-1]))
    assert one == same
    assert not {each.material.name for each in one} & {each.material.name for each in other}


def test_hosts_whose_clocks_are_59_seconds_apart_open_each_other_s_tickets() -> None:
    """At any second around a change, in both directions, and up to the end of the ticket's life."""
    behind, ahead = Derived(SECRET, 600, 300), Derived(SECRET, 600, 300)
    start = NOW // 600 * 600
    for now in range(start - 130, start + 130):
        for issuer, opener, skew in ((behind, ahead, 59), (ahead, behind, -59)):
            used = encrypting(issuer.keys(now), now).material
            for age in (0, 150, 299):
                there = now + skew + age
                assert used in [each.material for each in opener.keys(there) if each.decrypts_until > there]


def test_the_keys_of_a_secret_fit_into_a_ring() -> None:
    """Whatever `check` lets pass."""
    chance, passed = random.Random(5), 0
    for _ in range(400):
        every, lifetime = chance.choice([1, 3, 7.5, 60, 300, HOUR]), chance.choice([1, 10, 60, 900, 7200])
        try:
            _schedules.check(every, lifetime, ROOM, SKEW)
        except ValueError:
            continue
        passed += 1
        assert len(Derived(SECRET, every, lifetime).keys(NOW + chance.random() * 99)) <= ROOM
    assert passed > 100


def test_slots_begin_at_round_times_whoever_counts() -> None:
    slots = Slots(600, 300)
    assert slots.number(1199.9) == 1
    assert slots.number(1200) == 2
    assert slots.timed(2, _schedules.derive(SECRET, b""))[1:] == (1200, 1800 + 300 + SKEW)


def test_hkdf_as_in_rfc_5869() -> None:
    """Its third test: no salt, no info."""
    wanted = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert _schedules.expand(b"\x0b" * 22, b"", 42).hex() == wanted


# More keys than there is room for


def hurried(begins: Iterable[float]) -> list[Timed]:
    """Keys that begin at these times, as after many rotations by hand."""
    return [
        Timed(_schedules.derive(SECRET, b"%d" % number), at, at + 99 * HOUR)
        for number, at in enumerate(begins)
    ]


def test_what_ring_c_encrypts_with() -> None:
    keys = hurried([NOW - 9, NOW, NOW + 0.5, NOW + 1])
    assert _schedules.present(keys, NOW) == 2, "in whole seconds, and of those that began together the last"
    assert _schedules.present(keys, NOW + 1.2) == 3
    assert _schedules.present(keys, NOW - 10) == 0
    assert _schedules.present([], NOW) == -1


def test_keys_whose_tickets_are_dead_go_first_then_those_to_come_and_the_living_last() -> None:
    keys = hurried([NOW - 9999, NOW - 9000, NOW - 100, NOW - 50, NOW, NOW + 50, NOW + 100, NOW + 150])
    order = [0, 7, 6, 1, 2, 3]
    for room in range(len(keys), 1, -1):
        kept = _schedules.fitting(reversed(keys), NOW, LIFETIME, room)
        assert kept == [each for number, each in enumerate(keys) if number not in order[: len(keys) - room]]
    assert _schedules.fitting([], NOW, LIFETIME, 3) == []


def test_keys_without_a_beginning_live_until_their_end() -> None:
    """Those of before, of a ring that began alone."""
    left = [each._replace(encrypts_from=-1.0, decrypts_until=NOW + 9) for each in hurried([0, 0])]
    keys = [*left, *hurried([NOW - 9999, NOW - 9000, NOW])]
    assert _schedules.fitting(keys, NOW, LIFETIME, 4) == [*left, *keys[3:]]


def test_when_there_is_room_for_another_key() -> None:
    keys = hurried([NOW - 500 + each for each in range(9)] + [NOW + 3 * HOUR])
    for room in (11, 20):
        assert _schedules.wait_for_room(keys, NOW, LIFETIME, room) == 0
    for lacking in (1, 2, 8):
        wait = _schedules.wait_for_room(keys, NOW, LIFETIME, 11 - lacking)
        assert wait == lacking - 500 + LIFETIME + SKEW
        assert _schedules.wait_for_room(keys, NOW + wait, LIFETIME, 11 - lacking) == 0
        assert _schedules.wait_for_room(keys, NOW + wait - 1, LIFETIME, 11 - lacking) == 1
    assert _schedules.wait_for_room([], NOW, LIFETIME, 3) == 0


# What nobody can do


@pytest.mark.parametrize(
    ("every", "lifetime", "error", "told"),
    [
        (0.5, 60, ValueError, "rotate_every is 1 second to 30 days, in seconds, not 0.5"),
        (31 * 24 * HOUR, 60, ValueError, "rotate_every is 1 second to 30 days"),
        (HOUR, 0, ValueError, "lifetime is 1 second to 7 days"),
        (HOUR, 8 * 24 * HOUR, ValueError, "RFC 8446 4.6.1"),
        (float("nan"), 60, ValueError, "not nan"),
        ("4h", 60, TypeError, "rotate_every is a number of seconds, not str"),
        (HOUR, None, TypeError, "lifetime is a number of seconds, not NoneType"),
        (True, 60, TypeError, "not bool"),
        (60, 7200, ValueError, "at least 129, not 60: there is room for 64 keys"),
    ],
)
def test_times_that_make_no_sense(every: object, lifetime: object, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        _schedules.check(every, lifetime, ROOM)
