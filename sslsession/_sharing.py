"""Ticket keys that all who share a store have (``_gossip``, ``_schedules.Agreed``): heard of, made, withdrawn.

Time is passed in, and so is how to wait.
"""

from __future__ import annotations

import os
import time
import weakref
from typing import Any, Callable

from sslsession import _keyfiles, _schedules
from sslsession._gossip import Gossip
from sslsession._schedules import Timed
from sslsession._sources import Local, Source

SHARED_EVERY = 0.25
GRACE = 2
"""Seconds until a key that is made at once encrypts, so that all who share it have it by then."""
BORN, YOUNG = b"B", 5.0
"""The entry of a set that has just begun, and the seconds for which it is one."""
SETTLE, SETTLE_MOST = 0.05, 1.0
"""Seconds, beside the store's timeouts, in which whoever found the set empty too has written his own."""


class Shared(Source):
    """Keys that all who share a store have."""

    every = SHARED_EVERY
    lifetime: float

    def __init__(
        self,
        store: Any,
        owns: bool,
        name: str,
        rotate_every: float,
        lifetime: float,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__()
        self._store = store
        if owns:
            # Not at exit, when the ticker may still ask it.
            weakref.finalize(self, store.close).atexit = False
        self._gossip = Gossip(b"sslsession-keys-1:" + name.encode())
        self._agreed = _schedules.Agreed(self._gossip.entries, rotate_every, lifetime)
        self._rotate_every, self.lifetime = rotate_every, lifetime
        self._own: Local | None = None
        self._left: list[Timed] = []
        self._pause, self._begun = pause, False

    def keys(self, now: float) -> list[Timed]:
        """Those of the store; of this process alone, as long as the store never answered."""
        found, withdrawn = self._agreed.keys(now), self._agreed.withdrawn()
        if found:
            if self._own is not None:
                # What they encrypted until now is not lost.
                self._left = [each for each in self._own.keys(now) if each.encrypts_from <= now]
                self._own = None
            return found + [
                each._replace(encrypts_from=-1.0)
                for each in self._left
                if each.decrypts_until > now and each.material.name not in withdrawn
            ]
        if self._own is None:
            chain = _schedules.Ratchet(os.urandom(32), int(now), self._rotate_every, self.lifetime)
            self._own = Local(chain, self._rotate_every, self.lifetime)
        return self._own.keys(now)

    def look(self, now: float) -> None:
        """Hears what others made, and makes what nobody has made; where that cannot be shared, what others make too."""
        with self.lock:
            bridge = self._agreed.bridge(now)  # before it forgets what they are derived from
        try:
            begun, self._begun = self._begun, True  # a store that fails delays nobody, now or later
            (self._exchange if begun else self._begin)(now)
            self._fill(now)
            self._went_well()
        except Exception as error:  # a store of the user's own may raise anything
            self._failed(
                error, "sslsession's sharing of ticket keys; the ring goes on with the keys it has", now
            )
            with self.lock:
                known = {each.encrypts_from for each in self._agreed.keys(now)}
                for key, begins in bridge:
                    if begins not in known:
                        self._add(key, begins)
                self._gossip.purge(now)

    def _begin(self, now: float) -> None:
        """The first look. Who finds no key that encrypts makes one, as others may at the same moment: one's remains.

        So whoever finds none, or a set that has just begun, waits until the last of them has written, and has what is
        there then: no ticket was issued before.
        """
        self._exchange(now)
        failure = None
        if self._lacks_present(now):
            try:
                self._fill(now, (BORN, now + YOUNG))
            except Exception as error:  # others may be writing, and so keep this one from it
                failure = error
        elif BORN not in self._gossip.entries:
            return
        timeout = getattr(self._store, "timeout", None) or 0.0
        self._pause(min(SETTLE + 4 * timeout, SETTLE_MOST))
        there = Gossip(self._gossip.key)
        there.sync(self._store, now)
        if there.entries:
            with self.lock:
                self._gossip.entries.clear()
                self._gossip.entries.update(there.entries)
        if failure is not None and self._lacks_present(now):
            raise failure

    def _lacks_present(self, now: float) -> bool:
        with self.lock:
            return any(begins <= now for begins in self._agreed.missing(now))

    def _fill(self, now: float, *more: tuple[bytes, float]) -> None:
        with self.lock:
            missing = self._agreed.missing(now)
        made = [
            self._agreed.entry(_schedules.derive(os.urandom(32), b"shared"), begins) for begins in missing
        ]
        if made:
            self._exchange(now, *made, *more)

    def _exchange(self, now: float, *more: tuple[bytes, float]) -> None:
        """What is here, and ``more``, is in the store then, and what is there is here; or an error, and no change."""
        copy = Gossip(self._gossip.key)
        with self.lock:
            copy.entries.update(self._gossip.entries)
        for entry in more:
            copy.add(*entry)
        copy.sync(self._store, now)
        with self.lock:
            for entry in copy.entries.items():
                self._gossip.add(*entry)
            self._gossip.purge(now)

    def _add(self, key: _keyfiles.Material, begins: float) -> None:
        self._gossip.add(*self._agreed.entry(key, begins))

    def rotate(self, now: float) -> None:
        """A key that begins in a moment; where one does anyway, that is it."""
        if self._own is not None:
            self._own.rotate(now)
        elif not any(now < each.encrypts_from <= now + GRACE for each in self._agreed.keys(now)):
            self._add(_schedules.derive(os.urandom(32), b"rotated"), now + GRACE)

    def revoke(self, name: bytes, now: float, *, current: bool) -> None:
        """Withdraws it, and those that were derived from it; where one was the present, another begins now."""
        if self._own is not None:
            self._own.revoke(name, now, current=current)
            return
        before = self._agreed.keys(now)
        at = _schedules.present(before, now)
        names = {name, *self._agreed.heirs(name)}
        for each in names:
            self._gossip.add(*self._agreed.withdrawal(each, now))
        if before and before[at].material.name in names:
            self._add(_schedules.derive(os.urandom(32), b"rotated"), now)
