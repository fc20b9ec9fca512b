"""What a server has withdrawn, as entries that all servers of one store come to know.

An entry: its kind (a byte), a digest (16 bytes), and when it was withdrawn (8 bytes, epoch seconds). It counts for
what was authenticated in full until then, and a little longer, for the clocks of hosts differ (``resumption.py``).
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterable
from typing import Any

from sslsession import _callbacks
from sslsession._gossip import ENTRIES_MOST, Entries, Gossip
from sslsession._libssl import ffi, lib
from sslsession.resumption import CLOCK_SKEW
from sslsession.session import Session

KEY = b"sslsession-revoked-1:"
LINEAGE, ID, CERTIFICATE, NAME, ALL = range(5)
SIZE = 1 + 16 + 8
STAMP_VERSION, STAMP_SIZE, LINEAGE_SIZE = 0x51, 41, 12


def of_session(session: Any) -> list[tuple[int, bytes]]:
    """What withdraws one session: by its id, and by the full handshake that it goes back to, where that is known."""
    if isinstance(session, Session):
        found = [(ID, _fit(session.id))] if session.id else []
        stamp = session.ticket_appdata or b""
        if len(stamp) == STAMP_SIZE and stamp[0] == STAMP_VERSION:
            found.append((LINEAGE, _fit(stamp[-LINEAGE_SIZE:])))
        if not found:
            raise ValueError(
                "the session has no id and no ticket of this server's: there is nothing to withdraw"
            )
        return found
    if not isinstance(session, (bytes, bytearray)) or not 1 <= len(session) <= 32:
        raise TypeError("session_id is a Session, get_session(conn), or its id of up to 32 bytes")
    return [(ID, _fit(bytes(session)))]


def of_certificate(certificate: Any) -> list[tuple[int, bytes]]:
    """What withdraws the sessions of one client certificate, given as DER or PEM."""
    if isinstance(certificate, str):
        certificate = ssl.PEM_cert_to_DER_cert(certificate)
    if not isinstance(certificate, (bytes, bytearray)) or certificate[:1] != b"\x30":
        raise TypeError("client_certificate is DER bytes (conn.getpeercert(True)) or PEM text")
    return [(CERTIFICATE, hashlib.sha256(certificate).digest()[:16])]


def of_name(name: str) -> list[tuple[int, bytes]]:
    """What withdraws the sessions of one server name, as clients send it."""
    if not isinstance(name, str):
        raise TypeError(f"server_name is a str, not {type(name).__name__}")
    ascii_name = name if name.isascii() else name.encode("idna").decode()
    return [(NAME, hashlib.sha256(ascii_name.lower().encode()).digest()[:16])]


def entry(kind: int, digest: bytes, now: float) -> bytes:
    """One as it is shared."""
    return bytes([kind]) + digest + int(now).to_bytes(8, "big")


def join(entries: Entries) -> None:
    """Makes a set shorter: for its older half there is one entry, that withdraws all that was authenticated until then.

    Whoever hears of it starts full more often; what was withdrawn does not come back.
    """
    times = sorted(_when(each) for each in entries)
    until = max([times[-ENTRIES_MOST // 2], *(_when(each) for each in entries if each[:1] == bytes([ALL]))])
    old = {each: entries.pop(each) for each in list(entries) if _when(each) <= until}
    if until >= 0:
        entries[entry(ALL, bytes(16), until)] = max(old.values())


def _when(each: bytes) -> int:
    return int.from_bytes(each[17:], "big") if len(each) == SIZE else -1


class Withdrawn:
    """What a cache withdrew, and what it heard of others that have its store and its ``context_id``."""

    def __init__(self, rules: Any, identity: bytes, limit: float) -> None:
        self._rules, self._limit = rules, limit
        self._set = Gossip(KEY + identity, join)
        self._lock = threading.RLock()
        self._deaf = self._ended = False
        self._unheard: list[bytes] = []

    def add(self, what: Iterable[tuple[int, bytes]], now: float) -> None:
        """In force in this process at once."""
        with self._lock:
            for kind, digest in what:
                self._set.add(entry(kind, digest, now), now + self._limit + CLOCK_SKEW)
            self._set.purge(now)
            self._install()

    def expect(self, now: float) -> None:
        """Until others were heard, all that was authenticated before now is taken for withdrawn: it may well be."""
        self._unheard = [entry(ALL, bytes(16), int(now) - 1 - CLOCK_SKEW)]
        self._install()

    def _install(self) -> None:
        self.bequeath(self._rules)

    def bequeath(self, rules: Any) -> None:
        """What is withdrawn here and now is so under these rules as well."""
        install(rules, [*self._set.entries, *self._unheard])

    def share(self, store: Any, now: float) -> None:
        """Tells others and hears from them. The store may take its time, and nobody waits for the lock meanwhile.

        Errors: the store's own.
        """
        copy = Gossip(self._set.key, join)
        with self._lock:
            copy.entries.update(self._set.entries)
        copy.sync(store, now)
        with self._lock:
            # For as long as this server would resume what is withdrawn: its limit may be longer than the other's.
            came = [
                self._set.add(each, max(until, _when(each) + self._limit + CLOCK_SKEW))
                for each, until in copy.entries.items()
            ]
            first, self._unheard = self._unheard, []
            if self._set.purge(now) or any(came) or first:
                self._install()

    def heard(self, store: Any, now: float) -> bool:
        """The same, for who looks again later: False where it failed, which is told once, until it works again."""
        try:
            self.share(store, now)
        except Exception as error:  # a store of the user's own may raise anything
            error.__traceback__ = None
            first, self._deaf = not self._deaf, True
            if first and not self._ended:
                _callbacks.report(error, "sslsession's looking for what other servers withdrew")
            return False
        self._deaf = False
        return True

    def end(self) -> None:
        """The store is about to be closed: who is asking it right now may fail, and says nothing of it."""
        self._ended = True

    def after_fork(self) -> None:
        """In a child: the lock may be held for ever."""
        self._lock = threading.RLock()


def for_c(entries: Iterable[bytes]) -> tuple[Any, int]:
    """All as C wants them: sorted, each thing once with its latest time."""
    latest: dict[bytes, int] = {}
    for each in entries:
        if len(each) == SIZE and each[0] <= ALL:
            latest[each[:17]] = max(latest.get(each[:17], 0), int.from_bytes(each[17:], "big"))
    native = ffi.new("sslsession_revocation[]", max(len(latest), 1))
    for slot, (what, at) in zip(native, sorted(latest.items())):
        slot.kind = what[0]
        ffi.memmove(slot.digest, what[1:], 16)
        slot.at = at
    return native, len(latest)


def install(rules: Any, entries: Iterable[bytes]) -> None:
    """Tells C what is withdrawn."""
    native, count = for_c(entries)
    if not lib.sslsession_server_revoke(rules, native, count):
        raise MemoryError("there is no memory left for what was withdrawn")


def _fit(value: bytes) -> bytes:
    return value[:16].ljust(16, b"\0")
