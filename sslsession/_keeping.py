"""Where the sessions of one client cache are; each ticket in one place.

Live sessions of this process are in a pool of C's (``pool.c``), where handshakes find them with no Python in their way.
What was read from bytes is in ``_near``. Without a store that is all. With one, the newest ticket of a peer is near,
and the others go to the store at once, so that other processes have something to use; the near ones follow at the end.
A TLS 1.2 session may be in both.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
import weakref
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from sslsession import _callbacks, _peers, handover
from sslsession._libssl import ffi, lib
from sslsession._near import Near
from sslsession._peers import PORTABLE_SIZE, SESSION, TICKETS, StoredKey
from sslsession.errors import InvalidSession
from sslsession.resumption import TLS1_3
from sslsession.session import Session

if TYPE_CHECKING:
    from sslsession._far import Far

PEERS_MOST = 4096
MISS_SECONDS = 1.0
MISSES_MOST = 4096
POLICIES_MOST = 1024
FOREVER = 2**40
KINDS = {0: None, 1: TICKETS, 2: SESSION}
COUNTED = "kept offered resumed declined hits misses expired refused withdrawn dropped".split()
"""In the order of ``POOL_KEPT`` and so on."""
INT, LONG = ffi.typeof("int *"), ffi.typeof("int64_t *")
_numbers = itertools.count(2**20)


class Limits(NamedTuple):
    """What a cache's user asked for; lifetimes in seconds. C decides by the system's clock, or not at all."""

    tickets_per_peer: int
    max_lifetime: float
    idle_lifetime: float | None
    partition: str
    any_port: bool
    system_clock: bool


class Keeping:
    """Near and far sessions under one set of limits. Wall-clock time is passed in, as ``now``."""

    def __init__(self, store: Any, owns_store: bool, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._clock = clock
        self.far: Far | None = None
        if store is not None:
            from sslsession._far import Far

            self.far = Far(store, owns_store)
        near_tickets = limits.tickets_per_peer if self.far is None else 1
        self.near = Near(near_tickets, PEERS_MOST)
        self.number = next(_numbers)
        self.pool = self._make_pool(near_tickets)
        self._digests: dict[bytes, str] = {}
        self._missed: dict[bytes, float] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.RLock()
        itself = weakref.WeakMethod(self._inherit)
        _callbacks.heirs[self.number] = functools.partial(_bequeath, itself)
        weakref.finalize(self, _callbacks.heirs.pop, self.number, None)

    def _make_pool(self, tickets: int) -> Any:
        settings = ffi.new("sslsession_pool_settings *")
        limits, context = self.limits, handover.id_context()
        settings.number = self.number
        settings.tickets = tickets if limits.system_clock else 0
        settings.shelves = PEERS_MOST
        settings.any_port = limits.any_port
        settings.writes = settings.asks = self.far is not None or not limits.system_clock
        settings.max_lifetime = int(min(limits.max_lifetime, FOREVER))
        settings.idle_lifetime = int(min(limits.idle_lifetime or 0, FOREVER))
        settings.id_context_length = len(context)
        settings.id_context = context
        pool = lib.sslsession_pool_new(settings)
        if pool == ffi.NULL:
            raise MemoryError("there is no memory left for a cache")
        return ffi.gc(pool, lib.sslsession_pool_free)

    def count(self, name: str) -> None:
        """Counts an event for ``stats()``."""
        with self._lock:
            self._counts[name] += 1

    def counts(self) -> Counter[str]:
        """What was counted in C, here, and at the store."""
        in_c = {name: lib.sslsession_pool_count(self.pool, number) for number, name in enumerate(COUNTED)}
        with self._lock:
            return Counter(in_c) + self._counts + (self.far.counts if self.far is not None else Counter())

    def __len__(self) -> int:
        return len(self.near) + int(lib.sslsession_pool_size(self.pool))

    def key(self, native: Any, peer: _peers.Peer) -> bytes:
        """The key of a connection to ``peer`` under an ``sslsession_policy *``; None: whatever its policy is."""
        key = _peers.near_key(native, peer._replace(port="") if self.limits.any_port else peer)
        if native is not None:
            self._digest(key, native)
        return key

    def _digest(self, key: bytes, native: Any) -> str:
        policy = key[:PORTABLE_SIZE]
        digest = self._digests.get(policy)
        if digest is None:
            if len(self._digests) >= POLICIES_MOST:
                self._digests.clear()
            digest = self._digests[policy] = _peers.policy_digest(native)
        return digest

    # Keeping

    def _inherit(self, facts: Any, key: bytes) -> None:
        """C has no place for a session: it is for the store, or this process's clock is not C's."""
        session = Session._of_facts(facts, _peers.name_of(_peers.peer_in(key)))
        self._digest(key, ffi.addressof(facts, "policy"))
        if self.limits.system_clock:
            self._missed.pop(key, None)
            self._move_on(key, session, self._clock())
        else:
            self.keep(key, session, self._clock())

    def keep(self, key: bytes, session: Session, now: float) -> None:
        """Keeps a session that Python has, and moves on what has to go for it."""
        self._missed.pop(key, None)
        self.put(key, session, now)
        if self.far is not None and not session.single_use:
            self._move_on(key, session, now)

    def put(self, key: bytes, session: Session, now: float) -> None:
        """Has a session near; what has to go for it moves on."""
        lib.sslsession_pool_ask(self.pool, True)
        for other, gone in self.near.put(key, session, now):
            if gone.single_use or self.far is None:
                self._move_on(other, gone, now)

    def _move_on(self, key: bytes, session: Session, now: float) -> None:
        stored = self._stored_key(key, session)
        if self.far is None or stored is None:
            self.count("dropped")
        else:
            self.far.write(stored, session, self._until(session, now), self.limits.tickets_per_peer)

    def _until(self, session: Session, now: float) -> float:
        until = min(session.expires_at, session.time + self.limits.max_lifetime)
        return until if self.limits.idle_lifetime is None else min(until, now + self.limits.idle_lifetime)

    def _stored_key(self, key: bytes, session: Session) -> bytes | None:
        digest = self._digests.get(key[:PORTABLE_SIZE]) or _peers.session_policy_digest(session)
        kind = TICKETS if session.single_use else SESSION
        return self._stored(kind, key, digest) if digest is not None else None

    def _stored(self, kind: str, key: bytes, digest: str) -> bytes:
        return _peers.stored_key(StoredKey(kind, _peers.peer_in(key), self.limits.partition, digest))

    # Finding

    def take(self, key: bytes, now: float) -> Session | None:
        """The next session of this process to offer: a ticket leaves, a TLS 1.2 session stays."""
        idle = self.limits.idle_lifetime
        while True:
            used = ffi.new(LONG)
            native = lib.sslsession_pool_take(self.pool, key, len(key), int(now), used)
            if native != ffi.NULL:
                session, last = Session._captured(native, _peers.name_of(_peers.peer_in(key))), float(used[0])
            else:
                held = self.near.take(key, now)
                if held is None:
                    return self._taken_back(key)
                session, last = held
            if idle is None or now - last <= idle:
                return session
            self.count("expired")
            self.drop(key, session)

    def _taken_back(self, key: bytes) -> Session | None:
        digest = self._digests.get(key[:PORTABLE_SIZE])
        if self.far is None or not len(self.far) or digest is None:
            return None
        session: Session | None = self.far.take_back(self._stored(TICKETS, key, digest))
        return session

    def drop(self, key: bytes, session: Session) -> None:
        """Forgets a session that may not be offered."""
        self.near.drop(key, session)
        if not session.single_use:
            lib.sslsession_pool_drop(self.pool, key, len(key), lib.POOL_SESSION)

    def holds(self, key: bytes) -> bool:
        """Whether there is a session for this key in this process."""
        return bool(lib.sslsession_pool_holds(self.pool, key, len(key), ffi.new(INT))) or self.near.holds(key)

    def fetch(self, key: bytes, native: Any, now: float) -> Session | None:
        """The next session out of the store, within its timeout; a miss is remembered for a moment."""
        if self.far is None or self._missed.get(key, 0) > time.monotonic():
            return None
        digest, known = self._digest(key, native), self._last_kind(key)
        verbs = [
            (verb, self._stored(kind, key, digest))
            for verb, kind, may_be in (
                ("take", TICKETS, not native.max_version or native.max_version >= TLS1_3),
                ("peek", SESSION, native.min_version < TLS1_3),
            )
            if may_be and known in (None, kind)
        ]
        found = self.far.fetch(verbs, functools.partial(self._came_late, key))
        session = self._decoded(*found) if found is not None else None
        if session is None:
            if len(self._missed) >= MISSES_MOST:
                self._missed.clear()
            self._missed[key] = time.monotonic() + MISS_SECONDS
        elif not session.single_use:
            self.put(key, session, now)
        return session

    def _last_kind(self, key: bytes) -> str | None:
        kind = ffi.new(INT)
        lib.sslsession_pool_holds(self.pool, key, len(key), kind)
        return KINDS[kind[0]] or self.near.kind(key)

    def _came_late(self, key: bytes, stored: bytes, value: bytes) -> None:
        session = self._decoded(stored, value)
        if session is not None:
            self.keep(key, session, self._clock())

    def _decoded(self, stored: bytes, value: bytes) -> Session | None:
        parsed = _peers.parse_key(stored)
        try:
            session = Session.from_bytes(_peers.unpack(stored, value))
            if parsed is None or session.single_use != (parsed.kind == TICKETS):
                raise InvalidSession("the store's entry holds a session of another version than its key says")
        except Exception as error:  # a store of the user's own may give anything
            if self.far is not None:
                self.far.refused(error)
            return None
        return session

    # Forgetting

    def forget(self, key: bytes, native: Any, *, tickets_only: bool) -> None:
        """Forgets a peer's tickets, or all of its sessions, where C cannot: it has done so in its pool."""
        if tickets_only:
            self.near.drop_tickets(key)
        else:
            self.near.drop(key)
        if self.far is not None:
            for kind in (TICKETS,) if tickets_only else (TICKETS, SESSION):
                self.far.discard(self._stored(kind, key, self._digest(key, native)))

    def clear(self) -> None:
        """Forgets all, and in the store all of the peers that were met."""
        for key in {key for key, _ in self._emptied()} | set(self.near.known()):
            digest = self._digests.get(key[:PORTABLE_SIZE])
            if self.far is not None and digest is not None:
                for kind in (TICKETS, SESSION):
                    self.far.discard(self._stored(kind, key, digest))
        self._missed.clear()

    def _emptied(self) -> list[tuple[bytes, Session]]:
        """All sessions of this process, which are here no more; of each key the newest last."""
        everything = self.near.empty()
        key, size = ffi.new("unsigned char[]", lib.POOL_KEY_MOST), ffi.new("size_t *")
        while True:
            native = lib.sslsession_pool_pour(self.pool, key, size)
            if native == ffi.NULL:
                return everything
            found = bytes(ffi.buffer(key, size[0]))
            everything.append((found, Session._captured(native, _peers.name_of(_peers.peer_in(found)))))

    # Ending

    def export(self, store: Any, now: float) -> int:
        """Moves what is near to another store; how many.

        TLS 1.2 sessions stay near, and so does all else once the store fails, but for the ticket that it failed with:
        that one may have arrived, and in two places it would be used twice.
        """
        remaining, stay, done = deque(self._emptied()), [], 0
        try:
            while remaining:
                key, session = remaining.popleft()
                stored = self._stored_key(key, session)
                if stored is None or not session.single_use:
                    stay.append((key, session))
                if stored is not None:
                    value = _peers.pack(stored, session.to_bytes())
                    until, keep = self._until(session, now), self.limits.tickets_per_peer
                    try:
                        store.add(stored, value, expires_at=until, keep=keep)
                    except BaseException:
                        if session.single_use:
                            self.count("dropped")
                        raise
                    done += 1
        finally:
            for key, session in (*remaining, *stay):
                self.put(key, session, now)
        return done

    def close(self) -> None:
        """Writes the near ones to the store, and lets go of it."""
        lib.sslsession_pool_close(self.pool)
        everything, now = self._emptied(), self._clock()
        if self.far is not None:
            for key, session in everything:
                if session.single_use:
                    self._move_on(key, session, now)
            self.far.close()

    def after_fork(self) -> None:
        """In a child: tickets, and what waits to be written, are the parent's."""
        self._lock = threading.RLock()
        lib.sslsession_pool_after_fork(self.pool)
        self.near.after_fork()
        if self.far is not None:
            self.far.after_fork()


def _bequeath(heir: weakref.WeakMethod[Any], facts: Any, key: bytes) -> None:
    inherit = heir()
    if inherit is not None:
        inherit(facts, key)


def end(keeping: Keeping) -> None:
    """For a cache that was never closed: at the interpreter's exit, or where the garbage collector found it."""
    try:
        keeping.close()
    except Exception as error:
        _callbacks.report(error, "sslsession's use of a session store")
