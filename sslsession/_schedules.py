"""Which ticket keys there are, and from when until when: pure, time (epoch seconds) is passed in.

A key encrypts from a time on, until the next one's time, and decrypts until the last ticket under it is dead. The key
that comes next is there before its time, so that whoever has the same keys changes over without talking.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from math import ceil, inf
from typing import Any, NamedTuple

from sslsession._keyfiles import Material

HOUR = 3600
ROTATE_EVERY = 4 * HOUR
LIFETIME = 2 * HOUR
"""Seconds: OpenSSL's own lifetime of a ticket."""
SECRET_LEAST = 32
AHEAD = 2
"""How many keys are there before their time."""
SKEW = 60
"""How far the clocks of hosts may be apart, in seconds."""
BRIDGE_MOST = 4096
"""So many slots without a key are bridged; beyond them everything there was is dead anyway."""


def check(rotate_every: Any, lifetime: Any, room: int, skew: float = 0) -> None:
    """Errors: ``TypeError``, ``ValueError`` for what no ring with room for so many keys can do."""
    for name, value, most, told in (
        ("rotate_every", rotate_every, 30 * 24 * HOUR, "30 days"),
        ("lifetime", lifetime, 7 * 24 * HOUR, "7 days (RFC 8446 4.6.1)"),
    ):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}")
        if not 1 <= value <= most:
            raise ValueError(f"{name} is 1 second to {told}, in seconds, not {value!r}")
    least = ceil((lifetime + 2 * skew) / (room - 8))
    if rotate_every < least:
        raise ValueError(
            f"tickets of {lifetime!r} seconds need a rotate_every of at least {least}, not {rotate_every!r}:"
            f" there is room for {room} keys"
        )


class Timed(NamedTuple):
    """A key and its times."""

    material: Material
    encrypts_from: float
    decrypts_until: float


def present(keys: Sequence[Timed], now: float) -> int:
    """Which of the keys, in the order of their times, ring.c encrypts with: the first, or -1, where none has begun.

    What counts is whole seconds, and of those that began together the last.
    """
    begun = [number for number, each in enumerate(keys) if int(each.encrypts_from) <= now]
    return begun[-1] if begun else min(0, len(keys) - 1)


def _deaths(keys: Sequence[Timed], now: float, lifetime: float) -> list[float]:
    """Of each key that has begun, when the last ticket under it is dead: some time after the next key took over."""
    begun = keys[: present(keys, now) + 1]
    # What never encrypts of itself (-1) may have done so elsewhere.
    found = [
        each.decrypts_until if each.encrypts_from < 0 else following.encrypts_from + lifetime + SKEW
        for each, following in zip(begun, begun[1:])
    ]
    return [*found, *([inf] if begun else [])]


def fitting(keys: Iterable[Timed], now: float, lifetime: float, room: int) -> list[Timed]:
    """The keys that are kept where there is room for so many, in the order of their times.

    First go those whose tickets are dead, then those that come after the next; keys of living tickets go last, the
    oldest first.
    """
    kept = sorted(keys, key=lambda each: each.encrypts_from)
    deaths = _deaths(kept, now, lifetime)
    dead = [number for number, at in enumerate(deaths) if at <= now]
    later = list(range(len(deaths) + 1, len(kept)))[::-1]
    living = [number for number, at in enumerate(deaths) if at > now]
    gone = set([*dead, *later, *living][: max(0, len(kept) - room)])
    return [each for number, each in enumerate(kept) if number not in gone]


def wait_for_room(keys: Iterable[Timed], now: float, lifetime: float, room: int) -> float:
    """Seconds until one more key that begins now pushes out neither a key of a living ticket nor the next one."""
    ordered = sorted(keys, key=lambda each: each.encrypts_from)
    deaths = sorted(at for at in _deaths(ordered, now, lifetime) if at > now)
    excess = len(deaths) + 2 - room
    return 0.0 if excess <= 0 else min(deaths[excess - 1], now + lifetime + SKEW) - now


