"""Ticket keys that servers agree upon through a set: each slot has one, made long before its time, whoever makes it."""

from __future__ import annotations

import pytest

from helpers.rings import HOUR, LIFETIME, ROTATE_EVERY, Fleet, encrypting
from sslsession._schedules import AHEAD, Agreed

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
