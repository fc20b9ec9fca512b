"""Ticket keys as tests want them: a clock that stands, which key encrypts, and what is in a ticket."""

from __future__ import annotations

import ctypes
import itertools
import os
import ssl
import time
from collections.abc import Iterable
from typing import Any

import pytest

from helpers.openssl_calls import lasting_callback, unbound
from helpers.peers import connect
from helpers.sessions import _element, _encoded, offering, session_of
from sslsession import KeyInfo, Session, TicketKeyRing, _libssl, _schedules
from sslsession._attachment import EVP_KEY_CALLBACK
from sslsession._borrow import context_pointer
from sslsession._libssl import features, ffi, lib
from sslsession._schedules import Agreed, Timed

HOUR = 3600
ROTATE_EVERY, LIFETIME = 4 * HOUR, 2 * HOUR
"""A ring's own, unless told otherwise."""
NAME, IV, MAC = 16, 16, 32
TICKET_TAG = 10
SECRET = "0123456789abcdef" * 4

needs_ring = pytest.mark.skipif(not features.get(EVP_KEY_CALLBACK), reason="ticket keys need OpenSSL 3.0")


class Fleet:
    """Servers that share a set of keys, each of which makes what it finds missing."""

    def __init__(self, rotate_every: float, lifetime: float) -> None:
        self.entries: dict[bytes, float] = {}
        self.agreed = Agreed(self.entries, rotate_every, lifetime)
        self._made = itertools.count()

    def add(self, begins: float, who: bytes = b"") -> None:
        material = _schedules.derive(SECRET.encode() + who, b"%d" % next(self._made))
        entry, expires_at = self.agreed.entry(material, begins)
        self.entries[entry] = expires_at

    def keys(self, now: float) -> list[Timed]:
        """What one of them has after a look at this time."""
        for entry in [each for each, until in self.entries.items() if until <= now]:
            del self.entries[entry]
        for begins in self.agreed.missing(now):
            self.add(begins)
        return self.agreed.keys(now)


class Hand:
    """A clock that stands until it is moved; it begins at a whole slot of today."""

    def __init__(self, now: float | None = None) -> None:
        self.now = now if now is not None else int(time.time()) // ROTATE_EVERY * ROTATE_EVERY

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float, *rings: TicketKeyRing) -> None:
        """So many seconds on; these rings see it at once, as they would by themselves a little later."""
        self.now += seconds
        for ring in rings:
            ring.refresh()


def encrypting(keys: Iterable[Timed], now: float) -> Timed:
    """The key that ``ring.c`` encrypts with: the one whose time came last, of those that came together the last."""
    begun = [each for each in sorted(keys, key=lambda each: each.encrypts_from) if each.encrypts_from <= now]
    assert begun, "no key's time has come"
    return begun[-1]


def states(ring: TicketKeyRing) -> list[str]:
    """The state of each key, in the order that `key_info` gives."""
    return [info.state for info in ring.key_info()]


def names(ring: TicketKeyRing) -> set[bytes]:
    """All keys' names."""
    return {info.name for info in ring.key_info()}


def current(ring: TicketKeyRing) -> KeyInfo:
    """The key that encrypts, as `key_info` has it."""
    (found,) = (info for info in ring.key_info() if info.state == "current")
    return found


def coming(ring: TicketKeyRing) -> KeyInfo:
    """The key that encrypts next."""
    return next(info for info in ring.key_info() if info.state == "next")


def key_of(session: Session) -> bytes:
    """The name of the key that the session's ticket is under."""
    assert session.ticket is not None
    assert len(session.ticket) > NAME + IV + MAC
    return session.ticket[:NAME]


def with_ticket(der: bytes, ticket: bytes) -> Session:
    """A session's DER with another ticket, the octets in its ``[10]``, as a session."""
    _, content, _ = _element(der, 0)
    kept, at = bytearray(), 0
    while at < len(content):
        kind, _, end = _element(content, at)
        given = _encoded(kind, _encoded(0x04, ticket)) if kind == 0xA0 | TICKET_TAG else content[at:end]
        kept, at = kept + given, end
    return Session.from_der(_encoded(0x30, bytes(kept)))


def time_goes_on(ring: TicketKeyRing, now: float) -> None:
    """A later time for C, at which Python did not look yet."""
    lib.sslsession_ring_set_time(ring._native, int(now))


def again(client: ssl.SSLContext, server: ssl.SSLContext, session: Session) -> Session:
    """What the client has after a connection that resumed this session, as it must have."""
    pair = connect(client, server, prepare=offering(session))
    assert pair.client.session_reused
    found = session_of(pair.client)
    pair.close()
    return found


def attached(ring: TicketKeyRing, *contexts: ssl.SSLContext) -> TicketKeyRing:
    """The ring, on these contexts."""
    for each in contexts:
        ring.attach(each)
    return ring


class RawTicketKey:
    """A ticket-key callback as its manual page has it, which answers `opened` for its own tickets: 1 fine, 2 renew."""

    KEY = b"k" * 32

    class _Parameter(ctypes.Structure):
        _fields_ = (
            ("key", ctypes.c_char_p),
            ("type", ctypes.c_uint),
            ("data", ctypes.c_char_p),
            ("size", ctypes.c_size_t),
            ("return_size", ctypes.c_size_t),
        )

    def __init__(self, ctx: ssl.SSLContext, opened: int) -> None:
        self._opened = opened
        self._crypto = ctypes.CDLL(_libssl.path_of())
        self._crypto.EVP_aes_128_cbc.restype = ctypes.c_void_p
        callback = lasting_callback("ticket_key_cb", self._answer)
        assert unbound("SSL_CTX_set_tlsext_ticket_key_evp_cb", context_pointer(ctx), callback)

    def _answer(self, conn: Any, name: Any, iv: Any, cipher: Any, mac: Any, encrypts: int) -> int:
        at = [ctypes.c_void_p(int(ffi.cast("uintptr_t", each))) for each in (cipher, mac, iv)]
        if encrypts:
            ffi.memmove(name, b"n" * NAME, NAME)
            ffi.memmove(iv, os.urandom(IV), IV)
        begin = self._crypto.EVP_EncryptInit_ex if encrypts else self._crypto.EVP_DecryptInit_ex
        aes = ctypes.c_void_p(self._crypto.EVP_aes_128_cbc())
        assert begin(at[0], aes, None, self.KEY, at[2])
        parameters = (self._Parameter * 2)((b"digest", 4, b"SHA256", 6, 0), (None, 0, None, 0, 0))
        assert self._crypto.EVP_MAC_init(at[1], self.KEY, ctypes.c_size_t(32), parameters)
        return 1 if encrypts else self._opened
