"""One ``Attachment`` for each ``SSL_CTX``: it owns OpenSSL's callback slots there and serves whoever joins.

Its C side hangs on the ``SSL_CTX`` as ex_data and is freed with it (``connection.c``, ``slots.c``); this side is found
by a number that no other ``SSL_CTX`` ever gets, and lives until its last user leaves or the ``SSL_CTX`` is freed, which
can be long after the Python context went. A user's callables stay reachable as long: one that refers to the context
keeps it alive until it leaves.

Locks: the ``section`` of ``_events`` guards who has joined, and nothing is called in it that could call back. Fact 70
of CPython 3.13 and newer: ``_ssl`` holds a mutex of the connection while OpenSSL calls us, so a user may read a
connection's settings and session, and must not read, write or shut down that very connection.
"""

from __future__ import annotations

import functools
import itertools
import ssl
import weakref
from typing import Any, Callable, Optional

from sslsession import _borrow, _callbacks, _envelope, _events, _observing
from sslsession._libssl import features, ffi, lib
from sslsession.errors import SessionError, SessionMismatch
from sslsession.session import Session

WANT_NEW, WANT_REMOVE, WANT_GET, WANT_OFFER, WANT_POOL = 1, 2, 4, 8, 32
WANT_SERVE, WANT_STORE = 64, 128
EVP_KEY_CALLBACK = "SSL_CTX_set_tlsext_ticket_key_evp_cb"
VERIFY_PEER, VERIFY_FAIL_IF_NO_PEER_CERT = 1, 2
GET_CACHE_MODE, SET_CACHE_MODE = 45, 44
CACHE_CLIENT, CACHE_SERVER, CACHE_NO_INTERNAL = 0x001, 0x002, 0x300
CACHE_NO_INTERNAL_STORE = 0x200

NewUser = Callable[[_borrow.Owner, Session], Optional[bool]]
RemoveUser = Callable[[Optional[ssl.SSLContext], Session], None]
GetUser = Callable[[_borrow.Owner, bytes], Any]
OfferUser = Callable[[_borrow.Borrowed], bool]
PeerUser = Callable[[_borrow.Borrowed], None]
OutcomeUser = Callable[[_borrow.Borrowed, int], None]
DECLINED, RESUMED, WITHDRAWN = 0, 1, 2


_numbers = itertools.count(1)


class User:
    """Somebody who joined an attachment; what is None is not wanted.

    ``offer`` is asked as a client's handshake begins and says whether it offered a session on it; ``outcome`` is told
    what became of a session so offered, and of any connection that a fatal alert ended. Whoever has a ``pool`` is asked
    only where C finds nothing there that it may offer by itself, and names the ``peer`` where C cannot.
    """

    new: NewUser | None = None
    remove: RemoveUser | None = None
    get: GetUser | None = None
    offer: OfferUser | None = None
    outcome: OutcomeUser | None = None
    peer: PeerUser | None = None
    pool: Any = None
    server: Any = None
    """The rules of a server, an ``sslsession_server *``; those of who ``stores`` go before those of who does not."""
    stores: bool = False
    """Whether what OpenSSL would keep in its internal cache is kept by this user."""
    ring: Any = None
    """Ticket keys, an ``sslsession_ring *``."""
    holder: object = None
    """What lives as long as the context does, on this user's behalf."""

    def __init__(self) -> None:
        self.number = next(_numbers)

    @property
    def wants(self) -> int:
        """The C side's bits."""
        return (
            (WANT_NEW if self.new is not None else 0)
            | (WANT_REMOVE if self.remove is not None else 0)
            | (WANT_GET if self.get is not None else 0)
            | (WANT_POOL if self.pool is not None else WANT_OFFER if self.offer is not None else 0)
            | (WANT_SERVE if self.server is not None else 0)
            | (WANT_STORE if self.stores else 0)
        )


