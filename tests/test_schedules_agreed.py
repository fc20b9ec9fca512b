"""Ticket keys that servers agree upon through a set: each slot has one, made long before its time, whoever makes it."""

from __future__ import annotations

import pytest

from helpers.rings import HOUR, LIFETIME, ROTATE_EVERY, Fleet, encrypting
from sslsession._schedules import AHEAD, BRIDGE_MOST, Agreed, Timed

NOW = 1_700_000_000
YEAR = 365 * 24 * HOUR


def slot_of(now: float, every: float = ROTATE_EVERY) -> float:
    """When the slot of a time began."""
    return now // every * every


def test_of_two_keys_that_were_made_at_once_all_take_the_same_and_open_both() -> None:
    one, other = Fleet(ROTATE_EVERY, LIFETIME), Fleet(ROTATE_EVERY, LIFETIME)
    for fleet, who in ((one, b"one"), (other, b"other")):
        for begins in fleet.agreed.missing(NOW):
            fleet.add(begins, who)
    forward, backward = {**one.entries, **other.entries}, {**other.entries, **one.entries}
    keys = [Agreed(each, ROTATE_EVERY, LIFETIME).keys(NOW) for each in (forward, backward)]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 2 * (AHEAD + 1)
    assert not Agreed(forward, ROTATE_EVERY, LIFETIME).missing(NOW)


def test_nobody_makes_what_is_there_nor_before_it_is_wanted() -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    assert fleet.agreed.missing(NOW) == [slot_of(NOW) + each * ROTATE_EVERY for each in range(AHEAD + 1)]
    fleet.keys(NOW)
    assert fleet.agreed.missing(NOW) == []
    assert fleet.agreed.missing(slot_of(NOW) + ROTATE_EVERY - 1) == []
    assert fleet.agreed.missing(slot_of(NOW) + ROTATE_EVERY) == [slot_of(NOW) + 3 * ROTATE_EVERY]


def test_a_key_in_the_middle_of_a_slot_counts_until_the_next_slot() -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    fleet.keys(NOW)
    middle = slot_of(NOW) + ROTATE_EVERY // 2
    fleet.add(middle, b"rotated")
    keys = fleet.keys(middle)
    assert encrypting(keys, middle).encrypts_from == middle
    assert not fleet.agreed.missing(middle)
    next_slot = slot_of(NOW) + ROTATE_EVERY
    assert encrypting(fleet.keys(next_slot), next_slot).encrypts_from == next_slot


@pytest.mark.parametrize("which", [0, 1, 2], ids=["the present", "the next", "the one after"])
def test_what_was_withdrawn_is_replaced(which: int) -> None:
    """Or the key before it would go on past its end, and all its tickets die at once."""
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    name = fleet.keys(NOW)[which].material.name
    entry, expires_at = fleet.agreed.withdrawal(name, NOW)
    fleet.entries[entry] = expires_at
    for step in range(0, 4 * ROTATE_EVERY, HOUR):
        now = NOW + step
        keys = fleet.keys(now)
        assert name not in [each.material.name for each in keys]
        assert encrypting(keys, now).encrypts_from == slot_of(now)


def test_a_withdrawal_is_remembered_for_longer_than_its_key() -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    fleet.keys(NOW)
    for entry, expires_at in list(fleet.entries.items()):
        assert fleet.agreed.withdrawal(entry[9:25], NOW)[1] > expires_at


def test_servers_that_were_all_away_begin_with_a_key_of_the_present_slot() -> None:
    """The last key of before still opens its tickets, and does not encrypt until it dies."""
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    last = fleet.keys(NOW)[-1]
    now = last.encrypts_from + ROTATE_EVERY + HOUR
    keys = fleet.keys(now)
    assert last in keys
    assert encrypting(keys, now).encrypts_from == slot_of(now)


def test_an_entry_that_is_none_is_passed_over() -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    keys = fleet.keys(NOW)
    for entry in (b"", b"K", b"X", b"Kshort", b"?" + bytes(88), b"K" + bytes(89)):
        fleet.entries[entry] = NOW + YEAR
    assert fleet.keys(NOW) == keys


# While nothing can be shared


