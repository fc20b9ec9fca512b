"""Servers whose sessions are in a `ServerSessionCache`, in the tickets of a `TicketKeyRing`, or both."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from helpers.certs import Authority, Identity
from helpers.contexts import client_context, server_context
from helpers.memory import Pair, PrepareObject
from helpers.openssl_calls import cache_mode, openssl, slots
from helpers.sessions import handle
from sslsession import ServerSessionCache, TicketKeyRing
from sslsession._borrow import context_pointer
from sslsession._libssl import features, ffi, lib
from sslsession.stores import MemoryStore

SECRET = bytes(range(64))
SET_HOST_NAME = 55
RESUMED, FULL, FAILED = "resumed", "full", "failed"
HAS_RINGS = bool(features.get("SSL_CTX_set_tlsext_ticket_key_evp_cb"))


class Way(NamedTuple):
    """One of the ways in which a session comes back to a server."""

    version: str
    cache: bool
    ring: bool

    @property
    def in_store(self) -> bool:
        """Whether it waits in the store, and its client has no more than an id."""
        return not self.ring

    @property
    def once(self) -> bool:
        """Whether the server sees to it that it is used once."""
        return self.version == "1.3" and self.in_store

    def client(self, ca: Authority, identity: Identity | None = None, **settings: Any) -> ssl.SSLContext:
        """A client of it that trusts `ca`, checks no name, and can show a certificate."""
        settings.setdefault("check_hostname", False)
        return client_context(ca, version=self.version, identity=identity, **settings)


IDS, STATEFUL = Way("1.2", True, False), Way("1.3", True, False)
TICKETS12, TICKETS13 = Way("1.2", True, True), Way("1.3", True, True)
BARE12, BARE13 = Way("1.2", False, True), Way("1.3", False, True)
CACHES = (IDS, TICKETS12, STATEFUL, TICKETS13)
WAYS = {
    "1.2 ids in a store": IDS,
    "1.2 tickets": TICKETS12,
    "1.2 tickets of a ring alone": BARE12,
    "1.3 ids in a store": STATEFUL,
    "1.3 tickets": TICKETS13,
    "1.3 tickets of a ring alone": BARE13,
}


def params(*ways: Way) -> list[Any]:
    """For a fixture: these ways, or all of them."""
    no_ring = pytest.mark.skipif(not HAS_RINGS, reason="this OpenSSL has no callback for ticket keys")
    return [
        pytest.param(way, id=name, marks=[no_ring] if way.ring else [])
        for name, way in WAYS.items()
        if way in (ways or WAYS.values())
    ]


class Serving:
    """What one server process has on its contexts; `twin` is another process with the same store and keys."""

    def __init__(self, way: Way, store: Any = None, **settings: Any) -> None:
        self.way = way
        self._settings = settings
        clock = {name: value for name, value in settings.items() if name == "clock"}
        self.store = MemoryStore(**clock) if store is None else store
        self._cache = ServerSessionCache(self.store, **settings) if way.cache else None
        self._ring = TicketKeyRing.from_secret(SECRET, **clock) if way.ring else None
        self.contexts: list[ssl.SSLContext] = []

    @property
    def cache(self) -> ServerSessionCache:
        """Its cache, where the way has one."""
        assert self._cache is not None
        return self._cache

    @property
    def ring(self) -> TicketKeyRing:
        """Its ring, where the way has one."""
        assert self._ring is not None
        return self._ring

    def attach(self, *contexts: ssl.SSLContext) -> ssl.SSLContext:
        """Attach to all of them; the first is given back."""
        for context in contexts:
            for each in (self._cache, self._ring):
                if each is not None:
                    each.attach(context)
            self.contexts.append(context)
        return contexts[0]

    def twin(self, **changed: Any) -> Serving:
        """Another process."""
        return Serving(self.way, self.store, **{**self._settings, **changed})

    def pass_time(self) -> None:
        """What happens by itself from time to time: clocks are read, others are listened to."""
        if self._cache is not None:
            self._cache._poll()
        if self._ring is not None:
            self._ring.refresh()

    def close(self) -> None:
        """End it."""
        if self._cache is not None:
            self._cache.close()
        if self._ring is not None:
            for context in self.contexts:
                self._ring.detach(context)


def earn(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "localhost", **more: Any
) -> ssl.SSLSession:
    """A session of a full handshake, as `ssl` itself has it, for whoever wants to offer it anywhere and again."""
    pair = Pair(client, server, name, **more).handshake()
    pair.exchange()
    assert not pair.server.session_reused
    session = pair.client.session
    pair.close()
    assert session is not None
    return session


def offer(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    session: ssl.SSLSession,
    name: str | None = "localhost",
    **more: Any,
) -> str:
    """What becomes of a connection that offers a session."""
    return renew(client, server, session, name, **more)[0]


def renew(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    session: ssl.SSLSession,
    name: str | None = "localhost",
    *,
    drop: bool = False,
    then: Callable[[Pair], object] | None = None,
    **more: Any,
) -> tuple[str, ssl.SSLSession]:
    """The same, and the session that the client has then. `then` gets the pair before it is closed."""
    pair = Pair(client, server, name, session, **more)
    try:
        pair.handshake().exchange()
    except ssl.SSLError:
        pair.drop()
        return FAILED, session
    reused = bool(pair.server.session_reused)
    assert bool(pair.client.session_reused) is reused
    if then is not None:
        then(pair)
    newer = pair.client.session
    if not drop:
        pair.close()
    pair.drop()
    assert newer is not None
    return RESUMED if reused else FULL, newer


def step(*sides: ssl.SSLObject) -> None:
    """Let each side's handshake go on until it waits."""
    for side in sides:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()


class Hosts:
    """Virtual hosts behind one context: `sni_callback` chooses by name, and `of` may be changed at any time."""

    def __init__(self, home: ssl.SSLContext, **of: ssl.SSLContext) -> None:
        self.home = home
        self.of: dict[str | None, ssl.SSLContext] = dict(of)
        self.asked: list[str | None] = []
        home.sni_callback = self._choose

    def _choose(self, conn: Any, name: str | None, context: ssl.SSLContext) -> None:
        self.asked.append(name)
        conn.context = self.of.get(name.lower().partition(".")[0] if name else None, self.home)


def host(identity: Identity, *trusted: Authority, **settings: Any) -> ssl.SSLContext:
    """A server's context that asks for certificates of any of these authorities, or for none."""
    context = server_context(identity, **settings)
    for authority in trusted:
        authority.trust(context)
    if trusted:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def context_facts(context: ssl.SSLContext) -> dict[str, Any]:
    """All that attaching changes on a context, as OpenSSL has it."""
    pointer = context_pointer(context)
    return {
        "cache mode": cache_mode(context),
        "timeout": lib.SSL_CTX_get_timeout(pointer),
        "tickets": lib.SSL_CTX_get_num_tickets(pointer),
        "options": context.options,
        **slots(context),
    }


def rename(name: str) -> PrepareObject:
    """For a client whose handshake has begun: its next ClientHello asks for another name."""

    def change(conn: ssl.SSLObject) -> None:
        assert openssl.SSL_ctrl(handle(conn), SET_HOST_NAME, 0, ffi.new("char[]", name.encode()))

    return change
