"""The rules of a server's contexts, as C has them (``rules.c``): made, joined, counted."""

from __future__ import annotations

import hashlib
import itertools
import ssl
import weakref
from typing import Any

from sslsession import _borrow, _callbacks, _events
from sslsession._attachment import Attachment, User
from sslsession._libssl import ffi, lib
from sslsession.errors import SessionError

AUTHENTICATION_LIMIT = 7 * 24 * 3600
"""Seconds since the full handshake after which no renewal keeps a session alive."""
COUNTS = "resumed refused expired revoked cut dropped renewed early_data early_data_refused".split()
EARLY_MOST, SKIPPED = 2**32 - 1, 2**26
"""Bytes: what is rejected is read and thrown away, records and all, be it of a ticket that allowed more than today."""
NO_ANTI_REPLAY = 1 << 24
"""Of OpenSSL's own, which knows this process's internal cache and nothing else (SSL_OP_NO_ANTI_REPLAY)."""
_numbers = itertools.count(1)


def server_context(ctx: ssl.SSLContext) -> ssl.SSLContext:
    """The context that connections of ``ctx`` really use. Errors: ``TypeError``; ``ValueError`` for a client's."""
    context = _borrow.true_context(ctx)
    if _borrow.protocol_of(context) == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("this context is a client's, and ticket keys and server caches are for servers")
    return context


def make_rules(
    context_id: bytes = b"",
    limit: float = AUTHENTICATION_LIMIT,
    stores: bool = False,
    idles: bool = False,
    early: bool = False,
) -> Any:
    """An ``sslsession_server``; its number is ``number_of`` it."""
    settings = ffi.new("sslsession_server_settings *")
    settings.number = next(_numbers)
    settings.stores, settings.idles, settings.early = stores, idles, early
    settings.authentication_limit = int(limit)
    settings.context_id = hashlib.sha256(context_id).digest()
    native = lib.sslsession_server_new(settings)
    if native == ffi.NULL:
        raise MemoryError("there is no memory left for a server's rules")
    return settings.number, ffi.gc(native, lib.sslsession_server_free)


def default_rules() -> Any:
    """Those of a ring that is on its context without a cache."""
    return make_rules()[1]


def join(context: ssl.SSLContext, user: User) -> Attachment:
    """Joins the context's attachment. Errors: :class:`SessionError` where another of the kind has joined."""
    number = lib.sslsession_context_id(_borrow.context_pointer(context))
    _events.sweep()
    with _events.section():
        others = getattr(_callbacks.handlers.get(number), "users", ())
        for what, name in (("ring", "TicketKeyRing"), ("stores", "ServerSessionCache")):
            if getattr(user, what) and any(getattr(other, what, None) for other in others):
                raise SessionError(f"this context has a {name} already: detach that one first")
        return Attachment.join(context, user, proved=True)


_wishes: weakref.WeakKeyDictionary[Attachment, tuple[int, dict[int, int]]] = weakref.WeakKeyDictionary()


def limit(context: ssl.SSLContext, attachment: Attachment, user: User, lifetime: float | None) -> None:
    """Sessions and tickets live for the shortest time (seconds) that a user of the context wishes; None: no more wish.

    That is also what clients are told (RFC 8446 4.6.1, ticket_lifetime). Without a wish it is as it was found.
    """
    pointer = _borrow.context_pointer(context)
    with _events.section():
        before, wishes = _wishes.setdefault(attachment, (lib.SSL_CTX_get_timeout(pointer), {}))
        wishes.pop(user.number, None)
        if lifetime is not None:
            wishes[user.number] = int(lifetime)
        lib.SSL_CTX_set_timeout(pointer, min(wishes.values(), default=before))
        if not wishes:
            del _wishes[attachment]


class Joined:
    """A context that a cache is attached to, and what it had before."""

    def __init__(
        self, context: ssl.SSLContext, user: User, lifetime: int, tickets: int, early: int = 0
    ) -> None:
        self.context = weakref.ref(context)
        self._user = user
        self._attachment: Attachment = join(context, user)
        limit(context, self._attachment, user, lifetime)
        pointer = _borrow.context_pointer(context)
        self._before = lib.SSL_CTX_get_num_tickets(pointer)
        lib.SSL_CTX_set_num_tickets(pointer, tickets)
        self._before_early: tuple[int, int, bool] | None = None
        if early:
            self._before_early = (
                lib.SSL_CTX_get_max_early_data(pointer),
                lib.SSL_CTX_get_recv_max_early_data(pointer),
                bool(context.options & NO_ANTI_REPLAY),
            )
            lib.SSL_CTX_set_max_early_data(pointer, early)
            lib.SSL_CTX_set_recv_max_early_data(pointer, min(EARLY_MOST, max(2 * early, SKIPPED)))
            context.options |= NO_ANTI_REPLAY

    def heirs(self) -> list[Any]:
        """The rules of who stays, such as a ring: its tickets may be of sessions that were withdrawn."""
        users = self._attachment.users
        return [each.server for each in users if each is not self._user and each.server is not None]

    def leave(self) -> None:
        """As it was."""
        context = self.context()
        if context is not None:
            pointer = _borrow.context_pointer(context)
            limit(context, self._attachment, self._user, None)
            lib.SSL_CTX_set_num_tickets(pointer, self._before)
            if self._before_early is not None:
                most, received, no_anti_replay = self._before_early
                lib.SSL_CTX_set_max_early_data(pointer, most)
                lib.SSL_CTX_set_recv_max_early_data(pointer, received)
                if not no_anti_replay:
                    context.options &= ~NO_ANTI_REPLAY
        self._attachment.leave(self._user)


def counts(native: Any) -> dict[str, int]:
    """What C counted under these rules."""
    return {name: int(lib.sslsession_server_count(native, number)) for number, name in enumerate(COUNTS)}