def cut_off(entries: dict[bytes, float], now: float) -> Agreed:
    """One that has this set and reaches nobody, after a look."""
    alone = Agreed(dict(entries), ROTATE_EVERY, LIFETIME)
    look(alone, now)
    return alone


def look(alone: Agreed, now: float) -> list[Timed]:
    for key, begins in alone.bridge(now):
        entry, expires_at = alone.entry(key, begins)
        alone._entries[entry] = expires_at
    return alone.keys(now)


def test_servers_that_cannot_share_derive_the_same_keys_whenever_they_look() -> None:
    """For a week: one looks each hour, one slept for a day now and then, and one begins to look at the end."""
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    shared = fleet.keys(NOW)
    often, seldom = cut_off(fleet.entries, NOW), cut_off(fleet.entries, NOW)
    for hour in range(7 * 24):
        now = NOW + hour * HOUR
        keys = look(often, now)
        assert encrypting(keys, now).encrypts_from == slot_of(now)
        assert any(each.encrypts_from == slot_of(now) + ROTATE_EVERY for each in keys), "the next is there"
        if hour % 31 == 0:
            assert look(seldom, now)[-3:] == keys[-3:]
    assert look(seldom, now) == look(often, now) == look(cut_off(fleet.entries, now), now)
    assert not set(shared) & set(look(often, now))


def test_what_was_shared_is_used_up_first() -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    fleet.keys(NOW)
    for slots in range(AHEAD):
        assert fleet.agreed.bridge(slot_of(NOW) + slots * ROTATE_EVERY) == []
    ((_, begins),) = fleet.agreed.bridge(slot_of(NOW) + AHEAD * ROTATE_EVERY)
    assert begins == slot_of(NOW) + (AHEAD + 1) * ROTATE_EVERY


def test_who_has_the_newest_key_can_compute_the_next_and_who_has_an_older_one_cannot() -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    older, *_, newest = fleet.keys(NOW)
    later = NOW + 5 * ROTATE_EVERY
    wanted = {each.material for each in cut_off(fleet.entries, later).keys(later)}
    for known, can in ((newest, True), (older, False)):
        entry, expires_at = fleet.agreed.entry(known.material, known.encrypts_from)
        guessed = {each.material for each in cut_off({entry: expires_at}, later).keys(later)}
        assert bool(guessed & wanted) == can


def test_nothing_is_derived_of_nothing_nor_of_what_is_far_too_old() -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    assert fleet.agreed.bridge(NOW) == []
    fleet.keys(NOW)
    assert fleet.agreed.bridge(NOW + (BRIDGE_MOST - 9) * ROTATE_EVERY)
    assert fleet.agreed.bridge(NOW + (BRIDGE_MOST + 9) * ROTATE_EVERY) == []


@pytest.mark.parametrize("which", [-1, -2], ids=["the next", "the present"])
def test_a_derived_key_that_is_withdrawn_gives_place_to_another(which: int) -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    fleet.keys(NOW)
    now = NOW + 4 * ROTATE_EVERY
    alone = cut_off(fleet.entries, now)
    name = alone.keys(now)[which].material.name
    for each in (name, *alone.heirs(name)):
        entry, expires_at = alone.withdrawal(each, now)
        alone._entries[entry] = expires_at
    keys = look(alone, now)
    assert name not in [each.material.name for each in keys]
    assert [each.encrypts_from for each in keys][-2:] == [slot_of(now), slot_of(now) + ROTATE_EVERY]


def test_who_inherits_from_a_key() -> None:
    fleet = Fleet(ROTATE_EVERY, LIFETIME)
    *older, newest = fleet.keys(NOW)
    now = slot_of(NOW) + 4 * ROTATE_EVERY
    alone = cut_off(fleet.entries, now)
    derived = [each.material.name for each in alone.keys(now) if each.encrypts_from > newest.encrypts_from]
    assert len(derived) == 3
    assert alone.heirs(newest.material.name) == derived
    assert alone.heirs(derived[0]) == derived[1:]
    assert [alone.heirs(each.material.name) for each in older] == [[], []]
    assert alone.heirs(b"?" * 16) == []
