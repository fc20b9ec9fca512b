"""What a client cache does where C asks it, in the middle of handshakes and reads (``unasked.c`` does the rest).

C asks for a session where its pool has none that is beyond doubt: then there is what another context earned, what was
added or came out of bytes, and the store. ``resumption.py`` decides on each.
"""

from __future__ import annotations

import sys
from typing import Any, Callable

from sslsession import _borrow, _peers
from sslsession._attachment import DECLINED, RESUMED
from sslsession._keeping import Keeping
from sslsession._libssl import ffi, lib
from sslsession.handover import objection_of, offer_unasked
from sslsession.resumption import Reason
from sslsession.session import Session


class Asked:
    """The answers of one cache."""

    def __init__(self, keeping: Keeping, clock: Callable[[], float]) -> None:
        self._keeping = keeping
        self._clock = clock

    def offer(self, borrowed: _borrow.Borrowed) -> bool:
        """C found nothing that it may offer by itself."""
        keeping, peer, now = self._keeping, _peers.peer_of(borrowed), self._clock()
        if peer is None:
            return False
        native = lib.sslsession_policy_at_start(borrowed.ssl)
        key = keeping.key(native, peer)
        name = getattr(borrowed.keeper, "server_hostname", None)
        for near in (key, keeping.key(None, peer), keeping.key(None, peer._replace(port=""))):
            while True:
                session = keeping.take(near, now)
                if session is None:
                    break
                if self._offers(session, borrowed, name, now, near):
                    keeping.count("hits")
                    return True
        session = keeping.fetch(key, native, now) if _may_fetch(native) else None
        if session is not None and self._offers(session, borrowed, name, now, key):
            keeping.count("store_hits")
            return True
        keeping.count("misses")
        return False

    def _offers(
        self, session: Session, borrowed: _borrow.Borrowed, name: str | None, now: float, key: bytes
    ) -> bool:
        if now - session.time > self._keeping.limits.max_lifetime:
            reason: Reason | None = Reason.EXPIRED
        elif objection_of(borrowed.owner, session):
            reason = Reason.POLICY_CHANGED
            lib.sslsession_set_reason(borrowed.ssl, reason)
        else:
            reason = offer_unasked(session, borrowed.ssl, name, int(now))
        if reason is None:
            self._keeping.count("offered")
            return True
        self._keeping.count("expired" if reason is Reason.EXPIRED else "refused")
        self._keeping.drop(key, session)
        return False

    def outcome(self, borrowed: _borrow.Borrowed, outcome: int) -> None:
        """C has counted it, and has forgotten what is in its pool."""
        peer = _peers.peer_of(borrowed)
        native = lib.sslsession_policy_at_start(borrowed.ssl)
        if outcome != RESUMED and peer is not None and native != ffi.NULL:
            self._keeping.forget(self._keeping.key(native, peer), native, tickets_only=outcome == DECLINED)

    def peer(self, borrowed: _borrow.Borrowed) -> None:
        """Neither SNI nor socket tell C whom the connection is with."""
        peer = _peers.peer_of(borrowed)
        if peer is not None:
            lib.sslsession_set_peer(borrowed.ssl, peer.host.encode(), peer.port.encode())


def _may_fetch(native: Any) -> bool:
    """A session out of a store shows no chain to whoever verifies by himself, as truststore does on these systems."""
    return bool(native.verify_mode) or sys.platform not in ("darwin", "win32")
