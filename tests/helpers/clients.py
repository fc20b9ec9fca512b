"""Clients of a `ClientSessionCache`, and what they offered as the wire saw it: an account apart from the library's."""

from __future__ import annotations

import collections
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import sslsession
from helpers.certs import Identity
from helpers.memory import Pair, PrepareObject
from helpers.sessions import _element, _encoded
from sslsession import ClientSessionCache, Reason, Session, _envelope
from sslsession.stores import Entry, MemoryStore, Store

PEER_TAG = 3
SESSION_TICKET, PRE_SHARED_KEY, SUPPORTED_VERSIONS = 35, 41, 43
RECORD_HEADER = 5


class Visit(NamedTuple):
    """What came of one connection."""

    reused: bool
    offered: tuple[bytes, ...]
    """The tickets, or the session id, that its ClientHello proposed."""
    reason: Reason
    version: str | None


def visit(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    name: str | None = "localhost",
    *,
    prepare: PrepareObject | None = None,
    session: ssl.SSLSession | None = None,
    drop: bool = False,
) -> Visit:
    """One connection in memory, tickets read, closed cleanly unless `drop`; both sides agree on what it was."""
    pair = Pair(client, server, name, session, prepare)
    offered = begin(pair)
    pair.handshake().exchange()
    assert bool(pair.client.session_reused) is bool(pair.server.session_reused)
    done = Visit(
        bool(pair.client.session_reused),
        offered,
        sslsession.why_not_resumed(pair.client),
        pair.client.version(),
    )
    if not drop:
        pair.close()
    pair.drop()
    return done


def begin(pair: Pair) -> tuple[bytes, ...]:
    """Begin the handshake of a pair: what the ClientHello offers."""
    try:
        pair.client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = pair.to_server.read()
    pair.to_server.write(hello)
    return offered_by(hello)


def offered_by(hello: bytes) -> tuple[bytes, ...]:
    """SHA-256 of each session that a ClientHello proposes: PSK identities (RFC 8446 4.2.11), a ticket, or an id."""
    assert hello[0] == 22, "a handshake record"
    assert hello[RECORD_HEADER] == 1, "a ClientHello"
    at = RECORD_HEADER + 4 + 2 + 32
    session_id = hello[at + 1 : at + 1 + hello[at]]
    at += 1 + hello[at]
    at += 2 + struct.unpack_from(">H", hello, at)[0]
    at += 1 + hello[at]
    end = at + 2 + struct.unpack_from(">H", hello, at)[0]
    at += 2
    extensions = {}
    while at < end:
        number, size = struct.unpack_from(">HH", hello, at)
        extensions[number] = hello[at + 4 : at + 4 + size]
        at += 4 + size
    found = _identities(extensions[PRE_SHARED_KEY]) if PRE_SHARED_KEY in extensions else []
    if not found and extensions.get(SESSION_TICKET):
        found = [extensions[SESSION_TICKET]]
    # With TLS 1.3 among its versions a client sends an id that means nothing (RFC 8446 D.4).
    if not found and session_id and SUPPORTED_VERSIONS not in extensions:
        found = [session_id]
    return tuple(hashlib.sha256(each).digest() for each in found)


def _identities(extension: bytes) -> list[bytes]:
    at, end = 2, 2 + struct.unpack_from(">H", extension)[0]
    found = []
    while at < end:
        (size,) = struct.unpack_from(">H", extension, at)
        found.append(extension[at + 2 : at + 2 + size])
        at += 2 + size + 4
    return found


