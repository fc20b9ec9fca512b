"""Which ticket keys there are, and from when until when: pure, time (epoch seconds) is passed in.

A key encrypts from a time on, until the next one's time, and decrypts until the last ticket under it is dead. The key
that comes next is there before its time, so that whoever has the same keys changes over without talking.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
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


class Ratchet:
    """Keys of a random chain, which forgets how it came to where it is: what was retired cannot be made again.

    Children of a fork have the same chain, and so the same keys.
    """

    def __init__(self, chain: bytes, now: float, rotate_every: float, lifetime: float) -> None:
        self._slots = Slots(rotate_every, lifetime)
        self._begin = now
        # The chain, the slot it has come to, the keys it gave: all change in one step, for a fork comes at any moment.
        self._state: tuple[bytes, int, list[Timed]] = (chain, 0, [])

    def keys(self, now: float, ahead: int = AHEAD) -> list[Timed]:
        """The same as of ``Derived``; those whose tickets are dead are forgotten."""
        chain, number, made = self._state
        made = [each for each in made if each.decrypts_until > now]
        last = max(0, int((now - self._begin) // self._slots.rotate_every)) + ahead
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
    same. The set's entries: ``K``, when the key encrypts from (8 bytes), the key (80 bytes); ``X`` and a key's name
    that was withdrawn.
    """

    def __init__(self, entries: dict[bytes, float], rotate_every: float, lifetime: float) -> None:
        self._entries = entries
        self._slots = Slots(rotate_every, lifetime)

    def missing(self, now: float) -> list[float]:
        """The times from which no key encrypts yet, of the slots to come and the present one."""
        known = {int(each.encrypts_from) for each in self.keys(now)}
        present = self._slots.number(now)
        starts = [int(number * self._slots.rotate_every) for number in range(present, present + AHEAD + 1)]
        if any(starts[0] <= at <= now for at in known):  # there may be another than the slot's own
            del starts[0]
        return [at for at in starts if at not in known]

    def entry(self, material: Material, encrypts_from: float) -> tuple[bytes, float]:
        """A key as an entry of the set, and when it expires."""
        begins = int(encrypts_from)
        expires_at = max(begins, 0) + 2 * self._slots.rotate_every + self._slots.lifetime + SKEW
        return b"K" + begins.to_bytes(8, "big") + b"".join(material), expires_at

    def withdrawal(self, name: bytes, now: float) -> tuple[bytes, float]:
        """That no ticket under the key of this name counts any more, as an entry."""
        return b"X" + name, now + (AHEAD + 3) * self._slots.rotate_every + self._slots.lifetime + 2 * SKEW

    def keys(self, now: float) -> list[Timed]:
        """The keys that are needed now."""
        gone = {each[1:] for each in self._entries if each[:1] == b"X"}
        found = []
        for each in self._entries:
            if each[:1] != b"K" or len(each) != 89 or each[9:25] in gone:
                continue
            begins = float(int.from_bytes(each[1:9], "big"))
            ends = begins + self._slots.rotate_every + self._slots.lifetime + SKEW
            found.append(Timed(Material(each[9:25], each[25:57], each[57:89]), begins, ends))
        return sorted(
            (each for each in found if each.decrypts_until > now), key=lambda each: (each[1], each[0].name)
        )
