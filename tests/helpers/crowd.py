"""Many clients at one server context in threads, and an account of each session that is kept apart from the library's.

Half the clients close cleanly and half drop. The cache is small, so that sessions are evicted while others connect.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import random
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import sslsession
from helpers.memory import Pair
from helpers.openssl_calls import set_cache_size


class Account:
    """The three hooks of a server context, and what they were told: ids of sessions, as often as they came."""

    def __init__(self, answers: bool = True) -> None:
        self._lock = threading.Lock()
        self._answers = answers
        self._store: dict[bytes, sslsession.Session] = {}
        self.made: collections.Counter[bytes] = collections.Counter()
        self.removed: collections.Counter[bytes] = collections.Counter()
        self.given: collections.Counter[bytes] = collections.Counter()
        self.asked = 0

    def attach(self, ctx: ssl.SSLContext) -> sslsession.SessionHooks:
        """Set all three on `ctx`."""
        return sslsession.SessionHooks(ctx, new=self.new, remove=self.remove, get=self.get)

    def new(self, conn: Any, session: sslsession.Session) -> None:
        with self._lock:
            self.made[session.id] += 1
            self._store[session.id] = session

    def remove(self, ctx: Any, session: sslsession.Session) -> None:
        with self._lock:
            self.removed[session.id] += 1

    def get(self, conn: Any, session_id: bytes) -> sslsession.Session | None:
        with self._lock:
            self.asked += 1
            found = self._store.get(session_id) if self._answers else None
            if found is not None:
                self.given[session_id] += 1
            return found

    def settle(self, seconds: float = 30) -> None:
        """Wait until each session made was removed; give up quietly, so that `check` can say what is missing."""
        until = time.monotonic() + seconds
        pause = threading.Event()
        while time.monotonic() < until and not set(self.made) <= set(self.removed):
            pause.wait(0.01)

    def check(self) -> None:
        """Each session was made once and removed once; what `get` gave back is a new object to OpenSSL each time."""
        twice = {key: count for key, count in self.made.items() if count != 1}
        assert not twice, f"made more than once: {len(twice)}"
        missing = set(self.made) - set(self.removed)
        assert not missing, f"{len(missing)} of {len(self.made)} were never reported as removed"
        unknown = set(self.removed) - set(self.made)
        assert not unknown, f"removed, and never made: {len(unknown)}"
        often = {key for key, count in self.removed.items() if count > 1 + self.given[key]}
        assert not often, f"reported too often: {len(often)}"


class Crowd:
    """`threads` clients that connect to what `server` gives them until told to stop, resuming when they can."""

    def __init__(
        self,
        client: ssl.SSLContext,
        server: Callable[[], ssl.SSLContext],
        *,
        threads: int = 4,
        resume: bool = True,
    ) -> None:
        self._client = client
        self._server = server
        self._stop = threading.Event()
        self._resume = resume
        self._threads = [threading.Thread(target=self._work, args=[number]) for number in range(threads)]
        self.connections = 0
        self.reused = 0
        self.errors: list[BaseException] = []

    def run(self, seconds: float) -> None:
        """Let them work; raises the first thing that went wrong in any of them."""
        for thread in self._threads:
            thread.start()
        self._stop.wait(seconds)
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a thread is stuck"
        if self.errors:
            raise self.errors[0]

    def _work(self, number: int) -> None:
        chance = random.Random(number)
        kept: list[sslsession.Session] = []
        try:
            while not self._stop.is_set():
                self._connect(chance, kept)
        except BaseException as error:
            self.errors.append(error)
            self._stop.set()

    def _connect(self, chance: random.Random, kept: list[sslsession.Session]) -> None:
        offered = (
            kept.pop(chance.randrange(len(kept))) if self._resume and kept and chance.random() < 0.7 else None
        )
        pair = Pair(self._client, self._server(), prepare=lambda conn: offer(conn, offered))
        pair.handshake()
        pair.exchange()
        session = sslsession.get_session(pair.client)
        self.connections += 1
        self.reused += bool(pair.client.session_reused)
        if session is not None and session.is_resumable:
            kept.append(session)
            del kept[:-8]
        if chance.random() < 0.5:
            pair.close()
        pair.drop()


def offer(conn: ssl.SSLObject, session: sslsession.Session | None) -> None:
    """Offer a session unless it is used up."""
    if session is not None:
        with contextlib.suppress(sslsession.SessionError):
            sslsession.set_session(conn, session)


def small_cache(ctx: ssl.SSLContext, size: int = 16) -> ssl.SSLContext:
    """The same context, with so small an internal cache that most sessions are evicted."""
    set_cache_size(ctx, size)
    return ctx


def collect() -> None:
    """Free what nobody holds, also where objects do not go at once."""
    for _ in range(3):
        gc.collect()
