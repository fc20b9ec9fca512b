"""``TicketKeyRing``: ticket keys that rotate by themselves, alike in all of a server's processes, if asked for.

OpenSSL's callback is C (``ring.c``) and takes no GIL; here it is decided which keys there are (``_schedules.py``).
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Union

from sslsession import _borrow, _keyfiles, _ring_of_c, _schedules, _serving, _sharing, _sources
from sslsession._attachment import EVP_KEY_CALLBACK, Attachment, User
from sslsession._libssl import features, lib
from sslsession._ring_of_c import KeyInfo
from sslsession._schedules import LIFETIME, ROTATE_EVERY
from sslsession._ticker import ticker
from sslsession.errors import UnsupportedError

__all__ = ["KeyInfo", "TicketKeyRing"]
Paths = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


def _no_time_passes(_seconds: float) -> None:
    """The pause of who has another clock, which is a test's."""


class Joined(NamedTuple):
    """A context that a ring is attached to."""

    context: weakref.ref[ssl.SSLContext]
    attachment: Attachment
    user: User


class TicketKeyRing:
    """Ticket keys for server contexts: the present one, those to come, and the retired that still decrypt.

    Made by :meth:`random`, :meth:`from_secret`, :meth:`shared` or :meth:`from_file`. A retired key decrypts until the
    last ticket under it is dead, and what it opens is renewed under the present one; for no longer than the
    authentication limit (7 days, or as the :class:`ServerSessionCache` on the same context says) since its client's
    full handshake. Any number of contexts may share a ring; threads and forks too.

    Source: SSL_CTX_set_tlsext_ticket_key_evp_cb(3), RFC 5077, RFC 8446 4.6.1.
    """

    _native: Any
    _source: _sources.Source
    _clock: Callable[[], float]
    _joined: list[Joined]

    def __init__(self, *_: object) -> None:
        raise TypeError("a ring is made by TicketKeyRing.random(), .from_secret(), .shared() or .from_file()")

    @classmethod
    def _of(cls, source: _sources.Source, clock: Callable[[], float]) -> TicketKeyRing:
        if not features.get(EVP_KEY_CALLBACK):
            raise UnsupportedError("ticket keys need OpenSSL 3.0 (SSL_CTX_set_tlsext_ticket_key_evp_cb)")
        self = cls.__new__(cls)
        self._native = _ring_of_c.new()
        self._source, self._clock = source, clock
        self._joined = []
        _rings.add(self)
        self.refresh()
        ticker.every(source.every, self.refresh, alone=source.asks)
        return self

    @classmethod
    def random(
        cls,
        *,
        rotate_every: float = ROTATE_EVERY,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.time,
    ) -> TicketKeyRing:
        """Random keys of this process, and of the children that it forks.

        rotate_every, lifetime (of a ticket): seconds. clock: for tests.
        """
        _schedules.check(rotate_every, lifetime, lib.RING_KEYS_MOST)
        schedule = _schedules.Ratchet(os.urandom(32), int(clock()), rotate_every, lifetime)
        return cls._of(_sources.Local(schedule, rotate_every, lifetime), clock)

    @classmethod
    def from_secret(
        cls,
        secret: bytes | str,
        *,
        rotate_every: float = ROTATE_EVERY,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.time,
    ) -> TicketKeyRing:
        """Keys derived from a secret and the time (HKDF): processes and hosts that share it agree without talking.

        secret: at least 32 random bytes (``secrets.token_hex(32)``); who has it opens all tickets there ever were.
        """
        _schedules.check(rotate_every, lifetime, lib.RING_KEYS_MOST, _schedules.SKEW)
        if not isinstance(secret, (str, bytes, bytearray)):
            raise TypeError(f"the secret is bytes or text, not {type(secret).__name__}")
        secret = secret.encode() if isinstance(secret, str) else bytes(secret)
        if len(secret) < _schedules.SECRET_LEAST or len(set(secret)) < 8:
            raise ValueError("the secret must be at least 32 random bytes, such as secrets.token_hex(32)")
        schedule = _schedules.Derived(secret, rotate_every, lifetime)
        return cls._of(_sources.Local(schedule, rotate_every, lifetime), clock)

    @classmethod
    def shared(
        cls,
        store: Any,
        *,
        name: str = "",
        rotate_every: float = ROTATE_EVERY,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.time,
    ) -> TicketKeyRing:
        """Random keys that all rings of this ``name`` on this store (or its URL) share.

        One of them makes the next key long before its time. While the store fails, all go on with the keys they have,
        and after some hours with keys that each derives from the last one that they shared. Rings that find the store
        empty wait for each other, for a moment that depends on its timeout (a second at most), to have the same keys.
        """
        from sslsession.stores.urls import opened

        _schedules.check(rotate_every, lifetime, lib.RING_KEYS_MOST)
        if not isinstance(name, str):
            raise TypeError(f"name is a str, not {type(name).__name__}")
        found, owns = opened(store), isinstance(store, str)
        pause = time.sleep if clock is time.time else _no_time_passes
        return cls._of(_sharing.Shared(found, owns, name, rotate_every, lifetime, pause), clock)

    @classmethod
    def from_file(
        cls,
        path: Paths,
        format: str | None = None,  # noqa: A002
        *,
        allow_shared: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> TicketKeyRing:
        """Keys of a file that somebody else rotates, as nginx, HAProxy or Apache has it; read again when it changes.

        path: one, or several as nginx has them: the first encrypts. format: ``"nginx"``, ``"haproxy"``, ``"apache"``,
        or None where the file tells. allow_shared: also where group or others may read it. Errors:
        :class:`KeyFileError`, now, also where keys of several files have a name or a secret in common and are not the
        same key; later, a file that is not good leaves the keys as they were and is counted.
        """
        paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        if not paths:
            raise ValueError("at least one file is needed")
        return cls._of(_sources.Files([Path(os.fspath(each)) for each in paths], format, allow_shared), clock)

    # Contexts

    def attach(self, ctx: ssl.SSLContext) -> None:
        """From now on the tickets of this server context are this ring's. Attaching again does nothing.

        Clients are told the ring's ``lifetime``, or a shorter one of a :class:`ServerSessionCache` that is there too; a
        file's ring leaves it as it is. Errors: ``TypeError``, ``ValueError`` for a client's context;
        :class:`SessionError` where another ring is.
        """
        context = _serving.server_context(ctx)
        with self._source.lock:
            if self._joined_at(context) is not None:
                return
            user = User()
            user.ring, user.server = self._native, _serving.default_rules()
            user.holder = self
            attachment = _serving.join(context, user)
            self._joined.append(Joined(weakref.ref(context), attachment, user))
            if self._source.lifetime is not None:
                _serving.limit(context, attachment, user, self._source.lifetime)
            self._tell_time(self._clock())

    def detach(self, ctx: ssl.SSLContext) -> None:
        """The context's tickets are OpenSSL's own again; those of this ring are full handshakes there."""
        context = _borrow.true_context(ctx)
        with self._source.lock:
            found = self._joined_at(context)
            if found is not None:
                self._joined.remove(found)
        if found is not None:
            if self._source.lifetime is not None:
                _serving.limit(context, found.attachment, found.user, None)
            found.attachment.leave(found.user)

    def _joined_at(self, context: ssl.SSLContext) -> Joined | None:
        self._joined = [each for each in self._joined if each.context() is not None]
        return next((each for each in self._joined if each.context() is context), None)

    # Keys

    def refresh(self) -> None:
        """Brings the keys up to the clock, the file or the store; that happens by itself too."""
        self._source.look(self._clock())
        self._bring()

    def _bring(self) -> None:
        with self._source.lock:
            now = self._clock()
            keys, lifetime = self._source.keys(now), self._source.lifetime or _ring_of_c.FOREVER
            _ring_of_c.install(self._native, _schedules.fitting(keys, now, lifetime, lib.RING_KEYS_MOST))
            self._tell_time(now)

    def _tell_time(self, now: float) -> None:
        if self._clock is not time.time:
            lib.sslsession_ring_set_time(self._native, int(now))
            for each in self._joined:
                lib.sslsession_server_set_time(each.user.server, int(now))

    def rotate(self) -> None:
        """The next key encrypts from now on: in a shared ring, from two seconds on, when all have it.

        However often that is, no ticket loses its key. A ring of a secret can be two keys ahead of its time, for hosts
        with the same secret know no more. A random ring goes on with keys that children which it forked before do not
        have. In a shared ring calls within these two seconds are one. Errors: :class:`SessionError` where that cannot
        be yet, and for a ring of a file: rotate that (``sslsession keys rotate``).
        """
        with self._source.lock:
            now = self._clock()
            self._source.check_room(now, lib.RING_KEYS_MOST)
            self._source.rotate(now)
            self._bring()
        self.refresh()

    def revoke(self, key_name: bytes) -> None:
        """Withdraws all tickets under one key: of a shared ring everywhere, within a second; of another, here.

        key_name: its 16 bytes (``key_info()``). Errors: ``KeyError`` where there is none of that name;
        :class:`SessionError` for the first key of a file.
        """
        if not isinstance(key_name, (bytes, bytearray)):
            raise TypeError(f"key_name is bytes, the name of a KeyInfo, not {type(key_name).__name__}")
        name = bytes(key_name)
        if all(info.name != name for info in self.key_info()):
            self.refresh()
        with self._source.lock:
            states = {info.name: info.state for info in self.key_info()}
            if name not in states:
                raise KeyError(f"there is no ticket key {name.hex()} in this ring")
            self._source.revoke(name, self._clock(), current=states[name] == "current")
            self._bring()  # here at once, however long the store takes
        self.refresh()

    def key_info(self) -> list[KeyInfo]:
        """The keys there are, the one that encrypts first, then those to come, then the retired, newest first.

        As this process has them: neither store nor file is asked (:meth:`refresh` does).
        """
        return _ring_of_c.infos(self._native, int(self._clock()))

    def stats(self) -> dict[str, int]:
        """Counts since the ring was made, of this process; neither store nor file is asked.

        ``issued`` tickets; ``opened``: tickets that a key of the ring made, though they may be too old, or made under
        other settings; ``renewed``: of those, the ones whose client is given another if it resumes (in TLS 1.3 all, in
        TLS 1.2 those of a retired key); ``unknown``: of no key; ``expired``: of a dead one, until the ring forgets it;
        ``errors`` of the store or the file; and as of now the ``keys``. What resumed is
        ``ServerSessionCache.stats()["resumed"]``.
        """
        counts = _ring_of_c.counts(self._native)
        return {**counts, "errors": self._source.errors, "keys": _ring_of_c.size(self._native)}

    def save(self, path: str | os.PathLike[str], format: str = "nginx") -> None:  # noqa: A002
        """Secret. Writes the keys to a file (0600) that nginx or HAProxy reads; what was there is replaced.

        nginx's has the key that encrypts; HAProxy's the retired, the present and the next. Errors:
        :class:`KeyFileError` where the format cannot hold them, as Apache's cannot hold a key of 80 bytes.
        """
        self.refresh()
        with self._source.lock:
            infos, known = self.key_info(), self._secrets()
        coming = [info for info in infos if info.state == "next"]
        # HAProxy asks for three: where none is retired yet, the one after the next takes its place.
        retired = [info for info in infos if info.state == "retired"] or coming[1:2]
        order = infos[:1]
        if format == "haproxy":
            order += [*sorted(retired, key=lambda info: info.encrypts_from), *coming[:1]]
        _keyfiles.write(path, [known[info.name] for info in order], format)

    def _secrets(self) -> dict[bytes, _keyfiles.Material]:
        return _ring_of_c.secrets(self._native)

    def __repr__(self) -> str:
        return f"<TicketKeyRing of {_ring_of_c.size(self._native)} keys>"


_rings: weakref.WeakSet[TicketKeyRing] = weakref.WeakSet()


def _after_fork() -> None:
    for ring in list(_rings):
        ring._source.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
