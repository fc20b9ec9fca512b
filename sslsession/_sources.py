"""Where a ring's keys come from: this process, a file, or a store; each brings itself up to date. Time is passed in."""

from __future__ import annotations

import os
import weakref
from math import inf
from pathlib import Path
from typing import Any, Callable

from sslsession import _callbacks, _keyfiles, _schedules
from sslsession._gossip import Gossip
from sslsession._schedules import AHEAD, LIFETIME, ROTATE_EVERY, Timed
from sslsession.errors import SessionError

SHARED_EVERY = 0.25
FILE_EVERY = 1.0
GRACE = 2
"""Seconds until a key that is made at once encrypts, so that all who share it have it by then."""


class Source:
    """Keys, and what may be done to them. ``every``: seconds between two looks."""

    every: float

    def __init__(self) -> None:
        self.errors = 0
        self._failing = False

    def keys(self, now: float) -> list[Timed]:
        """The keys that are needed now."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Brings it up to date; what goes wrong is counted, and reported once."""

    def rotate(self, now: float) -> None:
        """Makes the next key the present one. Errors: :class:`SessionError` where others do that."""
        raise NotImplementedError

    def revoke(self, name: bytes, now: float, *, current: bool) -> None:
        """Withdraws a key."""
        raise NotImplementedError

    def _failed(self, error: Exception, where: str) -> None:
        self.errors += 1
        error.__traceback__ = None
        first, self._failing = not self._failing, True
        if first:
            _callbacks.report(error, where)


class Local(Source):
    """A schedule of this process: random keys, or those of a secret."""

    def __init__(self, schedule: _schedules.Ratchet | _schedules.Derived, rotate_every: float) -> None:
        super().__init__()
        self.every = min(rotate_every / 4, 60.0)
        self._schedule = schedule
        self._early: dict[bytes, float] = {}
        self._gone: set[bytes] = set()

    def keys(self, now: float) -> list[Timed]:
        """As scheduled, but for what was rotated or withdrawn; however often that was, there are keys to come."""
        ahead = AHEAD
        while True:
            found = self._changed(self._schedule.keys(now, ahead))
            if sum(each.encrypts_from > now for each in found) >= AHEAD:
                return found
            ahead += 1

    def _changed(self, scheduled: list[Timed]) -> list[Timed]:
        found, vacant = [], inf
        for each in scheduled:
            begins = min(each.encrypts_from, self._early.get(each.material.name, inf), vacant)
            vacant = begins if each.material.name in self._gone else inf
            if vacant == inf:
                found.append(each._replace(encrypts_from=begins))
        return found

    def rotate(self, now: float) -> None:
        """The next key begins now."""
        coming = (each for each in self.keys(now) if each.encrypts_from > now)
        self._early[min(coming, key=lambda each: each.encrypts_from).material.name] = now

    def revoke(self, name: bytes, now: float, *, current: bool) -> None:  # noqa: ARG002
        """Forgets the key; the one after it takes its time, which may be the present."""
        self._gone.add(name)


class Shared(Source):
    """Keys that all who share a store have."""

    every = SHARED_EVERY

    def __init__(self, store: Any, owns: bool, name: str, rotate_every: float, lifetime: float) -> None:
        super().__init__()
        self._store = store
        if owns:
            # Not at exit, when the ticker may still ask it.
            weakref.finalize(self, store.close).atexit = False
        self._gossip = Gossip(b"sslsession-keys-1:" + name.encode())
        self._agreed = _schedules.Agreed(self._gossip.entries, rotate_every, lifetime)
        self._own: _schedules.Ratchet | None = None
        self._left: list[Timed] = []

    def keys(self, now: float) -> list[Timed]:
        """Those of the store; of this process alone, as long as the store never answered."""
        found = self._agreed.keys(now)
        if found:
            if self._own is not None:
                # What they encrypted until now is not lost.
                self._left = [each for each in self._own.keys(now) if each.encrypts_from <= now]
                self._own = None
            return found + [
                each._replace(encrypts_from=-1.0) for each in self._left if each.decrypts_until > now
            ]
        if self._own is None:
            self._own = _schedules.Ratchet(os.urandom(32), int(now), ROTATE_EVERY, LIFETIME)
        return self._own.keys(now)

    def look(self, now: float) -> None:
        """Hears what others made, and makes what nobody has made."""
        try:
            self._gossip.sync(self._store, now)
            missing = self._agreed.missing(now)
            for begins in missing:
                self._add(_schedules.derive(os.urandom(32), b"shared"), begins)
            if missing:
                self._gossip.sync(self._store, now)
            self._failing = False
        except Exception as error:  # a store of the user's own may raise anything
            self._failed(error, "sslsession's sharing of ticket keys; the ring goes on with the keys it has")

    def _add(self, key: _keyfiles.Material, begins: float) -> None:
        self._gossip.add(*self._agreed.entry(key, begins))

    def rotate(self, now: float) -> None:
        """A key that begins in a moment."""
        self._add(_schedules.derive(os.urandom(32), b"rotated"), now + GRACE)
        self.look(now)

    def revoke(self, name: bytes, now: float, *, current: bool) -> None:
        """Tells all; where it was the present one, another begins now."""
        self._gossip.add(*self._agreed.withdrawal(name, now))
        if current:
            self._add(_schedules.derive(os.urandom(32), b"rotated"), now)
        self.look(now)


class Files(Source):
    """Keys of files that somebody else looks after."""

    every = FILE_EVERY

    def __init__(self, paths: list[Path], layout: str | None, allow_shared: bool) -> None:
        super().__init__()
        self._paths = paths
        self._read: Callable[[Path], list[_keyfiles.Material]]
        self._read = lambda path: _keyfiles.read(path, layout, allow_shared=allow_shared)
        self._gone: set[bytes] = set()
        self._seen = self._stamps()
        self._keys = self._read_all()

    def keys(self, now: float) -> list[Timed]:  # noqa: ARG002
        """All of them; the first encrypts."""
        return _schedules.fixed(each for each in self._keys if each.name not in self._gone)

    def look(self, now: float) -> None:  # noqa: ARG002
        """Reads what changed; what is not good leaves the keys as they were."""
        try:
            stamps = self._stamps()
            if stamps != self._seen:
                self._keys, self._seen = self._read_all(), stamps
            self._failing = False
        except (OSError, SessionError) as error:
            self._failed(error, "sslsession's reading of ticket keys; the old ones stay in force")

    def _stamps(self) -> list[tuple[int, int, int]]:
        found = [os.stat(each) for each in self._paths]
        return [(each.st_mtime_ns, each.st_ino, each.st_size) for each in found]

    def _read_all(self) -> list[_keyfiles.Material]:
        keys: dict[bytes, _keyfiles.Material] = {}
        for path in self._paths:
            for key in self._read(path):
                keys.setdefault(key.name, key)
        return list(keys.values())

    def rotate(self, now: float) -> None:  # noqa: ARG002
        """Refused."""
        raise SessionError("these keys are a file's: rotate it, by the command `sslsession keys rotate FILE`")

    def revoke(self, name: bytes, now: float, *, current: bool) -> None:  # noqa: ARG002
        """Forgets the key here, whatever the file says."""
        if current:
            raise SessionError(
                "this key is the file's first and encrypts: rotate the file, by the command `sslsession keys rotate`"
            )
        self._gone.add(name)
