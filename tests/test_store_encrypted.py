"""EncryptedStore: nothing readable in the store below it, nothing altered or moved accepted, secrets rotated."""

from __future__ import annotations

import os

import pytest

from helpers.children import run_python
from helpers.stores import OTHER_SECRET, SECRET
from sslsession import stores
from sslsession.errors import StoreError
from sslsession.stores import MemoryStore
from sslsession.stores.contract import Clock

pytest.importorskip("cryptography")
EncryptedStore = stores.EncryptedStore

KEY = b"client www.example.com 443"
VALUE = b"a session with its master secret"
FIXED_NAME = "0f017c93c439903b5da1de991250e86f0fe0907809d6d2ab4881024c20719d62"
FIXED = (
    "0193fdeb2ff677b6204200c388d00000008fff511f0123bd1c8f4a7ff61fd3dcad40da77499a0b1040496c5ed2843c04"
    "4503bed8483b7289c3211ef8aa6e0a954bd77485ff13a32e869f88f20b66d3aca1105823b752628d784c73c42e4117e4"
    "7b39f624f02650f8fd7293"
)
FIELDS = {"version": 0, "key id": 1, "last of the key id": 8, "expiry": 9, "nonce": 17, "text": 29, "tag": -1}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def below(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def store(below, clock):
    return EncryptedStore(below, SECRET, clock=clock)


@pytest.fixture
def only(store, below, clock):
    """The one entry that the store below has."""
    store.add(KEY, VALUE, expires_at=clock() + 60)
    (entry,) = below.entries()
    return entry


def test_the_store_below_sees_neither_keys_nor_values(only):
    for part in (KEY, VALUE, b"example", b"master", SECRET.encode()):
        assert part not in only.key + only.value
    assert len(only.key) == 32


def test_equal_values_are_not_seen_to_be_equal(store, below, clock):
    for key in (b"1", b"2"):
        store.add(key, VALUE, expires_at=clock() + 60)
    first, second = below.entries()
    assert first.key != second.key
    assert first.value[17:] != second.value[17:]


def test_names_differ_with_the_secret(only, clock):
    other = MemoryStore(clock=clock)
    EncryptedStore(other, OTHER_SECRET, clock=clock).add(KEY, VALUE, expires_at=clock() + 60)
    assert [entry.key for entry in other.entries()] != [only.key]


def test_a_secret_gives_the_same_keys_everywhere(only, below, clock):
    assert EncryptedStore(below, SECRET.encode(), clock=clock).take(KEY) == VALUE


def test_what_is_sealed_stays_readable_for_later_versions(below, clock):
    """Made by version 1 of the form; whoever changes it must raise the version."""
    name = bytes.fromhex(FIXED_NAME)
    below.add(name, bytes.fromhex(FIXED), expires_at=9e9)
    assert EncryptedStore(below, SECRET, clock=clock).take(KEY) == VALUE


@pytest.mark.parametrize("verb", ["peek", "take", "entries"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_flipped_bit_is_an_error(store, below, only, clock, field, verb):
    for bit in range(8):
        altered = bytearray(only.value)
        altered[FIELDS[field]] ^= 1 << bit
        below.add(only.key, bytes(altered), expires_at=only.expires_at)
        with pytest.raises(StoreError) as caught:
            list(store.entries()) if verb == "entries" else getattr(store, verb)(KEY)
        expected = {
            "version": "of version",
            "key id": "another secret",
            "last of the key id": "another secret",
        }
        assert expected.get(field, "damaged or moved") in str(caught.value)
        assert "secret of the tests" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 17, 29, 48, 60, -1])
def test_a_value_that_was_cut_is_an_error(store, below, only, length):
    below.add(only.key, only.value[:length], expires_at=only.expires_at)
    with pytest.raises(StoreError, match="damaged"):
        store.take(KEY)


def test_a_value_under_another_name_is_an_error(store, below, only, clock):
    store.add(b"other", b"another value", expires_at=clock() + 60)
    (other,) = (entry for entry in below.entries() if entry.key != only.key)
    below.add(other.key, only.value, expires_at=clock() + 60)
    with pytest.raises(StoreError, match="damaged or moved"):
        store.take(b"other")
    below.add(os.urandom(32), only.value, expires_at=clock() + 60)
    with pytest.raises(StoreError, match="damaged or moved"):
        list(store.entries())


def test_a_life_that_the_store_below_prolongs_is_not_prolonged(store, below, only, clock):
    below.add(only.key, only.value, expires_at=only.expires_at + 1000)
    clock.advance(59)
    assert store.peek(KEY) == VALUE
    clock.advance(1)
    assert store.peek(KEY) is None
    assert list(store.entries()) == []
    assert store.take(KEY) is None


def test_what_another_secret_sealed_is_not_found_and_when_listed_an_error(only, below, clock):
    other = EncryptedStore(below, OTHER_SECRET, clock=clock)
    assert other.peek(KEY) is None
    assert other.take(KEY) is None
    with pytest.raises(StoreError, match=f"made with another secret.*{only.value[1:9].hex()}"):
        list(other.entries())


def test_secrets_are_rotated_without_loss(below, only, clock):
    rotated = EncryptedStore(below, [OTHER_SECRET, SECRET], clock=clock)
    assert rotated.peek(KEY) == VALUE
    assert [(entry.key, entry.value) for entry in rotated.entries()] == [(KEY, VALUE)]
    rotated.add(b"new", VALUE, expires_at=clock() + 60)
    assert EncryptedStore(below, OTHER_SECRET, clock=clock).take(b"new") == VALUE
    assert rotated.take(KEY) == VALUE
    assert rotated.take(KEY) is None


def test_a_new_value_takes_the_place_of_one_under_an_older_secret(below, only, clock):
    rotated = EncryptedStore(below, [OTHER_SECRET, SECRET], clock=clock)
    rotated.add(KEY, b"new", expires_at=clock() + 60)
    assert rotated.take(KEY) == b"new"
    assert rotated.take(KEY) is None


def test_discard_removes_what_any_of_the_secrets_sealed(below, only, clock):
    EncryptedStore(below, [OTHER_SECRET, SECRET], clock=clock).discard(KEY)
    assert len(below) == 0


@pytest.mark.parametrize("short", ["", "short", "x" * 31, b"x" * 31, ["x" * 32, "short"], []])
def test_a_secret_has_at_least_32_bytes_and_the_error_says_how_to_make_one(below, short):
    with pytest.raises(ValueError, match="token_urlsafe") as caught:
        EncryptedStore(below, short)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 1, [1], [None]])
