"""Clients of a `ClientSessionCache`, and what they offered as the wire saw it: an account apart from the library's."""

from __future__ import annotations

import collections
import hashlib
import socket
import ssl
import struct
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import sslsession
from helpers.certs import Identity
from helpers.memory import Pair, PrepareObject
from helpers.sessions import _element, _encoded
from sslsession import ClientSessionCache, Reason, Session, StoreError, _envelope
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


class FakeStore(MemoryStore):
    """A store in memory that counts what it is asked, and can be `down`, `full`, `stalled`, or `well` again.

    A stalled one answers when it is let go, by setting `state` to anything else.
    """

    timeout: float | None = 0.05
    made: ClassVar[weakref.WeakSet[FakeStore]] = weakref.WeakSet()

    def __init__(self, state: str = "well") -> None:
        super().__init__()
        self.made.add(self)
        self._changed = threading.Condition()
        self._state = state
        self.refused = 0
        self.asked: collections.Counter[str] = collections.Counter()

    @property
    def state(self) -> str:
        """How it does."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    @property
    def lookups(self) -> int:
        """How often it was asked for a session."""
        return self.asked["take"] + self.asked["peek"]

    def _ask(self, verb: str) -> None:
        with self._changed:
            self.asked[verb] += 1
            while self._state == "stalled":
                self._changed.wait()
            if self._state == "down" or (self._state == "full" and verb == "add"):
                self.refused += 1
                raise StoreError(f"the store is {self._state}")

    def add(self, key: Any, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        self._ask("add")
        super().add(key, value, expires_at=expires_at, keep=keep)

    def peek(self, key: Any) -> bytes | None:
        self._ask("peek")
        return super().peek(key)

    def take(self, key: Any) -> bytes | None:
        self._ask("take")
        return super().take(key)

    def discard(self, key: Any) -> None:
        self._ask("discard")
        super().discard(key)


def eventually(what: Callable[[], object], seconds: float = 20) -> float:
    """Try again and again until it is true; how many seconds that took. AssertionError if it never was."""
    began, pause = time.monotonic(), threading.Event()
    while not what():
        pause.wait(0.02)
        assert time.monotonic() < began + seconds, f"not within {seconds} s"
    return time.monotonic() - began


class Proxy:
    """A TCP proxy to 127.0.0.1:`port` that can hold back what the server answers: for `delay` seconds, or all of it."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self._target = port
        self._silent = False
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def silent(self) -> bool:
        """Whether answers are held back until this is False again."""
        return self._silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        with self._changed:
            self._silent = silent
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target), 20)
            except OSError:
                return
            self._open += [near, far]
            for source, target, answers in ((near, far, False), (far, near, True)):
                thread = threading.Thread(target=self._pass_on, args=[source, target, answers], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                with self._changed:
                    if answers and self.delay:
                        self._changed.wait(self.delay)
                    while answers and self._silent:
                        self._changed.wait()
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            _shut(each)

    def __enter__(self) -> Proxy:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.silent = False
        _shut(self._listener)
        for each in self._open:
            _shut(each)
        for thread in self._threads:
            thread.join(20)
        for each in (self._listener, *self._open):
            each.close()


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class Clients:
    """Threads that connect in memory until told to stop, each to the next of `names`; half of them drop.

    `account` has what they offered, `errors` what failed.
    """

    def __init__(
        self,
        client: Callable[[], ssl.SSLContext],
        server: ssl.SSLContext,
        *,
        threads: int,
        names: tuple[str, ...] = ("localhost",),
    ) -> None:
        self._client, self._server, self._names = client, server, names
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=[number]) for number in range(threads)]
        self.account = Account()
        self.errors: list[BaseException] = []
        self.longest = 0.0
        self.reused: list[bool] = []

    def _work(self, number: int) -> None:
        try:
            while not self._stop.is_set():
                number += 1
                self._connect(self._names[number % len(self._names)], drop=bool(number % 2))
        except BaseException as error:
            self.errors.append(error)

    def _connect(self, name: str, drop: bool) -> None:
        pair, began = Pair(self._client(), self._server, name), time.monotonic()
        self.account.note(begin(pair))
        waited = time.monotonic() - began
        pair.handshake().exchange()
        with self._lock:
            self.longest = max(self.longest, waited)
            self.reused.append(bool(pair.client.session_reused))
        if not drop:
            pair.close()
        pair.drop()

    def run(self, seconds: float) -> None:
        """Let them go on for a while."""
        self._stop.wait(seconds)

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a thread is stuck"
        if kind is None and self.errors:
            raise self.errors[0]
