"""A ring's secrets are in the files that it writes and in the store that it shares, and nowhere else."""

from __future__ import annotations

import gc
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.bad_days import FakeStore
from helpers.key_files import made
from helpers.openssl_calls import Unraisables
from helpers.rings import LIFETIME, ROTATE_EVERY, SECRET, Hand, current, needs_ring
from helpers.spellings import spellings
from sslsession import SessionError, TicketKeyRing, _keyfiles
from sslsession._libssl import ffi, lib
from sslsession._sources import TELL_EVERY
from sslsession.stores import MemoryStore

pytestmark = needs_ring
Make = Callable[[Hand, Path], TicketKeyRing]


def of_a_file(hand: Hand, path: Path) -> TicketKeyRing:
    """A ring of HAProxy's file."""
    _keyfiles.write(path, made(4), "haproxy")
    return TicketKeyRing.from_file(path, clock=hand)


RINGS: dict[str, Make] = {
    "random": lambda hand, path: TicketKeyRing.random(clock=hand),
    "secret": lambda hand, path: TicketKeyRing.from_secret(SECRET, clock=hand),
    "shared": lambda hand, path: TicketKeyRing.shared(MemoryStore(clock=hand), clock=hand),
    "file": of_a_file,
}


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ticket.key"


@pytest.fixture(params=RINGS)
def ring(request: pytest.FixtureRequest, hand: Hand, path: Path) -> TicketKeyRing:
    """Each kind in turn, some time after it was made."""
    ring = RINGS[request.param](hand, path)
    hand.move(ROTATE_EVERY, ring)
    return ring


class Watched:
    """All secrets that a ring has, to look for in text."""

    def __init__(self, ring: TicketKeyRing, *more: bytes) -> None:
        keys = ring._secrets().values()
        assert len(keys) >= 3
        secrets = [part for key in keys for part in (key.cipher_key, key.mac_key)]
        schedule = getattr(ring._source, "_schedule", None)
        secrets += [schedule._state[0]] if hasattr(schedule, "_state") else []
        self.spellings = {each for secret in (*secrets, *more) for each in spellings(secret)}

    def absent_from(self, text: str) -> bool:
        lower = text.lower()
        return not any(each in text or each in lower for each in self.spellings)


def raw(ring: TicketKeyRing) -> bytes:
    """What C holds of a ring, all of it."""
    at = ffi.cast("char *", ring._native)
    return bytes(ffi.buffer(at, lib.RING_KEYS_MOST * ffi.sizeof("sslsession_ticket_key")))


def test_the_search_finds_what_is_there(ring: TicketKeyRing, path: Path) -> None:
    watched = Watched(ring)
    ring.save(path, "haproxy")
    for text in (path.read_text(), repr(path.read_bytes()), repr(raw(ring)), raw(ring).hex()):
        assert not watched.absent_from(text)


def test_not_in_what_a_ring_shows(ring: TicketKeyRing, hand: Hand) -> None:
    watched = Watched(ring, SECRET.encode())
    source = ring._source
    for text in (
        *(repr(ring), str(ring), f"{ring}", repr([ring]), repr(ring.key_info()), repr(ring.stats())),
        *(repr(vars(ring)), repr(source), repr(vars(source))),
        *(repr(source.keys(hand.now)), repr(getattr(source, "_agreed", None))),
    ):
        assert watched.absent_from(text), text


def test_the_names_are_shown_and_are_no_part_of_the_secrets(ring: TicketKeyRing) -> None:
    watched = Watched(ring)
    assert watched.absent_from("".join(info.name.hex() for info in ring.key_info()))
    assert current(ring).name in ring._secrets()