def expand(secret: bytes, info: bytes, size: int) -> bytes:
    """HKDF with SHA-256 and no salt (RFC 5869)."""
    key = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    block, out = b"", b""
    for number in range(1, -(-size // 32) + 1):
        block = hmac.new(key, block + info + bytes([number]), hashlib.sha256).digest()
        out += block
    return out[:size]


def derive(secret: bytes, info: bytes) -> Material:
    """A key of 80 bytes out of a secret."""
    text = expand(secret, b"sslsession ticket key 1\0" + info, 80)
    return Material(text[:16], text[16:48], text[48:])


class Slots:
    """Keys by numbered slots of time; each slot's key encrypts in it."""

    def __init__(self, rotate_every: float, lifetime: float) -> None:
        self.rotate_every = rotate_every
        self.lifetime = lifetime

    def number(self, now: float) -> int:
        """The slot of a time."""
        return int(now // self.rotate_every)

    def wanted(self, now: float, ahead: int = AHEAD) -> range:
        """The slots whose keys are needed now: those of tickets that live, this one, and those to come."""
        first = self.number(now - self.lifetime - SKEW)
        return range(first, self.number(now + SKEW) + ahead + 1)

    def timed(self, number: int, material: Material) -> Timed:
        """A slot's key with its times."""
        begins = number * self.rotate_every
        return Timed(material, begins, begins + self.rotate_every + self.lifetime + SKEW)


class Derived:
    """Keys of one secret and the time: hosts that share the secret agree without talking."""

    def __init__(self, secret: bytes, rotate_every: float, lifetime: float) -> None:
        self._secret = secret
        self._slots = Slots(rotate_every, lifetime)

    def keys(self, now: float, ahead: int = AHEAD) -> list[Timed]:
        """The keys that are needed now, in the order of their times; so many of them are to come."""
        return [
            self._slots.timed(number, derive(self._secret, b"%d" % number))
            for number in self._slots.wanted(now, ahead)
        ]

    def reach(self, now: float) -> float:
        """The time of the last key that all have, also where a clock is as late as ``SKEW``."""
        return (self._slots.number(now) + AHEAD) * self._slots.rotate_every


class Ratchet:
    """Keys of a random chain, which forgets how it came to where it is: what was retired cannot be made again.

    Children of a fork have the same chain, and so the same keys.
    """

    def __init__(self, chain: bytes, now: float, rotate_every: float, lifetime: float) -> None:
        self._slots = Slots(rotate_every, lifetime)
        self._begin = now
        # The chain, the slot it has come to, the keys it gave: all change in one step, for a fork comes at any moment.
        self._state: tuple[bytes, int, list[Timed]] = (chain, 0, [])

    def reach(self, now: float) -> float:
        """The time of the last key that all children have made."""
        return self._begin + self._last(now) * self._slots.rotate_every

    def _last(self, now: float, ahead: int = AHEAD) -> int:
        return max(0, int((now - self._begin) // self._slots.rotate_every)) + ahead

    def keys(self, now: float, ahead: int = AHEAD) -> list[Timed]:
        """The same as of ``Derived``; those whose tickets are dead are forgotten."""
        chain, number, made = self._state
        made = [each for each in made if each.decrypts_until > now]
        last = self._last(now, ahead)
        while number <= last:
            begins = self._begin + number * self._slots.rotate_every
            ends = begins + self._slots.rotate_every + self._slots.lifetime
            if ends > now:  # not of a time that the process slept through
                made.append(Timed(derive(chain, b"key"), begins, ends))
            chain, number = expand(chain, b"sslsession next", 32), number + 1
        self._state = chain, number, made
        return list(made)


def fixed(materials: Iterable[Material]) -> list[Timed]:
    """Keys that somebody else looks after: the first encrypts."""
    return [Timed(each, -1.0 if number else 0.0, inf) for number, each in enumerate(materials)]


class Agreed:
    """Keys that servers share by a set in a store (``_gossip``): whoever finds a slot without a key makes one.

    A slot's key is made long before its time, so that all have it by then; of two that were made at once all take the
    same. While nothing can be shared, a slot's key is derived from the one before it, so that all who have that agree.
    The set's entries: ``K``, when the key encrypts from (8 bytes), the key (80 bytes); ``X`` and a key's name that was
    withdrawn; ``B`` in a set that has just begun.
    """

    def __init__(self, entries: dict[bytes, float], rotate_every: float, lifetime: float) -> None:
        self._entries = entries
        self._slots = Slots(rotate_every, lifetime)

    def missing(self, now: float) -> list[float]:
        """The times from which no key encrypts yet, of the slots to come and the present one."""
        known = {int(each.encrypts_from) for each in self.keys(now)}
        number = self._slots.number(now)
        starts = [self._start(each) for each in range(number, number + AHEAD + 1)]
        if any(starts[0] <= at <= now for at in known):  # there may be another than the slot's own
            del starts[0]
        return [at for at in starts if at not in known]

    def bridge(self, now: float) -> list[tuple[Material, float]]:
        """Keys for this slot and the next, where they have none, and the times from which they encrypt.

        Each is of the one before it (HKDF), so that servers that had the same keys have the same again; those that one
        of them slept through are among them, as long as tickets under them live. Nothing where there never was a key.
        """
        withdrawn = self.withdrawn()
        known = [each for each in self._all() if each.material.name not in withdrawn]
        found: list[tuple[Material, float]] = []
        last = self._start(self._slots.number(now) + 1)
        for begins in self.missing(now):
            if begins > last:
                break
            before = [each for each in known if each.encrypts_from < begins]
            for each in self._heirs(before[-1], begins, withdrawn) if before else ():
                known.append(each)
                if each.decrypts_until > now:
                    found.append((each.material, each.encrypts_from))
        return found

    def heirs(self, name: bytes) -> list[bytes]:
        """The names of the keys that who has the key of this name could derive from it."""
        known = self._all()
        base = [each for each in known if each.material.name == name]
        if not base:
            return []
        derived = {each.material for each in self._heirs(base[0], known[-1].encrypts_from, self.withdrawn())}
        return [each.material.name for each in known if each.material in derived]

    def _heirs(self, base: Timed, until: float, withdrawn: set[bytes]) -> Iterator[Timed]:
        number = self._slots.number(base.encrypts_from)
        while self._start(number) <= base.encrypts_from:
            number += 1
        if self._start(number + BRIDGE_MOST) < until:
            return
        material = base.material
        while self._start(number) <= until:
            begins, secret, turn = self._start(number), b"".join(material), 0
            material = derive(secret, b"bridge %d %d" % (begins, turn))
            while material.name in withdrawn:
                turn += 1
                material = derive(secret, b"bridge %d %d" % (begins, turn))
            yield self._timed(material, begins)
            number += 1

    def entry(self, material: Material, encrypts_from: float) -> tuple[bytes, float]:
        """A key as an entry of the set, and when it expires."""
        begins = int(encrypts_from)
        expires_at = max(begins, 0) + 2 * self._slots.rotate_every + self._slots.lifetime + SKEW
        return b"K" + begins.to_bytes(8, "big") + b"".join(material), expires_at

    def withdrawal(self, name: bytes, now: float) -> tuple[bytes, float]:
        """That no ticket under the key of this name counts any more, as an entry."""
        return b"X" + name, now + (AHEAD + 3) * self._slots.rotate_every + self._slots.lifetime + 2 * SKEW

    def withdrawn(self) -> set[bytes]:
        """The names of the keys that count no more."""
        return {each[1:] for each in self._entries if each[:1] == b"X"}

    def keys(self, now: float) -> list[Timed]:
        """The keys that are needed now."""
        withdrawn = self.withdrawn()
        return [
            each for each in self._all() if each.decrypts_until > now and each.material.name not in withdrawn
        ]

    def _all(self) -> list[Timed]:
        found = [
            self._timed(
                Material(each[9:25], each[25:57], each[57:89]), float(int.from_bytes(each[1:9], "big"))
            )
            for each in self._entries
            if each[:1] == b"K" and len(each) == 89
        ]
        return sorted(found, key=lambda each: (each.encrypts_from, each.material.name))

    def _start(self, number: int) -> int:
        return int(number * self._slots.rotate_every)

    def _timed(self, material: Material, begins: float) -> Timed:
        return Timed(material, begins, begins + self._slots.rotate_every + self._slots.lifetime + SKEW)
