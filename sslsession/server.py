"""``ServerSessionCache``: sessions of servers in a store, so that any worker resumes what any other made.

OpenSSL makes a session and asks for it by its id; C looks at what comes back (``admission.c``), and here it is kept.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections import Counter
from types import TracebackType
from typing import Any, Callable

from sslsession import _accepting, _borrow, _callbacks, _revocations, _serving, _shelf
from sslsession._attachment import User
from sslsession._libssl import ffi, lib
from sslsession._revocations import Withdrawn
from sslsession._serving import AUTHENTICATION_LIMIT
from sslsession._ticker import ticker
from sslsession.errors import StoreError
from sslsession.resumption import TLS1_2, TLS1_3
from sslsession.session import Session

PREFIX = b"sslsession-server-1:"
LIFETIME_MOST = 7 * 24 * 3600
SIZE = 20480
POLL_EVERY = 0.3
"""Seconds: with the time that a store takes, what is withdrawn reaches every worker within one."""
FIRST_LOOK = 0.5
"""Seconds that making a cache may wait for its store; until that answers, nothing from before is resumed."""
COUNTED = (
    "hits misses stored store_errors dropped evicted resumed renewed expired refused revoked cut"
    " early_data early_data_refused".split()
)
OPENSSLS = {
    "openssl_accept": 24,
    "openssl_accept_good": 25,
    "openssl_hits": 27,
    "openssl_cb_hits": 28,
    "openssl_misses": 29,
    "openssl_timeouts": 30,
}
_caches: weakref.WeakSet[ServerSessionCache] = weakref.WeakSet()


class ServerSessionCache:
    """Sessions of server contexts, in ``store``: all processes and hosts with the same store resume each other's.

    store
        Where sessions are: a store of :mod:`sslsession.stores` or its URL; None for this process's memory.
    lifetime
        Seconds for which a session may be resumed; at most 604800. TLS 1.3 clients get a new one with each resumption.
    idle_lifetime
        Seconds after which a TLS 1.2 session that was not resumed is forgotten; None: its lifetime.
    size
        The most sessions that this process's memory holds, where that is the store: those not used for longest go.
    tickets
        How many TLS 1.3 tickets a client gets after a full handshake.
    max_early_data
        Bytes that a client may send before the handshake is done, to who calls :func:`read_early_data`. 0: none.
    accept_early_data
        Called with the connection and the :class:`Session` of a client that sends early data; unless it says yes, the
        handshake goes on without. Each ticket's first time only: the store sees to that, for all who share it. It is
        called in the middle of the handshake, where to read, write or ``do_handshake()`` on the connection is fatal.
    context_id
        Bytes or text that servers of one store must have in common, for their sessions to be each other's.
    authentication_limit
        Seconds since its client's full handshake after which a session is resumed no more, however often renewed.

    Where no :class:`TicketKeyRing` is on the same context, clients get no tickets that hold a session: TLS 1.3 tickets
    are ids (each is used once), and TLS 1.2 has its ids. With a ring, tickets are the ring's, and the store has the
    TLS 1.2 sessions of clients that want no ticket. A session is bound to the server's certificates, its demands on
    client certificates with the authorities it trusts for them, and the server name that the client asked for; what
    does not match starts full. Where revocation lists are looked at, a client is verified again as it resumes, by what
    the context itself trusts. A store that fails costs resumptions, and never a handshake.

    Source: SSL_CTX_sess_set_new_cb(3), SSL_CTX_set_session_ticket_cb(3), SSL_CTX_set_client_hello_cb(3).
    """

    def __init__(
        self,
        store: Any = None,
        *,
        lifetime: float = 7200,
        idle_lifetime: float | None = None,
        size: int = SIZE,
        tickets: int = 2,
        max_early_data: int = 0,
        accept_early_data: _accepting.Accept | None = None,
        context_id: bytes | str | None = None,
        authentication_limit: float = AUTHENTICATION_LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _accepting.check(max_early_data, accept_early_data)
        for name, value, most in (
            ("lifetime", lifetime, LIFETIME_MOST),
            ("idle_lifetime", idle_lifetime, LIFETIME_MOST),
            ("authentication_limit", authentication_limit, 10 * 366 * 24 * 3600),
        ):
            if value is not None and (isinstance(value, bool) or not 1 <= value <= most):
                raise ValueError(f"{name} is 1 to {most} seconds, not {value!r}")
        if type(tickets) is not int or not 1 <= tickets <= 255:
            raise ValueError(f"tickets is 1 to 255, not {tickets!r}")
        if not isinstance(context_id, (str, bytes, type(None))):
            raise TypeError(f"context_id is bytes, text or None, not {type(context_id).__name__}")
        self._lifetime, self._idle, self._tickets, self._clock = int(lifetime), idle_lifetime, tickets, clock
        self._owns = store is None or isinstance(store, str)
        self._shelf = _shelf.shelf(store, size, self._owns, tickets)
        identity = context_id.encode() if isinstance(context_id, str) else context_id or b""
        self._shares = store is not None
        self._number, self._rules = _serving.make_rules(
            identity, authentication_limit, True, idle_lifetime is not None, max_early_data > 0
        )
        self._accepting = _accepting.Accepting(self._shelf, accept_early_data, self._lifetime, clock)
        self._early = max_early_data
        if clock is not time.time:
            lib.sslsession_server_set_time(self._rules, int(clock()))
        self._withdrawn = Withdrawn(self._rules, identity, authentication_limit)
        self._counts: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._joined: list[_serving.Joined] = []
        self._closed = False
        _callbacks.shelves[self._number] = shelf = _Reached(weakref.ref(self))
        weakref.finalize(self, _callbacks.shelves.pop, self._number, shelf)
        self._finalizer = weakref.finalize(self, _end, self._shelf, self._withdrawn)
        _caches.add(self)
        if self._shares:
            self._withdrawn.expect(clock())
            self._hear_first()
            ticker.every(POLL_EVERY, self._poll)

    def _hear_first(self) -> None:
        """Looks into the store, but does not wait for ever for one that hangs."""
        first = threading.Thread(target=self._poll, name="sslsession-first-look", daemon=True)
        try:
            first.start()
        except RuntimeError:  # the interpreter is about to end
            return
        first.join(FIRST_LOOK)

    # Contexts

    def attach(self, ctx: ssl.SSLContext) -> None:
        """Sessions of this server context are in this cache from now on. Attaching again does nothing.

        Errors: ``TypeError``, ``ValueError`` for a client's context; :class:`SessionError` where another cache is;
        ``ValueError`` once the cache is closed.
        """
        if self._closed:
            raise ValueError("this ServerSessionCache is closed: make a new one")
        context = _serving.server_context(ctx)
        with self._lock:
            self._joined = [each for each in self._joined if each.context() is not None]
            if any(each.context() is context for each in self._joined):
                return
            user = User()
            user.server, user.stores, user.holder = self._rules, True, self
            self._joined.append(_serving.Joined(context, user, self._lifetime, self._tickets, self._early))

    def detach(self, ctx: ssl.SSLContext) -> None:
        """Leaves the context as it was found. Its connections go on; what was kept stays in the store."""
        context = _borrow.true_context(ctx)
        with self._lock:
            found = next((each for each in self._joined if each.context() is context), None)
            if found is not None:
                self._joined.remove(found)
        if found is not None:
            self._leave(found)

    def _leave(self, joined: _serving.Joined) -> None:
        for rules in joined.heirs():
            self._withdrawn.bequeath(rules)
        joined.leave()

    # Sessions

    def _shelve(self, session_id: bytes, der: bytes, version: int, made_at: int) -> None:
        now, key = self._clock(), key_of(session_id, version)
        ends = (made_at or now) + self._lifetime
        soon = ends if self._idle is None or version >= TLS1_3 else min(ends, now + self._idle)
        if made_at:
            self._shelf.touch(key, der, soon)
        else:
            self._shelf.put(key, der, soon, version >= TLS1_3)

    def _unshelve(self, session_id: bytes, version: int) -> bytes | None:
        given: Any = self._shelf.get(key_of(session_id, version), version >= TLS1_3)
        found = given if isinstance(given, bytes) else None
        if given is not None and found is None:
            self._shelf.refused(StoreError(f"the session store gave {type(given).__name__}, not bytes"))
        with self._lock:
            self._counts["misses" if found is None else "hits"] += 1
        return found

    def revoke(
        self,
        *,
        session_id: bytes | Session | None = None,
        client_certificate: bytes | str | None = None,
        server_name: str | None = None,
    ) -> None:
        """Withdraws sessions: in this process now, in all that share the store within a second. Tickets too.

        session_id: one session's, or the :class:`Session` itself (``get_session(conn)``), which withdraws all that goes
        back to the same full handshake. client_certificate: DER or PEM; all sessions of that client. server_name: all
        made for it, until now and five minutes more, for clocks differ. Errors: ``TypeError``, ``ValueError``;
        :class:`StoreError` where the store fails: then others hear of it when it is back.
        """
        what: list[tuple[int, bytes]] = []
        if session_id is not None:
            what += _revocations.of_session(session_id)
        if client_certificate is not None:
            what += _revocations.of_certificate(client_certificate)
        if server_name is not None:
            what += _revocations.of_name(server_name)
        if not what:
            raise ValueError("say what to withdraw: session_id, client_certificate or server_name")
        now = self._clock()
        self._withdrawn.add(what, now)
        if isinstance(session_id, Session):
            session_id = session_id.id
        if session_id:
            for version in (TLS1_2, TLS1_3):
                self._shelf.drop(key_of(bytes(session_id), version))
        if self._shares:
            self._withdrawn.share(self._shelf.store, now)

    def _poll(self) -> None:
        now = self._clock()
        if self._clock is not time.time:
            lib.sslsession_server_set_time(self._rules, int(now))
        if not self._closed and not self._withdrawn.heard(self._shelf.store, now):
            with self._lock:
                self._counts["store_errors"] += 1

    def stats(self) -> dict[str, int]:
        """Counts since the cache was made, of this process; ``openssl_...`` are OpenSSL's own of the attached contexts.

        ``hits``, ``misses`` of the store; ``resumed`` handshakes, by ticket or store, of those ``renewed``; not resumed
        because ``expired`` (its authentication limit or its client's certificate), ``refused`` (made under other
        settings), ``revoked``; ``cut``: ended, for sni_callback chose other settings than the session was made under;
        ``stored``, ``evicted``, ``dropped`` sessions; ``store_errors``.
        """
        counts = Counter(_serving.counts(self._rules)) + self._counts + self._shelf.counts()
        found = {name: counts.get(name, 0) for name in COUNTED}
        with self._lock:
            contexts = [
                context for context in (each.context() for each in self._joined) if context is not None
            ]
        for name, number in OPENSSLS.items():
            found[name] = sum(
                int(lib.SSL_CTX_ctrl(_borrow.context_pointer(context), number, 0, ffi.NULL))
                for context in contexts
            )
        return found

    def flush(self) -> None:
        """Waits until what is to be in the store by now is. Errors: :class:`StoreError` where the store fails."""
        self._shelf.flush()

    def close(self) -> None:
        """Detaches from all contexts, writes what waits, and lets go of the store. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        ticker.never(self)
        for each in list(self._joined):
            self._leave(each)
        self._joined.clear()
        self._withdrawn.end()
        self._finalizer.detach()
        self._shelf.close()

    def __enter__(self) -> ServerSessionCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ServerSessionCache store={self._shelf.store!r}>"


