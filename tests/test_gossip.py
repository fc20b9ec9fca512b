"""A set that servers share through one value of a store: whatever order they look in, all come to have all of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from helpers.bad_days import FakeStore
from sslsession import StoreError
from sslsession._gossip import ENTRIES_MOST, HEAD, SIZES, Gossip
from sslsession._revocations import ALL, CERTIFICATE, entry, join
from sslsession.stores import MemoryStore

NOW, LATER = 1_700_000_000.0, 1_700_009_999.0
KEY = b"shared"


class Between(MemoryStore):
    """A store that lets a test act between what one member reads and what it writes."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW)
        self.writes = 0
        self.meanwhile: list[Gossip] = []

    def peek(self, key: bytes | str) -> bytes | None:
        found = super().peek(key)
        while self.meanwhile:
            self.meanwhile.pop().sync(self, NOW)
        return found

    def add(self, key: bytes | str, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        self.writes += 1
        super().add(key, value, expires_at=expires_at, keep=keep)


@pytest.fixture
def store() -> Between:
    return Between()


def members(count: int) -> list[Gossip]:
    """As many, each with an entry that only it knows."""
    found = [Gossip(KEY) for _ in range(count)]
    for number, each in enumerate(found):
        each.add(b"of %d" % number, LATER)
    return found


def all_of(count: int) -> dict[bytes, float]:
    """What they have in the end."""
    return {b"of %d" % number: LATER for number in range(count)}


def rest(everyone: list[Gossip], store: Between) -> None:
    """Each looks until nobody writes any more."""
    for _ in range(len(everyone) + 2):
        before = store.writes
        for each in everyone:
            each.sync(store, NOW)
        if store.writes == before:
            return
    raise AssertionError("they write for ever")


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_members_that_look_in_turn_all_have_all_after_two_rounds(store: Between, count: int) -> None:
    everyone = members(count)
    for _ in range(2):
        for each in everyone:
            each.sync(store, NOW)
    assert all(each.entries == all_of(count) for each in everyone)


def orders() -> Iterator[tuple[tuple[int, int], ...]]:
    """Each way in which three members can each read once and then write once."""
    steps = [(member, step) for member in range(3) for step in range(2)]
    for order in itertools.permutations(steps):
        if all(order.index((member, 0)) < order.index((member, 1)) for member in range(3)):
            yield order


def test_three_that_read_and_write_in_any_order_lose_nothing(store: Between) -> None:
    """All 90 ways, by hand: what one writes over comes back, for who wrote it misses it at its next look."""
    tried = 0
    for order in orders():
        tried += 1
        store.clear()
        everyone, seen = members(3), dict[int, "bytes | None"]()
        for member, step in order:
            if step == 0:
                seen[member] = store.peek(KEY)
                continue
            value = seen[member]
            if value is not None:
                everyone[member].merge(value, NOW)
            store.add(KEY, everyone[member].pack(), expires_at=LATER)
        rest(everyone, store)
        assert all(each.entries == all_of(3) for each in everyone)
    assert tried == 90


@pytest.mark.parametrize("seed", range(10))
def test_ten_that_write_into_each_other_s_middle(store: Between, seed: int) -> None:
    """A look during which others look, to any depth, while entries keep coming."""
    chance = random.Random(seed)
    everyone = members(10)
    wanted = all_of(10)
    for number in range(60):
        one, *others = chance.sample(everyone, chance.randrange(1, 5))
        if chance.random() < 0.5:
            entry = b"more %d" % number
            one.add(entry, LATER)
            wanted[entry] = LATER
        store.meanwhile = others
        one.sync(store, NOW)
    rest(everyone, store)
    assert all(each.entries == wanted for each in everyone)


def test_who_has_nothing_new_writes_nothing(store: Between) -> None:
    one, other = members(2)
    for each in (one, other, one, other):
        each.sync(store, NOW)
    before = store.writes
    assert not any(each.sync(store, NOW) for each in (one, other) * 5)
    assert store.writes == before
    empty = Gossip(b"another key")
    assert not empty.sync(store, NOW)
    assert store.peek(empty.key) is None


def test_it_says_whether_something_came(store: Between) -> None:
    one, other = members(2)
    assert not one.sync(store, NOW)
    assert other.sync(store, NOW)
    assert one.sync(store, NOW)
    assert not one.sync(store, NOW)
    assert not one.add(b"of 0", LATER)
    assert one.add(b"another", LATER)


# Time


def test_what_has_expired_is_forgotten_by_all_and_not_brought_back(store: Between) -> None:
    one, other = members(2)
    one.add(b"short", NOW + 10)
    for each in (one, other, one):
        each.sync(store, NOW)
    assert b"short" in other.entries
    assert one.sync(store, NOW + 10), "it says that something went"
    assert other.sync(store, NOW + 10)
    for each in (one, other, one):
        each.sync(store, NOW + 10)
        assert b"short" not in each.entries
    assert Gossip(KEY).merge(Gossip.pack(one), NOW)


def test_who_reads_the_entries_goes_on_reading_them_after_some_expired(store: Between) -> None:
    """The dict stays the same one: keys of a ring are read out of it."""
    one = Gossip(KEY)
    entries = one.entries
    one.add(b"short", NOW + 10)
    one.add(b"long", LATER)
    one.sync(store, NOW + 10)
    one.add(b"new", LATER)
    assert entries is one.entries
    assert set(entries) == {b"long", b"new"}


def test_an_entry_that_comes_again_lives_for_the_longer_time(store: Between) -> None:
    one, other = Gossip(KEY), Gossip(KEY)
    one.add(b"same", NOW + 10)
    other.add(b"same", NOW + 500)
    for each in (one, other, one, other):
        each.sync(store, NOW)
    assert one.entries == other.entries == {b"same": NOW + 500}
    assert not one.add(b"same", NOW + 20)
    assert one.entries[b"same"] == NOW + 500


def test_the_value_expires_with_its_last_entry(store: Between) -> None:
    one = Gossip(KEY)
    one.add(b"short", NOW + 10)
    one.add(b"long", NOW + 99)
    one.sync(store, NOW)
    (entry,) = store.entries()
    assert entry.expires_at == NOW + 99


# Bad days


def test_a_store_that_comes_back_empty_gets_everything_again(store: Between) -> None:
    everyone = members(3)
    rest(everyone, store)
    store.clear()
    newcomer = Gossip(KEY)
    for each in (newcomer, everyone[2], newcomer):
        each.sync(store, NOW)
    assert newcomer.entries == all_of(3)


def test_a_store_that_fails_costs_no_entry() -> None:
    store, (one, other) = FakeStore("down"), members(2)
    for each in (one, other):
        with pytest.raises(StoreError):
            each.sync(store, NOW)
    store.state = "full"
    with pytest.raises(StoreError):
        one.sync(store, NOW)
    store.state = "well"
    store.timeout = None
    for _ in range(2):
        for each in (one, other):
            each.add(b"late", 9_999_999_999.0)
            each.sync(store, NOW)
    assert set(one.entries) == set(other.entries) == {b"late", *all_of(2)}


@pytest.mark.parametrize("value", [b"", b"x", HEAD[:-1], b"something else entirely" * 9])
def test_a_value_that_is_none_of_ours(store: Between, value: bytes) -> None:
    store.add(KEY, value, expires_at=LATER)
    one = members(1)[0]
    with pytest.raises(StoreError, match="something else where what servers share is kept; clear it"):
        one.sync(store, NOW)
    assert one.entries == all_of(1)
    assert store.peek(KEY) == value, "it is not written over"


def test_a_value_that_was_cut_anywhere(store: Between) -> None:
    """Nothing of it is taken over, unless it was cut between two entries."""
    whole = Gossip(KEY)
    for number in range(5):
        whole.add(b"entry %d" % number, LATER)
    value = whole.pack()
    borders = {len(HEAD) + number * (SIZES.size + 7) for number in range(6)}
    assert max(borders) == len(value)
    for size in range(len(HEAD), len(value)):
        one = Gossip(KEY)
        if size in borders:
            one.merge(value[:size], NOW)
            continue
        with pytest.raises(StoreError, match="cut short; clear it"):
            one.merge(value[:size], NOW)
        assert not one.entries


# Size


def test_there_are_no_more_than_so_many_and_what_expires_first_goes(store: Between) -> None:
    one = Gossip(KEY)
    for number in range(ENTRIES_MOST + 100):
        one.add(b"%d" % number, LATER + number)
    one.sync(store, NOW)
    assert set(one.entries) == {b"%d" % number for number in range(100, ENTRIES_MOST + 100)}


def test_members_with_too_many_agree_on_which_and_come_to_rest(store: Between) -> None:
    """Also where all expire at the same time."""
    everyone = [Gossip(KEY) for _ in range(3)]
    for number, each in enumerate(everyone):
        for which in range(ENTRIES_MOST // 2):
            each.add(b"%d of %d" % (which, number), LATER)
    rest(everyone, store)
    assert len(everyone[0].entries) == ENTRIES_MOST
    assert everyone[0].entries == everyone[1].entries == everyone[2].entries


def test_those_who_join_what_was_withdrawn_agree_and_come_to_rest(store: Between) -> None:
    """However different what each knew; and all that was withdrawn stays so."""
    everyone = [Gossip(KEY, join) for _ in range(3)]
    for number, each in enumerate(everyone):
        for at in range(ENTRIES_MOST // (number + 1)):
            each.add(entry(CERTIFICATE, bytes([number]) * 16, at), LATER + at)
    rest(everyone, store)
    assert everyone[0].entries == everyone[1].entries == everyone[2].entries
    left = everyone[0].entries
    until = max(int.from_bytes(each[17:], "big") for each in left if each[0] == ALL)
    assert len(left) <= ENTRIES_MOST
    for number in range(3):
        for at in range(until + 1, ENTRIES_MOST // (number + 1)):
            assert entry(CERTIFICATE, bytes([number]) * 16, at) in left


def test_what_is_joined_expires_no_sooner_than_any_of_it() -> None:
    one = Gossip(KEY, join)
    for at in range(ENTRIES_MOST + 1):
        one.add(entry(CERTIFICATE, bytes(16), at), LATER + (7 if at == 3 else 0))
    assert one.purge(NOW)
    assert one.entries[entry(ALL, bytes(16), ENTRIES_MOST // 2 + 1)] == LATER + 7