def test_a_secret_is_str_or_bytes(below, wrong):
    with pytest.raises(TypeError):
        EncryptedStore(below, wrong)


def test_what_it_seals_for_is_a_store():
    with pytest.raises(TypeError, match="Store"):
        EncryptedStore({}, SECRET)


def test_no_secret_is_in_a_repr(store):
    assert repr(store) == "<EncryptedStore over <MemoryStore of 0 entries, at most 10000>>"
    assert SECRET not in repr(vars(store)) + "".join(repr(vars(seal)) for seal in store._seals)


def test_it_is_sealed_and_waits_as_long_as_the_store_below(store, below):
    below.timeout = 3
    below.is_remote = True
    over = EncryptedStore(below, SECRET)
    assert (over.sealed, over.is_remote, over.timeout) == (True, False, 3)
    assert (store.sealed, store.timeout) == (True, None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_parent_and_child_use_other_nonces():
    run_python(
        f"""
        import os
        from sslsession.stores import EncryptedStore, MemoryStore
        below = MemoryStore()
        store = EncryptedStore(below, {SECRET!r})
        read, write = os.pipe()
        pid = os.fork()
        store.add(b"key", b"value", expires_at=9e9)
        (entry,) = below.entries()
        if not pid:
            os.write(write, entry.value[17:29])
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert os.read(read, 100) != entry.value[17:29]
        """
    )


def test_without_cryptography_the_error_says_what_to_install():
    run_python(
        """
        import sys
        sys.modules["cryptography.exceptions"] = None
        import sslsession.stores
        try:
            sslsession.stores.EncryptedStore
        except ImportError as error:
            assert "pip install 'sslsession[crypto]'" in str(error), error
        else:
            raise AssertionError
        """
    )