def _end(shelf: _shelf.Near | _shelf.Behind, withdrawn: Withdrawn) -> None:
    """Of a cache that was never closed. At the interpreter's exit others may still ask the store."""
    withdrawn.end()
    _shelf.end(shelf)


def key_of(session_id: bytes, version: int) -> bytes:
    """Where the store has a session. Who has seen an id of TLS 1.2 must not use it up, as TLS 1.3 would."""
    return PREFIX + (b"3" if version >= TLS1_3 else b"2") + session_id


class _Reached:
    """What C finds by the cache's number; the cache may be gone."""

    def __init__(self, cache: weakref.ref[ServerSessionCache]) -> None:
        self._cache = cache

    def shelve(self, session_id: bytes, der: bytes, version: int, made_at: int) -> None:
        cache = self._cache()
        if cache is not None:
            cache._shelve(session_id, der, version, made_at)

    def issue(self, token: bytes) -> None:
        cache = self._cache()
        if cache is not None:
            cache._accepting.issue(token)

    def asked(self, handle: Any, token: bytes) -> bool:
        cache = self._cache()
        return cache is not None and cache._accepting.asked(handle, token)

    def unshelve(self, session_id: bytes, version: int) -> bytes | None:
        cache = self._cache()
        return cache._unshelve(session_id, version) if cache is not None else None


def _after_fork() -> None:
    for cache in list(_caches):
        cache._lock = threading.RLock()
        cache._withdrawn.after_fork()
        cache._shelf.after_fork()
        cache._accepting.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