class Account:
    """What clients offered to an `EchoServer`, whose `prepare` is `look`: peeked at before OpenSSL reads it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.hellos = 0
        self.offered: collections.Counter[bytes] = collections.Counter()

    def look(self, conn: ssl.SSLSocket) -> None:
        """Note what the ClientHello that waits on the socket offers."""
        hello = b""
        while len(hello) < RECORD_HEADER or len(hello) < RECORD_HEADER + int.from_bytes(hello[3:5], "big"):
            hello = socket.socket.recv(conn, 65536, socket.MSG_PEEK)
            if not hello:
                return
        self.note(offered_by(hello))

    def note(self, offered: tuple[bytes, ...]) -> None:
        """One ClientHello offered these."""
        with self._lock:
            self.hellos += 1
            self.offered.update(offered)

    def each_once(self) -> int:
        """How many different sessions were offered; AssertionError if one was twice."""
        often = [count for count in self.offered.values() if count > 1]
        assert not often, f"of {len(self.offered)} tickets {len(often)} were offered more than once: {often}"
        return len(self.offered)


class Clock:
    """The real time, and some more of it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Home:
    """A process's cache; `restart` is another process that has nothing but the same store.

    Without a store a restart is nothing: what is kept near stays.
    """

    def __init__(self, store: Any = None, **settings: Any) -> None:
        self.store = store
        self.settings = settings
        self.contexts: list[ssl.SSLContext] = []
        self.cache = ClientSessionCache(store, **settings)

    def attach(self, *contexts: ssl.SSLContext) -> None:
        """Attach the cache, now and after each restart."""
        for context in contexts:
            if context not in self.contexts:
                self.contexts.append(context)
                self.cache.attach(context)

    def visit(
        self, client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "localhost", **more: Any
    ) -> Visit:
        """One connection of an attached context."""
        self.attach(client)
        return visit(client, server, name, **more)

    def earn(self, client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "localhost") -> None:
        """Have sessions that resume, and show that they do: the honest twin of what comes next."""
        self.visit(client, server, name)
        self.restart()
        assert self.visit(client, server, name).reused, "the honest twin resumes"
        self.restart()
        assert self.holds, "there is something that could be offered"

    def restart(self) -> None:
        """End the process, begin another."""
        if self.store is not None:
            self.close()
            self.cache = ClientSessionCache(self.store, **self.settings)
            for context in self.contexts:
                self.cache.attach(context)

    @property
    def holds(self) -> int:
        """How many sessions there are, here and in the store."""
        self.cache.flush()
        return self.cache.stats()["sessions"] + len(entries(self.store))

    def close(self) -> None:
        """End the process."""
        self.cache.close()


def entries(store: Store | None) -> list[Entry]:
    """All that is in a store."""
    return list(store.entries()) if store is not None else []


def refill(store: Store, changed: list[Entry]) -> None:
    """Have a store contain these, the newest of each key first, and nothing else."""
    store.clear()
    for key, value, expires_at in reversed(changed):
        store.add(key, value, expires_at=expires_at, keep=100)


def copied(store: Store) -> MemoryStore:
    """Another store of the same content."""
    other = MemoryStore()
    refill(other, entries(store))
    return other


def not_offered(done: Visit) -> bool:
    """Whether the ClientHello proposed nothing at all."""
    return not done.offered and not done.reused


def planted(session: Session, identity: Identity | None) -> Session:
    """The same session and its secrets beside another's certificates, or none."""
    body = _envelope.unpack(session.to_bytes())
    chain = identity.chain if identity is not None else ()
    facts = {
        **body["facts"],
        "peer_chain": chain,
        "verified_chain": chain,
        "server_name": session.server_name,
    }
    return Session.from_bytes(
        _envelope.pack({**body, "der": _with_peer(body["der"], chain[:1]), "facts": facts})
    )


def _with_peer(der: bytes, leaf: tuple[bytes, ...]) -> bytes:
    """A session's DER with this peer certificate, or none."""
    _, content, _ = _element(der, 0)
    kept, at = bytearray(), 0
    while at < len(content):
        kind, _, end = _element(content, at)
        kept += (
            content[at:end] if kind != 0xA0 | PEER_TAG else b"".join(_encoded(kind, each) for each in leaf)
        )
        at = end
    return _encoded(0x30, bytes(kept))


def eventually(what: Callable[[], object], seconds: float = 20) -> float:
    """Try again and again until it is true; how many seconds that took. AssertionError if it never was."""
    began, pause = time.monotonic(), threading.Event()
    while not what():
        pause.wait(0.02)
        assert time.monotonic() < began + seconds, f"not within {seconds} s"
    return time.monotonic() - began
