"""A ring's keys and counts as C has them (``ring.c``): handed over, told of, and wiped where they passed."""

from __future__ import annotations

from typing import Any, NamedTuple

from sslsession._keyfiles import Material
from sslsession._libssl import ffi, lib
from sslsession._schedules import Timed

KEYS = "sslsession_ticket_key[]"
FOREVER = 2**61
COUNTS = ("issued", "opened", "renewed", "unknown", "expired")


class KeyInfo(NamedTuple):
    """What is told of a ticket key: no secret."""

    name: bytes
    """16 bytes, in the clear at the head of each ticket."""
    state: str
    """``"current"`` encrypts now, ``"next"`` will, ``"retired"`` only decrypts."""
    encrypts_from: float
    """Epoch seconds; 0 or less where that has no beginning."""
    decrypts_until: float
    """Epoch seconds, or infinity."""
    issued: int
    """Tickets made under it by this process."""
    opened: int


def new() -> Any:
    """An ``sslsession_ring`` without keys."""
    native = lib.sslsession_ring_new()
    if native == ffi.NULL:
        raise MemoryError("OpenSSL has no AES-CBC, or no memory, for ticket keys")
    return ffi.gc(native, lib.sslsession_ring_free)


def install(ring: Any, keys: list[Timed]) -> None:
    """These and no others, in the order of their times."""
    native = ffi.new(KEYS, max(len(keys), 1))
    for slot, each in zip(native, keys):
        ffi.memmove(slot.name, each.material.name, 16)
        ffi.memmove(slot.cipher_key, each.material.cipher_key, len(each.material.cipher_key))
        ffi.memmove(slot.mac_key, each.material.mac_key, len(each.material.mac_key))
        slot.size = len(each.material.cipher_key)
        slot.encrypts_from = int(max(each.encrypts_from, -1))
        slot.decrypts_until = int(min(each.decrypts_until, FOREVER))
    lib.sslsession_ring_set(ring, native, len(keys))
    _wipe(native)


def infos(ring: Any, now: int) -> list[KeyInfo]:
    """What is told of the keys: the one that encrypts first, then those to come, then the retired, newest first."""
    native = ffi.new(KEYS, lib.RING_KEYS_MOST)
    count = lib.sslsession_ring_get(ring, native, False)
    # As encrypting() in ring.c: of those that began together the last; before the first one's time, the first.
    begun = [number for number in range(count) if native[number].encrypts_from <= now]
    found = []
    for number, each in enumerate(native[0:count]):
        current = number == (begun[-1] if begun else 0)
        state = "current" if current else "next" if each.encrypts_from > now else "retired"
        until = float(each.decrypts_until) if each.decrypts_until < FOREVER else float("inf")
        name = bytes(ffi.buffer(each.name))
        found.append(KeyInfo(name, state, float(each.encrypts_from), until, each.issued, each.opened))
    order = ("current", "next", "retired")
    return sorted(found, key=lambda info: (order.index(info.state), abs(info.encrypts_from - now)))


def size(ring: Any) -> int:
    """How many keys there are."""
    return int(lib.sslsession_ring_get(ring, ffi.new(KEYS, lib.RING_KEYS_MOST), False))


def counts(ring: Any) -> dict[str, int]:
    """What was counted since the ring was made."""
    return {name: int(lib.sslsession_ring_count(ring, number)) for number, name in enumerate(COUNTS)}


def secrets(ring: Any) -> dict[bytes, Material]:
    """Secret. The keys by their names."""
    native = ffi.new(KEYS, lib.RING_KEYS_MOST)
    count = lib.sslsession_ring_get(ring, native, True)
    found = [
        Material(
            bytes(ffi.buffer(each.name)),
            bytes(ffi.buffer(each.cipher_key)[: each.size]),
            bytes(ffi.buffer(each.mac_key)[: each.size]),
        )
        for each in native[0:count]
    ]
    _wipe(native)
    return {key.name: key for key in found}


def _wipe(native: Any) -> None:
    ffi.memmove(native, bytes(ffi.sizeof(native)), ffi.sizeof(native))
