"""The handshakes that are measured: both ends in this process over memory BIOs, one variant a class.

Every variant does the same. Two connections are made and shake hands, the server's certificate and name verified or the
session resumed; the server writes a byte, which the client reads, and in TLS 1.3 the tickets before it; both ends close
cleanly. A TLS 1.3 handshake leaves the session for the next one; a TLS 1.2 session is used again and again.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from sslsession import _borrow
from sslsession._libssl import ffi, lib
from sslsession._peers import Peer
from sslsession.bench.identity import HOST, client_context, server_context
from sslsession.client import ClientSessionCache
from sslsession.errors import SessionError
from sslsession.handover import get_session, set_session

FLIGHTS_MOST = 16
FORGET_ALL = lib.POOL_TICKETS | lib.POOL_SESSION


class Loop:
    """One variant, over two contexts of its own that are equal to all others'."""

    must_resume: bool | None = None
    """Whether each of its handshakes has to resume; None where that depends on the interpreter's OpenSSL."""

    def __init__(self, version: str) -> None:
        self.client = client_context(version)
        self.server = server_context(version)
        self.session: Any = None
        self._single_use = version == "1.3"

    def __call__(self, handshakes: int) -> int:
        """Makes so many handshakes; returns how many resumed."""
        return sum([self.once() for _ in range(handshakes)])

    def once(self) -> bool:
        """One handshake, from wrapping to closing; whether it resumed."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.wrap(incoming, outgoing)
        server = self.server.wrap_bio(outgoing, incoming, server_side=True)
        shake(client, server)
        server.write(b"!")
        client.read(1)
        if self._single_use or self.session is None:
            self.session = self.take(client)
        reused = client.session_reused
        close(client, server)
        return bool(reused)

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """The client, with the session that it is to offer."""
        return self.client.wrap_bio(incoming, outgoing, server_hostname=HOST)

    def take(self, client: ssl.SSLObject) -> Any:  # noqa: ARG002
        """The session for the next handshake."""
        return None


class Full(Loop):
    """Never resumed."""

    must_resume = False


class SslOwn(Loop):
    """Resumed with what ``ssl`` has: ``SSLObject.session`` and ``wrap_bio(session=...)``."""

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return self.client.wrap_bio(incoming, outgoing, server_hostname=HOST, session=self.session)

    def take(self, client: ssl.SSLObject) -> Any:
        return client.session


class Ours(Loop):
    """Resumed with ``get_session`` and ``set_session``, on a context that nothing is attached to."""

    must_resume = True

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        client = self.client.wrap_bio(incoming, outgoing, server_hostname=HOST)
        if self.session is not None:
            set_session(client, self.session)
        return client

    def take(self, client: ssl.SSLObject) -> Any:
        return get_session(client)


class ByHand(Loop):
    """The yardstick in Python: what somebody would write with OpenSSL's functions and nothing of this library."""

    must_resume = True

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        client = self.client.wrap_bio(incoming, outgoing, server_hostname=HOST)
        if self.session is not None:
            copy = lib.SSL_SESSION_dup(self.session)
            lib.SSL_set_session(_borrow.borrow(client).ssl, copy)
            lib.SSL_SESSION_free(copy)
        return client

    def take(self, client: ssl.SSLObject) -> Any:
        kept = lib.SSL_SESSION_dup(lib.SSL_get_session(_borrow.borrow(client).ssl))
        return ffi.gc(kept, lib.SSL_SESSION_free)


class Attached(Loop):
    """Resumed by a ``ClientSessionCache``, which nobody calls."""

    must_resume = True

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.cache = ClientSessionCache()
        self.cache.attach(self.client)


class AttachedFull(Attached):
    """Full handshakes of an attached context: what comes is kept, and forgotten before the next one could offer it."""

    must_resume = False

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self._key: bytes | None = None

    def once(self) -> bool:
        reused = super().once()
        lib.sslsession_pool_drop(self.cache._keeping.pool, self._key, len(self._key or b""), FORGET_ALL)
        return reused

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        client = super().wrap(incoming, outgoing)
        if self._key is None:
            policy = ffi.new("sslsession_policy *")
            lib.sslsession_read_policy(_borrow.borrow(client).ssl, policy)
            self._key = self.cache._keeping.key(policy, Peer(HOST, ""))
        return client


class FullInC(Loop):
    """The yardstick: the same with nothing of Python in it (``bench.c``)."""

    must_resume = False

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self._contexts = [_borrow.context_pointer(context) for context in (self.client, self.server)]
        self._name = HOST.encode()
        self._kept = ffi.new("SSL_SESSION **")
        self._reused = ffi.new("int *")

    def __call__(self, handshakes: int) -> int:
        resume = bool(self.must_resume)
        made = lib.sslsession_bench(*self._contexts, self._name, self._kept, resume, handshakes, self._reused)
        if made < handshakes:
            code = lib.ERR_get_error()
            reason = ffi.string(lib.ERR_reason_error_string(code)).decode() if code else "no reason given"
            lib.ERR_clear_error()
            raise SessionError(f"a handshake of the loop in C failed: {reason}")
        return int(self._reused[0])

    def __del__(self) -> None:
        if self._kept[0] != ffi.NULL:
            lib.SSL_SESSION_free(self._kept[0])


class ResumedInC(FullInC):
    """The yardstick of a resumed handshake."""

    must_resume = True


class Timed(Ours):
    """Ours, with a clock around each of its two calls, which in TLS 1.2 too are both made for each handshake."""

    def __init__(self, version: str, clock: Callable[[], float]) -> None:
        super().__init__(version)
        self._single_use = True
        self._clock = clock
        self.get_seconds: list[float] = []
        self.set_seconds: list[float] = []

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        client = self.client.wrap_bio(incoming, outgoing, server_hostname=HOST)
        if self.session is not None:
            start = self._clock()
            set_session(client, self.session)
            self.set_seconds.append(self._clock() - start)
        return client

    def take(self, client: ssl.SSLObject) -> Any:
        start = self._clock()
        session = get_session(client)
        self.get_seconds.append(self._clock() - start)
        return session


LOOPS: dict[str, type[Loop]] = {
    "full": Full,
    "ssl": SslOwn,
    "ours": Ours,
    "by_hand": ByHand,
    "attached": Attached,
    "attached_full": AttachedFull,
    "c_full": FullInC,
    "c": ResumedInC,
}
"""Each variant by its name in JSON."""


def shake(client: ssl.SSLObject, server: ssl.SSLObject) -> None:
    """Both handshakes, to their ends."""
    client_done = server_done = False
    for _ in range(FLIGHTS_MOST):
        if not client_done:
            try:
                client.do_handshake()
                client_done = True
            except ssl.SSLWantReadError:
                pass
        if not server_done:
            try:
                server.do_handshake()
                server_done = True
            except ssl.SSLWantReadError:
                pass
        if client_done and server_done:
            return
    raise SessionError(f"a handshake was not done after {FLIGHTS_MOST} flights")


def close(client: ssl.SSLObject, server: ssl.SSLObject) -> None:
    """Each end's ``close_notify``, sent and read."""
    try:
        client.unwrap()
    except ssl.SSLWantReadError:
        pass
    server.unwrap()
    client.unwrap()