FAILURES: dict[str, Callable[[TicketKeyRing, Path], object]] = {
    "pickled": lambda ring, path: pickle.dumps(ring),
    "no such key": lambda ring, path: ring.revoke(b"?" * 16),
    "a wrong name": lambda ring, path: ring.revoke("?"),  # type: ignore[arg-type]
    "a wrong format": lambda ring, path: ring.save(path, "caddy"),
    "too small a format": lambda ring, path: ring.save(path, "apache"),
    "no such directory": lambda ring, path: ring.save(path / "there" / "is" / "none"),
    "a damaged file": lambda ring, path: (
        ring.save(path, "haproxy"),
        path.write_text(path.read_text().replace("\n", "?\n")),
        TicketKeyRing.from_file(path),
    ),
    "a cut file": lambda ring, path: (
        ring.save(path, "nginx"),
        path.write_bytes(path.read_bytes()[:-1]),
        TicketKeyRing.from_file(path),
    ),
    "keys that repeat": lambda ring, path: (
        ring.save(path, "haproxy"),
        path.write_text(path.read_text() * 2),
        TicketKeyRing.from_file(path),
    ),
    "attached to nothing": lambda ring, path: ring.attach(ring),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", FAILURES)
def test_not_in_exceptions_and_their_tracebacks(ring: TicketKeyRing, path: Path, name: str) -> None:
    watched = Watched(ring)
    with pytest.raises((SessionError, TypeError, ValueError, KeyError, OSError)) as caught:
        FAILURES[name](ring, path)
    error: BaseException | None = caught.value
    assert watched.absent_from("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    while error is not None:
        assert watched.absent_from(repr(error) + str(error) + repr(error.args) + repr(vars(error)))
        error = error.__cause__ or error.__context__


def test_not_in_the_refusal_of_a_secret() -> None:
    for secret in (SECRET[:31], "password" * 2, SECRET[:7] * 9):
        with pytest.raises(ValueError, match="at least 32 random bytes") as caught:
            TicketKeyRing.from_secret(secret)
        assert secret[:8] not in str(caught.value) + repr(caught.value.args)


def test_not_in_reports_of_a_store_that_fails(
    hand: Hand, unraisables: Unraisables, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor of one that cannot be read, or whose error has a value in it."""
    store = FakeStore()
    ring = TicketKeyRing.shared(store, clock=hand)
    watched = Watched(ring)
    (entry,) = store.entries()

    def fails(*_: object, **__: object) -> None:
        raise OSError("no")

    for what in ("down", "full", "cut", "raises"):
        ring._source._went_well()
        hand.move(TELL_EVERY)
        if what == "cut":
            store.add(entry.key, entry.value[:-1], expires_at=entry.expires_at)
        elif what == "raises":
            store.peek = fails  # type: ignore[assignment]
        else:
            store.state = what
            hand.move(2 * ROTATE_EVERY)
        ring.refresh()
        store.state = "well"
    assert len(unraisables.errors) == 4
    for error in unraisables.errors:
        shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))  # type: ignore[union-attr]
        assert watched.absent_from(shown + repr(error))
        assert error is not None
        assert error.__traceback__ is None
    assert watched.absent_from("".join(capsys.readouterr()))


# What is over


def test_c_forgets_a_key_as_it_dies(hand: Hand) -> None:
    """Nothing of it is left where the ring keeps its keys, nor of any that was withdrawn."""
    ring = TicketKeyRing.random(clock=hand)
    dead = ring._secrets()
    seen = raw(ring)
    assert all(part in seen for key in dead.values() for part in key)
    for _ in range(3):
        hand.move(ROTATE_EVERY, ring)
    hand.move(LIFETIME, ring)
    withdrawn = ring._secrets()[current(ring).name]
    ring.revoke(current(ring).name)
    seen = raw(ring)
    assert not [key for key in (*dead.values(), withdrawn) if any(part in seen for part in key)]
    assert all(part in seen for key in ring._secrets().values() for part in key)


def test_a_ring_that_went_leaves_no_key_objects_behind(hand: Hand) -> None:
    ring: Any = TicketKeyRing.random(clock=hand)
    material = {key.cipher_key for key in ring._secrets().values()}
    assert [each for each in gc.get_objects() if isinstance(each, _keyfiles.Material) and each[1] in material]
    del ring
    gc.collect()
    left = [each for each in gc.get_objects() if isinstance(each, _keyfiles.Material) and each[1] in material]
    assert not left
