"""``ClientSessionCache``: client connections of ordinary contexts that resume by themselves.

Sessions come through OpenSSL's new-session callback, and go out as the handshake begins: OpenSSL says so (the info
callback's HANDSHAKE_START) after it has cleared the connection and before it builds the ClientHello, whoever drives the
handshake, so nothing of ``ssl`` has to be wrapped. What may be offered is decided in ``resumption.py``; where sessions
are kept, in ``_keeping.py``; C answers by itself where it can (``unasked.c``), and asks ``_asked.py`` otherwise.
"""

from __future__ import annotations

import functools
import os
import ssl
import threading
import time
import weakref
from math import inf
from types import TracebackType
from typing import Any, Callable, NamedTuple

from sslsession import _borrow, _callbacks, _keeping, _peers, handover
from sslsession._asked import Asked
from sslsession._attachment import Attachment, User
from sslsession._keeping import Keeping, Limits
from sslsession._libssl import ffi, lib
from sslsession.early_data import permitting
from sslsession.errors import InvalidSession, SessionError, SessionExpired, SessionMismatch
from sslsession.resumption import Reason, canonical_name
from sslsession.session import Session

COUNTED = (*_keeping.COUNTED, "store_hits", "stored", "store_errors")
_caches: weakref.WeakSet[ClientSessionCache] = weakref.WeakSet()


