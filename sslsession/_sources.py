"""Where a ring's keys come from: this process or a file here, a store in ``_sharing``; each brings itself up to date.

Time is passed in.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from math import ceil, inf
from pathlib import Path
from typing import Callable

from sslsession import _callbacks, _keyfiles, _schedules
from sslsession._keyfiles import Material
from sslsession._schedules import AHEAD, SKEW, Timed
from sslsession.errors import KeyFileError, SessionError

FILE_EVERY = 1.0
TELL_EVERY = 60.0
"""Seconds between two reports of one source's failures, however often it works in between."""


class Source:
    """Keys, and what may be done to them. ``every``: seconds between two looks."""

    every: float
    asks = True
    """Whether a look asks something outside the process, and so may take its time."""
    lifetime: float | None = None
    """Of a ticket, in seconds; None where somebody else decides that."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held while the keys change, and by who reads them; never while somebody is asked."""
        self.errors = 0
        self._told = False
        self._told_at = -inf

    def keys(self, now: float) -> list[Timed]:
        """The keys that are needed now, as far as they are known; nobody is asked."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Brings it up to date; what goes wrong is counted, and reported once, and once a minute at most."""

    def check_room(self, now: float, room: int) -> None:
        """Errors: :class:`SessionError` where one more key would push out one whose tickets live."""
        if self.lifetime is None:
            return
        wait = _schedules.wait_for_room(self.keys(now), now, self.lifetime, room)
        if wait:
            raise SessionError(
                f"rotated too often: a ring holds {room} keys, and tickets live under all that there are; rotate again"
                f" in {ceil(wait)} seconds or later, or give the ring a shorter lifetime"
            )

    def rotate(self, now: float) -> None:
        """Makes the next key the present one. Errors: :class:`SessionError` where that cannot be."""
        raise NotImplementedError

    def revoke(self, name: bytes, now: float, *, current: bool) -> None:
        """Withdraws a key."""
        raise NotImplementedError

    def _went_well(self) -> None:
        self._told = False

    def _failed(self, error: Exception, where: str, now: float) -> None:
        self.errors += 1
        error.__traceback__ = None
        if not self._told and not 0 <= now - self._told_at < TELL_EVERY:
            self._told, self._told_at = True, now
            _callbacks.report(error, where)


class Local(Source):
    """A schedule of this process: random keys, or those of a secret.

    Whoever has the same one (hosts of the secret, children of a fork) knows the keys to come, though not that one was
    rotated here: so only these are used before their time.
    """

    asks = False
    lifetime: float

    def __init__(
        self, schedule: _schedules.Ratchet | _schedules.Derived, rotate_every: float, lifetime: float
    ) -> None:
        super().__init__()
        self.every = min(rotate_every / 4, 60.0)
        self._rotate_every, self.lifetime = rotate_every, lifetime
        self._schedule = schedule
        self._early: dict[bytes, float] = {}
        self._made: list[Timed] = []
        self._gone: set[bytes] = set()

    def keys(self, now: float) -> list[Timed]:
        """As scheduled, but for what was rotated or withdrawn; however often that was, there are keys to come."""
        ahead = AHEAD
        self._made = [each for each in self._made if each.decrypts_until > now]
        while True:
            found = self._changed(self._schedule.keys(now, ahead))
            if sum(each.encrypts_from > now for each in found) >= AHEAD:
                return found
            ahead += 1

    def _changed(self, scheduled: list[Timed]) -> list[Timed]:
        begun = [
            each._replace(encrypts_from=min(each.encrypts_from, self._early.get(each.material.name, inf)))
            for each in scheduled
        ]
        found, vacant = [], inf
        for each in sorted([*begun, *self._made], key=lambda each: each.encrypts_from):
            begins = min(each.encrypts_from, vacant)
            vacant = begins if each.material.name in self._gone else inf
            if vacant == inf:
                found.append(each._replace(encrypts_from=begins))
        return found

    def _known_to_others(self, now: float) -> set[bytes]:
        reach = self._schedule.reach(now)
        return {each.material.name for each in self._schedule.keys(now) if each.encrypts_from <= reach}

    def _next(self, now: float) -> Timed:
        return next(each for each in self.keys(now) if each.encrypts_from > now)

    def _make(self, now: float) -> None:
        ends = self._next(now).encrypts_from + self.lifetime + SKEW
        self._made.append(Timed(_schedules.derive(os.urandom(32), b"made"), now, ends))

    def rotate(self, now: float) -> None:
        """The next key begins now; where others with this schedule do not know it yet, one of this process alone."""
        following = self._next(now)
        if following.material.name in self._known_to_others(now):
            self._early[following.material.name] = now
        elif isinstance(self._schedule, _schedules.Derived):
            wait = following.encrypts_from - AHEAD * self._rotate_every - now
            raise SessionError(
                f"this ring is {AHEAD} keys ahead of its time already, and hosts with the same secret know none later"
                f" than that: they could not open its tickets; rotate again in {ceil(wait)} seconds"
            )
        else:
            self._make(now)

    def revoke(self, name: bytes, now: float, *, current: bool) -> None:
        """Forgets the key; the one after it takes its time, which may be the present."""
        self._gone.add(name)
        keys = self.keys(now)
        if current and keys[_schedules.present(keys, now)].material.name not in self._known_to_others(now):
            self._make(now)


def together(files: Iterable[tuple[str, list[Material]]]) -> list[Material]:
    """The keys of several files, each with its name: all of them, in order, what is there again once.

    A file may be a copy of another, as it is for a moment while they are rotated. Errors: :class:`KeyFileError` where
    a key has something of another, and is not the same: servers that have the one cannot open the tickets of the other.
    """
    found: dict[Material, str] = {}
    seen: dict[tuple[str, bytes], Material] = {}
    for where, keys in files:
        for key in keys:
            for role, part in zip(_keyfiles.ROLES, key):
                earlier = seen.setdefault((role, part), key)
                if earlier != key:
                    raise KeyFileError(
                        f"{where}: a key has the {role} of a key in {found[earlier]}, and is another; servers could"
                        f" tell only one of them; {_keyfiles.RENEW}"
                    )
            found.setdefault(key, where)
    return list(found)


class Files(Source):
    """Keys of files that somebody else looks after."""

    every = FILE_EVERY

    def __init__(self, paths: list[Path], layout: str | None, allow_shared: bool) -> None:
        super().__init__()
        self._paths = paths
        self._read: Callable[[Path], list[Material]]
        self._read = lambda path: _keyfiles.read(path, layout, allow_shared=allow_shared)
        self._gone: set[bytes] = set()
        self._seen = self._stamps()
        self._keys = self._read_all()

    def keys(self, now: float) -> list[Timed]:  # noqa: ARG002
        """All of them; the first encrypts."""
        return _schedules.fixed(each for each in self._keys if each.name not in self._gone)

    def look(self, now: float) -> None:
        """Reads what changed; what is not good leaves the keys as they were."""
        try:
            stamps = self._stamps()
            if stamps != self._seen:
                self._keys, self._seen = self._read_all(), stamps
            self._went_well()
        except (OSError, SessionError) as error:
            self._failed(error, "sslsession's reading of ticket keys; the old ones stay in force", now)

    def _stamps(self) -> list[tuple[int, int, int]]:
        found = [os.stat(each) for each in self._paths]
        return [(each.st_mtime_ns, each.st_ino, each.st_size) for each in found]

    def _read_all(self) -> list[Material]:
        return together((os.fspath(path), self._read(path)) for path in self._paths)

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
