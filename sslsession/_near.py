"""Sessions of a client cache that C cannot keep: those that were read from bytes, added, or fetched ahead.

By key (``_peers.near_key``): bounded, newest first, each ticket handed out once. Nothing here asks OpenSSL, a store or
the clock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from sslsession._events import leave_behind
from sslsession._peers import SESSION, TICKETS
from sslsession.session import Session


class Held(NamedTuple):
    """A session, and when (epoch seconds) it came or was last offered."""

    session: Session
    used: float


class Shelf:
    """One key's: TLS 1.3 tickets, oldest first, and the TLS 1.2 session; and which of these came last."""

    __slots__ = ("kind", "session", "tickets")

    def __init__(self) -> None:
        self.kind: str | None = None
        self.tickets: list[Held] = []
        self.session: Held | None = None


class Near:
    """At most ``tickets`` for each key, and ``keys`` keys, of which those that were not used for longest go."""

    def __init__(self, tickets: int, keys: int) -> None:
        self._tickets = tickets
        self._keys = keys
        self._shelves: OrderedDict[bytes, Shelf] = OrderedDict()
        # Garbage collection inside of it may close a connection, whose ticket comes in on this very thread.
        self._lock = threading.RLock()

    def put(self, key: bytes, session: Session, now: float) -> list[tuple[bytes, Session]]:
        """Keeps a session; returns those that had to go for it."""
        gone: list[tuple[bytes, Session]] = []
        with self._lock:
            shelf = self._shelves.get(key)
            if shelf is None:
                shelf = self._shelves[key] = Shelf()
            self._shelves.move_to_end(key)
            shelf.kind = TICKETS if session.single_use else SESSION
            if session.single_use:
                shelf.tickets.append(Held(session, now))
                gone += [(key, held.session) for held in shelf.tickets[: -self._tickets]]
                del shelf.tickets[: -self._tickets]
            else:
                shelf.session = Held(session, now)
            while len(self._shelves) > self._keys:
                oldest, shelf = self._shelves.popitem(last=False)
                gone += [(oldest, held.session) for held in _all(shelf)]
        return gone

    def take(self, key: bytes, now: float) -> Held | None:
        """The newest ticket, which leaves; else the TLS 1.2 session, which stays; ``used`` is of before."""
        with self._lock:
            shelf = self._shelves.get(key)
            if shelf is None:
                return None
            self._shelves.move_to_end(key)
            if shelf.tickets:
                return shelf.tickets.pop()
            held = shelf.session
            if held is not None:
                shelf.session = held._replace(used=now)
            return held

    def drop(self, key: bytes, session: Session | None = None) -> None:
        """Forgets all of a key, or this one session."""
        with self._lock:
            shelf = self._shelves.get(key)
            if shelf is None:
                return
            if session is None:
                del self._shelves[key]
                return
            shelf.tickets = [held for held in shelf.tickets if held.session is not session]
            if shelf.session is not None and shelf.session.session is session:
                shelf.session = None

    def drop_tickets(self, key: bytes) -> None:
        """Forgets the tickets of a key."""
        with self._lock:
            if key in self._shelves:
                self._shelves[key].tickets.clear()

    def empty(self) -> list[tuple[bytes, Session]]:
        """Forgets all; returns it, the newest of each key last."""
        with self._lock:
            everything = [(key, held.session) for key, shelf in self._shelves.items() for held in _all(shelf)]
            self._shelves.clear()
        return everything

    def known(self) -> list[bytes]:
        """The keys that there are."""
        with self._lock:
            return list(self._shelves)

    def kind(self, key: bytes) -> str | None:
        """Of which kind the last session of this key was, also where it is gone."""
        with self._lock:
            shelf = self._shelves.get(key)
            return shelf.kind if shelf is not None else None

    def holds(self, key: bytes) -> bool:
        """Whether there is a session for this key."""
        with self._lock:
            shelf = self._shelves.get(key)
            return shelf is not None and (bool(shelf.tickets) or shelf.session is not None)

    def __len__(self) -> int:
        with self._lock:
            return sum(len(_all(shelf)) for shelf in self._shelves.values())

    def after_fork(self) -> None:
        """In a child: the tickets are the parent's, who would use them too."""
        self._lock = threading.RLock()
        for shelf in self._shelves.values():
            leave_behind(shelf.tickets)
            shelf.tickets = []


def _all(shelf: Shelf) -> list[Held]:
    return [*shelf.tickets, *([shelf.session] if shelf.session is not None else [])]