class Attachment:
    """The Python side of one ``SSL_CTX``'s callbacks."""

    def __init__(self, context: ssl.SSLContext, number: int) -> None:
        self.number = number
        self.context = weakref.ref(context)
        self.users: tuple[User, ...] = ()
        self._cache_mode: int | None = None
        self._served = (ffi.NULL, ffi.NULL)
        self._made_stateful = False
        self._watch: _observing.Watch | None = None

    # Joining and leaving

    @classmethod
    def join(cls, context: ssl.SSLContext, user: User, *, proved: bool = False) -> Attachment:
        """Adds a user to the attachment of the ``SSL_CTX`` that connections of ``context`` really use.

        proved: that it is this very context's is known already.
        """
        _events.sweep()
        if not proved:
            context = _borrow.true_context(context)
        pointer = _borrow.context_pointer(context)
        number = lib.sslsession_context_id(pointer)
        if not number:
            raise MemoryError("OpenSSL has no memory left for the context's attachment")
        with _events.section():
            attachment = _callbacks.handlers.get(number)
            if not isinstance(attachment, Attachment):
                attachment = _callbacks.handlers[number] = cls(context, number)
            if user.pool is not None and not lib.sslsession_pool_join(pointer, user.pool):
                raise SessionError("this context has as many client caches as it can have: detach one first")
            attachment.users = (*attachment.users, user)
            attachment._tell_openssl(context)
            if user.remove is not None:
                _events.listen()
        return attachment

    def leave(self, user: User) -> None:
        """Takes a user out; after the last one, the slots are as they were found."""
        if _events.postponed(functools.partial(self.leave, user)):
            return
        _events.deliver_removals()
        context, ending = self.context(), None
        with _events.section():
            self.users = tuple(other for other in self.users if other is not user)
            if context is not None:
                if user.pool is not None:
                    lib.sslsession_pool_leave(_borrow.context_pointer(context), user.pool)
                self._tell_openssl(context)
            if not self.users:
                _callbacks.handlers.pop(self.number, None)
            if not any(
                other.remove is not None
                for handler in _callbacks.handlers.values()
                for other in getattr(handler, "users", ())
            ):
                ending = _events.dismiss()
        _events.wait_for(ending)

    def _tell_openssl(self, context: ssl.SSLContext) -> None:
        wants = 0
        for user in self.users:
            wants |= user.wants
        pointer = _borrow.context_pointer(context)
        self._set_cache_mode(pointer, _borrow.protocol_of(context), wants)
        if wants & WANT_POOL and self._watch is None:
            self._watch = _observing.Watch(context)
        elif not wants & WANT_POOL and self._watch is not None:
            self._watch.end()
            self._watch = None
        if not lib.sslsession_watch(pointer, wants) or not self._serve(pointer):
            raise MemoryError("OpenSSL has no memory left for the context's attachment")

    def _serve(self, pointer: Any) -> bool:
        """Tells C whose rules and ticket keys are in force."""
        serving = sorted(
            (user for user in self.users if user.server is not None), key=lambda user: user.stores
        )
        server = serving[-1].server if serving else ffi.NULL
        ring = next((user.ring for user in reversed(self.users) if user.ring is not None), ffi.NULL)
        if (server, ring) == self._served:
            return True
        self._set_stateful(bool(serving) and serving[-1].stores and ring == ffi.NULL)
        self._served = server, ring
        joined = lib.sslsession_server_join(pointer, server)
        return bool(
            joined and (not features.get(EVP_KEY_CALLBACK) or lib.sslsession_ring_join(pointer, ring))
        )

    def _set_stateful(self, stateful: bool) -> None:
        """Where a store has the sessions, tickets are only ids, unless there is a ring."""
        context = self.context()
        if context is None or stateful == self._made_stateful:
            return
        if not stateful:
            context.options &= ~ssl.OP_NO_TICKET
        elif context.options & ssl.OP_NO_TICKET:
            return
        else:
            context.options |= ssl.OP_NO_TICKET
        self._made_stateful = stateful

    def _set_cache_mode(self, pointer: Any, protocol: int, wants: int) -> None:
        """OpenSSL tells of new sessions only in the cache mode of its side.

        A client needs no cache inside OpenSSL, nor does a server whose sessions are kept by somebody else.
        """
        wanted = bool(wants & (WANT_NEW | WANT_POOL | WANT_STORE))
        if wanted:
            if self._cache_mode is None:
                self._cache_mode = lib.SSL_CTX_ctrl(pointer, GET_CACHE_MODE, 0, ffi.NULL)
            mode = self._cache_mode
            if protocol == ssl.PROTOCOL_TLS_CLIENT:
                mode |= CACHE_CLIENT | CACHE_NO_INTERNAL_STORE
            elif protocol == ssl.PROTOCOL_TLS_SERVER:
                mode |= CACHE_SERVER | (CACHE_NO_INTERNAL if wants & WANT_STORE else 0)
            else:
                mode |= CACHE_CLIENT | CACHE_SERVER | (CACHE_NO_INTERNAL if wants & WANT_STORE else 0)
            lib.SSL_CTX_ctrl(pointer, SET_CACHE_MODE, mode, ffi.NULL)
        elif self._cache_mode is not None:
            lib.SSL_CTX_ctrl(pointer, SET_CACHE_MODE, self._cache_mode, ffi.NULL)
            self._cache_mode = None

    # What OpenSSL calls, through _callbacks

    def on_new(self, handle: Any, pointer: Any) -> bool:
        """A session came; False where a user refuses it."""
        borrowed = _borrow.borrow_pointer(handle)
        name = getattr(borrowed.owner, "server_hostname", None)
        session = Session._captured(lib.sslsession_capture(handle, pointer), name)
        kept = True
        for user in self.users:
            if user.new is not None and user.new(borrowed.owner, session) is False:
                kept = False
        return kept

    def on_get(self, handle: Any, session_id: bytes) -> Any:
        """A session for a client that proposed this id, or NULL."""
        borrowed = _borrow.borrow_pointer(handle)
        for user in self.users:
            found = user.get(borrowed.owner, session_id) if user.get is not None else None
            if found is not None:
                return _for_openssl(_session_of(found), session_id, handle)
        return ffi.NULL

    def on_offer(self, handle: Any) -> None:
        """A client's handshake begins: the last user that joined and has a session offers it."""
        borrowed = _borrow.borrow_pointer(handle)
        for user in reversed(self.users):
            if user.offer is not None and user.offer(borrowed):
                lib.sslsession_await_outcome(handle, user.number)
                return

    def on_peer(self, handle: Any) -> None:
        """Whom a connection is with that has no SNI."""
        borrowed = _borrow.borrow_pointer(handle)
        for user in self.users:
            if user.peer is not None:
                user.peer(borrowed)
                return

    def on_outcome(self, handle: Any, outcome: int, who: int) -> None:
        """What became of the session that the user of this number offered; a withdrawal is for all."""
        borrowed = _borrow.borrow_pointer(handle)
        for user in self.users:
            if user.outcome is not None and who in (0, user.number):
                user.outcome(borrowed, outcome)

    def on_removed(self, pointer: Any) -> list[_events.Task]:
        """OpenSSL removed a session, some time ago: the calls to make for it."""
        session = Session._copy_of(pointer)
        context = self.context()
        return [
            functools.partial(user.remove, context, session) for user in self.users if user.remove is not None
        ]


