"""Where the sessions of one client cache are: near, waiting to be written, or in the store; each ticket in one place.

Without a store all tickets are near. With one, the newest of a peer is near and the others go to the store at once, so
that other processes have something to use; the near ones follow at the end. A TLS 1.2 session may be in both.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from sslsession import _callbacks, _peers
from sslsession._far import Far
from sslsession._near import Near, NearKey
from sslsession._peers import SESSION, TICKETS, StoredKey
from sslsession.errors import InvalidSession
from sslsession.resumption import TLS1_3
from sslsession.session import Session

PEERS_MOST = 4096
MISS_SECONDS = 1.0
MISSES_MOST = 4096
POLICIES_MOST = 1024


class Limits(NamedTuple):
    """What a cache's user asked for; lifetimes in seconds."""

    tickets_per_peer: int
    max_lifetime: float
    idle_lifetime: float | None
    partition: str


class Keeping:
    """Near and far sessions under one set of limits. Wall-clock time is passed in, as ``now``."""

    def __init__(self, store: Any, owns_store: bool, limits: Limits) -> None:
        self.limits = limits
        self.far = Far(store, owns_store) if store is not None else None
        self.near = Near(limits.tickets_per_peer if self.far is None else 1, PEERS_MOST)
        self._digests: dict[bytes, str] = {}
        self._missed: dict[NearKey, float] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.RLock()

    def count(self, name: str) -> None:
        """Counts an event for ``stats()``."""
        with self._lock:
            self._counts[name] += 1

    def counts(self) -> dict[str, int]:
        """What was counted here and at the store."""
        with self._lock:
            return {**self._counts, **(self.far.counts if self.far is not None else {})}

    def key(self, native: Any, peer: _peers.Peer) -> NearKey:
        """The key of a connection to ``peer`` under an ``sslsession_policy *``."""
        policy = _peers.portable(native)
        if self.far is not None and policy not in self._digests:
            if len(self._digests) >= POLICIES_MOST:
                self._digests.clear()
            self._digests[policy] = _peers.policy_digest(native)
        return policy, peer

    # Keeping

    def keep(self, key: NearKey, session: Session, now: float) -> None:
        """Keeps a session that came in, and moves on what has to go for it."""
        self._missed.pop(key, None)
        self.put(key, session, now)
        if self.far is not None and not session.single_use:
            self._move_on(key, session, now)

    def put(self, key: NearKey, session: Session, now: float) -> None:
        """Has a session near; what has to go for it moves on."""
        for other, gone in self.near.put(key, session, now):
            if gone.single_use or self.far is None:
                self._move_on(other, gone, now)

    def _move_on(self, key: NearKey, session: Session, now: float) -> None:
        stored = self._stored_key(key, session)
        if self.far is None or stored is None:
            self.count("dropped")
        else:
            self.far.write(stored, session, self._until(session, now), self.limits.tickets_per_peer)

    def _until(self, session: Session, now: float) -> float:
        until = min(session.expires_at, session.time + self.limits.max_lifetime)
        return until if self.limits.idle_lifetime is None else min(until, now + self.limits.idle_lifetime)

    def _stored_key(self, key: NearKey, session: Session) -> bytes | None:
        digest = self._digests.get(key[0]) or _peers.session_policy_digest(session)
        kind = TICKETS if session.single_use else SESSION
        return self._stored(kind, key, digest) if digest is not None else None

    def _stored(self, kind: str, key: NearKey, digest: str) -> bytes:
        return _peers.stored_key(StoredKey(kind, key[1], self.limits.partition, digest))

    # Finding

    def take(self, key: NearKey, now: float) -> Session | None:
        """The next session of this process to offer: a ticket leaves, a TLS 1.2 session stays."""
        idle = self.limits.idle_lifetime
        while True:
            held = self.near.take(key, now)
            if held is None:
                return self._taken_back(key)
            if idle is None or now - held.used <= idle:
                return held.session
            self.count("expired")
            self.near.drop(key, held.session)

    def _taken_back(self, key: NearKey) -> Session | None:
        digest = self._digests.get(key[0])
        if self.far is None or not len(self.far) or digest is None:
            return None
        return self.far.take_back(self._stored(TICKETS, key, digest))

    def fetch(self, key: NearKey, native: Any, now: float) -> Session | None:
        """The next session out of the store, within its timeout; a miss is remembered for a moment."""
        if self.far is None or self._missed.get(key, 0) > time.monotonic():
            return None
        digest = self._digests.get(key[0]) or _peers.policy_digest(native)
        verbs = [
            (verb, self._stored(kind, key, digest))
            for verb, kind, may_be in (
                ("take", TICKETS, not native.max_version or native.max_version >= TLS1_3),
                ("peek", SESSION, native.min_version < TLS1_3),
            )
            if may_be and self.near.kind(key) in (None, kind)
        ]
        found = self.far.fetch(verbs, functools.partial(self._came_late, key, now))
        session = self._decoded(*found) if found is not None else None
        if session is None:
            if len(self._missed) >= MISSES_MOST:
                self._missed.clear()
            self._missed[key] = time.monotonic() + MISS_SECONDS
        elif not session.single_use:
            self.put(key, session, now)
        return session

    def _came_late(self, key: NearKey, now: float, stored: bytes, value: bytes) -> None:
        session = self._decoded(stored, value)
        if session is not None:
            self._missed.pop(key, None)
            self.keep(key, session, now)

    def _decoded(self, stored: bytes, value: bytes) -> Session | None:
        parsed = _peers.parse_key(stored)
        try:
            session = Session.from_bytes(_peers.unpack(stored, value))
            if parsed is None or session.single_use != (parsed.kind == TICKETS):
                raise InvalidSession("the store's entry holds a session of another version than its key says")
        except InvalidSession as error:
            if self.far is not None:
                self.far.refused(error)
            return None
        return session

    # Forgetting

    def forget(self, key: NearKey, native: Any, *, tickets_only: bool) -> None:
        """Forgets a peer's tickets, or all of its sessions, in the store too."""
        if tickets_only:
            self.near.drop_tickets(key)
        else:
            self.near.drop(key)
        if self.far is not None:
            digest = self._digests.get(key[0]) or _peers.policy_digest(native)
            for kind in (TICKETS,) if tickets_only else (TICKETS, SESSION):
                self.far.discard(self._stored(kind, key, digest))

    def clear(self) -> None:
        """Forgets all, and in the store all of the peers that were met."""
        for key in self.near.known():
            digest = self._digests.get(key[0])
            if self.far is not None and digest is not None:
                for kind in (TICKETS, SESSION):
                    self.far.discard(self._stored(kind, key, digest))
        self.near.empty()
        self._missed.clear()

    # Ending

    def export(self, store: Any, now: float) -> int:
        """Moves what is near to another store; how many. What fails to be stored, and TLS 1.2 sessions, stay near."""
        remaining, stay, done = self.near.empty(), [], 0
        try:
            while remaining:
                key, session = remaining[0]
                stored = self._stored_key(key, session)
                if stored is None or not session.single_use:
                    stay.append((key, session))
                if stored is not None:
                    value = _peers.pack(stored, session.to_bytes())
                    until, keep = self._until(session, now), self.limits.tickets_per_peer
                    store.add(stored, value, expires_at=until, keep=keep)
                    done += 1
                remaining.pop(0)
        finally:
            for key, session in (*remaining, *stay):
                self.put(key, session, now)
        return done

    def close(self, now: float) -> None:
        """Writes the near ones to the store, and lets go of it."""
        everything = self.near.empty()
        if self.far is not None:
            for key, session in everything:
                if session.single_use:
                    self._move_on(key, session, now)
            self.far.close()

    def after_fork(self) -> None:
        """In a child: tickets, and what waits to be written, are the parent's."""
        self._lock = threading.RLock()
        self.near.after_fork()
        if self.far is not None:
            self.far.after_fork()


def end(keeping: Keeping) -> None:
    """For a cache that was never closed: at the interpreter's exit, or where the garbage collector found it."""
    try:
        keeping.close(time.time())
    except Exception as error:
        _callbacks.report(error, "sslsession's use of a session store")