class ClientSessionCache:
    """Keeps the sessions of client connections, and offers them on the next ones to the same peer.

    store
        Where sessions go that other processes and hosts are to use: a store of :mod:`sslsession.stores`, or its URL
        (``"sqlite:///path"``; see :func:`~sslsession.stores.open_store`). None: this process's memory alone.
    tickets_per_peer
        How many TLS 1.3 tickets are kept for a peer. Each is offered once, the newest first (RFC 8446 C.4).
    max_lifetime, idle_lifetime
        Seconds after which a session is not offered any more, since it was made and since it was last offered. A
        server's shorter lifetime counts, and a week always does (RFC 8446 4.6.1).
    partition
        Any text. Caches of different partitions never share a session, also in one store: one for each tenant.
    early_data
        Whether :func:`write_early_data` and :func:`send_replayable` may use its sessions.
    same_host_any_port
        Whether a session of one port of a host is offered at another one. FTPS needs that.

    After :meth:`attach`, every client connection of the context resumes if it may: blocking sockets, memory BIOs,
    asyncio. A session is offered only to the peer that it came from (host name, and port where the connection shows
    one), under the same settings, in time; one that this very context did not earn is verified again first. What the
    store does wrong never fails a handshake, and holds it up no longer than the store's timeout.

    Errors: ``TypeError``, ``ValueError`` for unusable arguments; :class:`StoreError` where the store cannot be opened.
    """

    def __init__(
        self,
        store: Any = None,
        *,
        tickets_per_peer: int = 8,
        max_lifetime: float = 604800,
        idle_lifetime: float | None = None,
        partition: str = "",
        same_host_any_port: bool = False,
        early_data: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(tickets_per_peer, bool) or not isinstance(tickets_per_peer, int):
            raise TypeError(f"tickets_per_peer must be a number, not {type(tickets_per_peer).__name__}")
        if tickets_per_peer < 1:
            raise ValueError(f"tickets_per_peer must be 1 or more, not {tickets_per_peer}")
        idle_lifetime = None if idle_lifetime == inf else idle_lifetime
        for name, seconds in (("max_lifetime", max_lifetime), ("idle_lifetime", idle_lifetime)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {seconds!r}")
        if not isinstance(partition, str):
            raise TypeError(f"partition must be text, not {type(partition).__name__}")
        whole = all(
            seconds in (None, inf) or seconds == int(seconds) for seconds in (max_lifetime, idle_lifetime)
        )
        digest = _peers.partition_digest(partition)
        by_c = clock is time.time and whole
        limits = Limits(tickets_per_peer, max_lifetime, idle_lifetime, digest, bool(same_host_any_port), by_c)
        opened = _opened(store)
        self._keeping = Keeping(opened, opened is not store, limits, clock)
        self._clock = clock
        if early_data:
            permitting.add(self._keeping.number)
            weakref.finalize(self._keeping, permitting.discard, self._keeping.number).atexit = False
        self._asked = Asked(self._keeping, clock)
        self._joined: dict[int, Joined] = {}
        self._lock = threading.RLock()
        self._closed = False
        _caches.add(self)
        self._finalizer = weakref.finalize(self, _keeping.end, self._keeping)

    # Contexts

    def attach(self, ctx: ssl.SSLContext) -> None:
        """From now on, client connections of ``ctx`` keep their sessions here and offer those that are.

        Attaching again does nothing. A context may have several caches: the last one attached gets the TLS 1.3 tickets,
        all get TLS 1.2 sessions, and the last that has one offers it. The cache lives as long as its contexts.

        Errors: ``TypeError`` for what is no context; ``ValueError`` for a server's; :class:`SessionError` where the
        context hides its ``SSL_CTX``, or after :meth:`close`; :class:`UnsupportedInterpreter`.
        """
        if self._closed:
            raise SessionError("the cache is closed: make a new one")
        context = _borrow.true_context(ctx)
        if _borrow.protocol_of(context) == ssl.PROTOCOL_TLS_SERVER:
            raise ValueError("this context is a server's, and ClientSessionCache is for clients")
        self._join(context, ctx)

    def _attach_new(self, context: ssl.SSLContext) -> None:
        """Attaches to what ``ssl.SSLContext.__new__`` just made, which cannot make a connection yet."""
        if not self._closed and _borrow.protocol_of(context) != ssl.PROTOCOL_TLS_SERVER:
            self._join(context, context)

    def _join(self, context: ssl.SSLContext, given: ssl.SSLContext) -> None:
        user = User()
        asked = self._asked
        user.offer, user.outcome, user.peer = asked.offer, asked.outcome, asked.peer
        user.pool, user.number, user.holder = self._keeping.pool, self._keeping.number, self
        number = _number_of(context)
        with self._lock:
            if number in self._joined:
                return
            attachment = Attachment.join(context, user, proved=True)
            self._joined[number] = Joined(weakref.ref(given), attachment, user)
        weakref.finalize(context, _forget_context, weakref.ref(self), number).atexit = False

    def detach(self, ctx: ssl.SSLContext) -> None:
        """Leaves the context as it was found. Its connections go on; what was kept stays in the cache."""
        context = _borrow.true_context(ctx)
        joined = self._joined.pop(_number_of(context), None)
        if joined is not None:
            joined.attachment.leave(joined.user)

    # Sessions

    def add(self, session: Session, host: str, port: int | None = None) -> None:
        """Keeps a session from elsewhere, such as :meth:`Session.from_bytes`, for connections to ``host``.

        host: what connections use as ``server_hostname``. port: None for any. It is verified again before it is
        offered, as :func:`set_session` does. Errors: ``TypeError``, ``ValueError``; :class:`InvalidSession` where it
        cannot be resumed; :class:`SessionExpired`; :class:`SessionMismatch` for a session of another name.
        """
        handover.need_session(session)
        peer, now = _peers.named_peer(host, port), self._clock()
        if not session.is_resumable:
            raise InvalidSession(f"{Reason.NOT_RESUMABLE}. Take it after a first read.")
        if not now < session.expires_at:
            raise SessionExpired(f"{Reason.EXPIRED}. Connect without it.")
        if session.server_name is not None and canonical_name(session.server_name) != canonical_name(
            peer.host
        ):
            raise SessionMismatch(
                f"the session is of {session.server_name!r} and cannot be resumed with {host!r}"
            )
        self._keeping.count("kept")
        self._keeping.keep(self._keeping.key(None, peer), session, now)

    async def prefetch(self, host: str, port: int | None = None) -> bool:
        """Fetches a session from the store, so that no handshake of this event loop has to wait for it.

        For the contexts attached now. port: as for :meth:`add`; a connection of asyncio shows none. Returns whether a
        session is there now. A store's failure is counted, and not raised.
        """
        import asyncio

        peers = {_peers.named_peer(host, None)}
        if port is not None:
            peers.add(_peers.named_peer(host, port))
        loop, found = asyncio.get_running_loop(), False
        for joined in list(self._joined.values()):
            native = _policy_of_trial(joined.context(), host)
            for peer in peers if native is not None else ():
                key, now = self._keeping.key(native, peer), self._clock()
                if not self._keeping.holds(key):
                    fetch = functools.partial(self._keeping.fetch, key, native, now)
                    session = await loop.run_in_executor(None, fetch)
                    if session is not None and session.single_use:
                        self._keeping.put(key, session, now)
                found = found or self._keeping.holds(key)
        return found

    def clear(self) -> None:
        """Forgets all sessions; in a store those of the peers met, and the command ``cache purge --all`` the rest."""
        self._keeping.clear()

    def export_to(self, store: Any) -> int:
        """Moves this process's sessions to another store, or its URL; how many.

        Tickets leave the cache: in two places they would be used twice. Errors: :class:`StoreError`, where what was
        not stored stays in the cache.
        """
        if store is None:
            raise TypeError("a store of sslsession.stores, or its URL, is needed, not None")
        opened = _opened(store)
        try:
            return self._keeping.export(opened, self._clock())
        finally:
            if opened is not store:
                opened.close()

    def stats(self) -> dict[str, int]:
        """Counts since the cache was made.

        ``kept`` sessions that came in; ``offered``, and of those ``resumed``, ``declined`` by the server; ``hits`` and
        ``store_hits`` sessions found in this process and in the store, ``misses`` handshakes for which there was none;
        ``expired``, ``refused`` found and not to be offered; ``withdrawn`` by a fatal alert; ``stored`` sessions that
        were written, ``store_errors``, ``dropped`` sessions that found no place. And as of now ``sessions`` in this
        process, ``waiting`` to be written.
        """
        keeping = self._keeping
        counts = keeping.counts()
        now = {"sessions": len(keeping), "waiting": len(keeping.far) if keeping.far is not None else 0}
        return {**{name: counts.get(name, 0) for name in COUNTED}, **now}

    def _forget(self, native: Any, peer: _peers.Peer) -> None:
        """Forgets all sessions of a peer under an ``sslsession_policy *``, near and in the store."""
        key = self._keeping.key(native, peer)
        lib.sslsession_pool_drop(self._keeping.pool, key, len(key), lib.POOL_TICKETS | lib.POOL_SESSION)
        self._keeping.forget(key, native, tickets_only=False)

    def flush(self) -> None:
        """Waits until all that is to be in the store is. Errors: :class:`StoreError` where the store fails."""
        if self._keeping.far is not None:
            self._keeping.far.flush()

    def close(self) -> None:
        """Detaches from all contexts and writes what is still near to the store. Closing again does nothing.

        At the interpreter's exit that happens by itself.
        """
        if self._closed:
            return
        self._closed = True
        self._finalizer.detach()
        for joined in list(self._joined.values()):
            joined.attachment.leave(joined.user)
        self._joined.clear()
        self._keeping.close()

    def __enter__(self) -> ClientSessionCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        store = self._keeping.far.store if self._keeping.far is not None else None
        return f"<ClientSessionCache of {len(self._keeping)} sessions, store={store!r}>"


class Joined(NamedTuple):
    """A context that a cache is attached to: as it was given, which truststore's is not what connections use."""

    context: weakref.ref[ssl.SSLContext]
    attachment: Attachment
    user: User


def forget_peer(conn: Any) -> None:
    """Has all caches of a client connection's context forget what its peer gave, where OpenSSL had no objection."""
    borrowed = _borrow.borrow(conn)
    peer, native = _peers.peer_of(borrowed), lib.sslsession_policy_at_start(borrowed.ssl)
    number = lib.sslsession_context_id(lib.SSL_get_SSL_CTX(borrowed.ssl))
    for user in getattr(_callbacks.handlers.get(number), "users", ()):
        if peer is not None and native != ffi.NULL and isinstance(user.holder, ClientSessionCache):
            user.holder._forget(native, peer)


def _opened(store: Any) -> Any:
    if store is None:
        return None
    from sslsession.stores.urls import opened

    return opened(store)


def _number_of(context: ssl.SSLContext) -> int:
    return int(lib.sslsession_context_id(_borrow.context_pointer(context)))


def _forget_context(cache: weakref.ref[ClientSessionCache], number: int) -> None:
    known = cache()
    if known is not None:
        known._joined.pop(number, None)


def _policy_of_trial(context: ssl.SSLContext | None, host: str) -> Any:
    """The policy that a connection of the context to ``host`` would begin under; None where it can make none."""
    if context is None:
        return None
    trial = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=host)
    native = ffi.new("sslsession_policy *")
    lib.sslsession_read_policy(_borrow.borrow(trial).ssl, native)
    return native


def _after_fork() -> None:
    for cache in list(_caches):
        cache._lock = threading.RLock()
        cache._keeping.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