def _for_openssl(session: Session, session_id: bytes, handle: Any) -> Any:
    """A copy for OpenSSL, which would fail the handshake over another id; NULL where the session may not be resumed."""
    if session.id != session_id:
        raise SessionMismatch("a get hook returned a session of another id than it was asked for")
    if not session.is_resumable or not _client_holds(session, handle):
        return ffi.NULL
    return lib.SSL_SESSION_dup(session._pointer)


def _client_holds(session: Session, handle: Any) -> bool:
    """Whether a full handshake would let the session's client in: OpenSSL looks at its certificate no more."""
    mode = lib.SSL_get_verify_mode(handle)
    if not mode & VERIFY_PEER:
        return True
    leaf = lib.SSL_SESSION_get0_peer(session._pointer)
    if leaf == ffi.NULL:
        return not mode & VERIFY_FAIL_IF_NO_PEER_CERT
    error, trust = ffi.new("int *"), ffi.new("sslsession_trust *")
    return bool(lib.sslsession_verify_again(handle, leaf, session._chain(), error, trust))


def _session_of(found: Any) -> Session:
    if isinstance(found, Session):
        return found
    if isinstance(found, (bytes, bytearray, memoryview)):
        data = bytes(found)
        return Session.from_bytes(data) if _envelope.is_envelope(data) else Session.from_der(data)
    raise TypeError(f"a get hook returns a Session, its bytes, or None, not {type(found).__name__}")


def _on_removed_event(event: Any) -> list[_events.Task]:
    attachment = _callbacks.handlers.get(event.context)
    return attachment.on_removed(event.session) if isinstance(attachment, Attachment) else []


def _on_context_gone(event: Any) -> list[_events.Task]:
    _callbacks.handlers.pop(event.context, None)
    return []


_events.receivers[_events.REMOVED] = _on_removed_event
_events.receivers[_events.CONTEXT_GONE] = _on_context_gone
