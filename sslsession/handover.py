"""``get_session``, ``set_session`` and ``why_not_resumed``: a session from one connection to the next."""

from __future__ import annotations

import contextlib
import functools
import ssl
import time
from typing import Any

from sslsession import _borrow
from sslsession._libssl import ffi, lib
from sslsession.errors import InvalidSession, SessionError, SessionExpired, SessionMismatch
from sslsession.policy import from_native
from sslsession.resumption import FORCEABLE, TLS1_3, Candidate, Reason, expires_at, refusal
from sslsession.session import Session

BEGUN, OFFERED, SAW_PSK, SAW_TICKET = 2, 4, 8, 16
INT, SEEN = ffi.typeof("int *"), ffi.typeof("sslsession_candidate *")
ERRORS: dict[Reason, type[SessionError]] = {
    Reason.NOT_RESUMABLE: InvalidSession,
    Reason.EXPIRED: SessionExpired,
    Reason.TICKET_USED: SessionExpired,
    Reason.WITHDRAWN: SessionExpired,
}
ADVICE = {
    Reason.NOT_RESUMABLE: "Take it after a first read: TLS 1.3 servers send tickets after the handshake.",
    Reason.EXPIRED: "Connect without it.",
    Reason.TICKET_USED: "Take a new session from the connection that used it, or use a hook to get every ticket.",
    Reason.WITHDRAWN: "Connect without it.",
    Reason.NAME_MISMATCH: "Use it for that name, or pass force=True if both names are one server's.",
    Reason.CERTIFICATE_CHANGED: "Connect without it, or pass force=True to go on under the old identity.",
    Reason.TRUST_FAILED: "Connect without it; force=True would skip verification.",
}


def get_session(conn: Any) -> Session | None:
    """A copy of the connection's session; None where it has none.

    conn: an ``SSLSocket``, an ``SSLObject``, a ``TLSConnection``, anything with ``get_extra_info("ssl_object")``, or
    anything with a ``.sock``. On a TLS 1.3 client the session is resumable after the first ticket was read, and shows
    the last ticket; :class:`SessionHooks` tells of each. A copy stays good when the connection is dropped, and a fatal
    alert withdraws it. Call it from the thread that reads from the connection, or let a hook hand the sessions over:
    while another thread reads, OpenSSL may replace the session at this very moment, without a lock.

    Source: SSL_get1_session(3). Errors: ``TypeError`` where no connection of ssl's is behind ``conn``;
    :class:`SessionError` where it is not connected; :class:`UnsupportedInterpreter`.
    """
    borrowed = _borrow.borrow(conn)
    none = ffi.new(INT)
    native = lib.sslsession_capture_current(borrowed.ssl, none)
    if none[0]:
        return None
    return Session._captured(native, getattr(borrowed.owner, "server_hostname", None))


def need_session(what: object) -> None:
    """``TypeError`` where this is no Session; it names the module too, for ssl has a class of that name."""
    if not isinstance(what, Session):
        kind = type(what)
        raise TypeError(
            f"a sslsession.Session is needed, not {kind.__module__}.{kind.__name__}: see get_session(conn)"
        )


def set_session(conn: Any, session: Session, *, force: bool = False) -> None:
    """Offers a session on a client's connection whose handshake has not begun.

    Wrap the socket with ``do_handshake_on_connect=False``, set the session, then call ``do_handshake()``. The server
    decides: ``conn.session_reused`` tells, and :func:`why_not_resumed` says why not. A session that this context did
    not earn itself (it came from bytes, or from another context) is verified again first: its chain against this
    context's trust, this connection's name, and today's date. ``force=True`` passes name, certificate and trust, and
    nothing else.

    Source: SSL_set_session(3), RFC 8446 4.6.1 and C.4. Errors: ``TypeError``; :class:`SessionError` once the handshake
    began, or on a server; :class:`SessionMismatch` for another name, another client certificate, or trust that does not
    hold here; :class:`SessionExpired` past its lifetime, for a TLS 1.3 ticket that was used, and after a fatal alert;
    :class:`InvalidSession` where it cannot be resumed.
    """
    need_session(session)
    borrowed = _borrow.borrow(conn)
    handle = borrowed.ssl
    objection = "" if force else objection_of(borrowed.owner, session)
    if objection:
        raise SessionMismatch(
            f"the session does not suit this TLSConnection: {objection}. Connect without it, or pass force=True"
        )
    now = int(time.time())
    seen = ffi.new(SEEN)
    native, held = session._native or ffi.NULL, session._held or ffi.NULL
    lib.sslsession_examine(handle, session._pointer, native, held, now, seen)
    if seen.server:
        raise SessionError("set_session is for clients; a server resumes through its cache or its tickets")
    if seen.begun:
        raise SessionError(
            "the handshake began already: wrap the socket with do_handshake_on_connect=False, "
            "call set_session, then do_handshake()"
        )
    here = getattr(borrowed.owner, "server_hostname", None)
    reason, detail = _weigh_and_offer(session, handle, here, now, seen, force)
    if reason is not None:
        if reason is Reason.NAME_MISMATCH:
            detail = f" ({session.server_name!r}, and this connection is for {here!r})"
        raise ERRORS.get(reason, SessionMismatch)(f"{reason}{detail}. {ADVICE[reason]}")


def objection_of(owner: Any, session: Session) -> str:
    """What a ``TLSConnection`` has against a session; other connections have nothing."""
    asked = getattr(owner, "objection_to", None)
    return "" if asked is None else str(asked(session))


def offer_unasked(session: Session, handle: Any, here: str | None, now: int) -> Reason | None:
    """Offers a session that nobody but a cache chose, while the handshake of ``handle`` begins: why not, or None.

    The rules of :func:`set_session` hold, and one more: once this context's trust was changed, a session that it earned
    before is not offered there any more.
    """
    seen = ffi.new(SEEN)
    native, held = session._native or ffi.NULL, session._held or ffi.NULL
    lib.sslsession_examine(handle, session._pointer, native, held, now, seen)
    if seen.outdated:
        lib.sslsession_set_reason(handle, Reason.POLICY_CHANGED)
        return Reason.POLICY_CHANGED
    return _weigh_and_offer(session, handle, here, now, seen, False)[0]


def _weigh_and_offer(
    session: Session, handle: Any, here: str | None, now: int, seen: Any, force: bool
) -> tuple[Reason | None, str]:
    """Why the session is not offered, and in which detail; None where it is. here: the name of this connection."""
    name = session.server_name
    version, hint, same = session._version, seen.lifetime_hint, seen.same_certificate
    made_at = seen.made_at
    candidate = Candidate(
        session._resumable,
        made_at,
        expires_at(version, made_at, seen.timeout, hint if hint >= 0 else None),
        bool(seen.leaf_in_date),
        bool(seen.withdrawn),
        version >= TLS1_3 and bool(seen.spent),
        name,
        name is not None or session._has_facts,
        here,
        bool(same) if same >= 0 else _same_certificate(session, handle),
    )
    reason, detail, forced = refusal(candidate, now), "", False
    # Case apart, the name that was verified must be this very one: "a." is "a", and no certificate is for it.
    earned_until = seen.earned_until if (name or "").lower() == (here or "").lower() else 0
    if reason is None and not earned_until and not force and seen.verifies:
        reason, detail, earned_until = _verify_again(session, handle)
    if reason is not None:
        if not force or reason not in FORCEABLE:
            lib.sslsession_set_reason(handle, reason)
            return reason, detail
        earned_until, forced = 0, True
    same_settings = not forced and (bool(seen.same_settings) or _same_settings(session, handle))
    _offer(session, handle, earned_until, same_settings)
    return None, ""


def _same_certificate(session: Session, handle: Any) -> bool:
    """Whether this side shows the certificate that a session from bytes was made with; unknown of DER alone."""
    policy = session.policy
    if policy is None:
        return True
    here = ffi.new("sslsession_policy *")
    lib.sslsession_read_policy(handle, here)
    return policy.certificate == (bytes(ffi.buffer(here.certificate)) if here.has_certificate else None)


def _same_settings(session: Session, handle: Any) -> bool:
    """Whether a session from bytes was made under this connection's settings; asked where early data is in question."""
    policy = session.policy
    if policy is None or session._native is not None or not session.max_early_data:
        return False
    here = ffi.new("sslsession_policy *")
    lib.sslsession_read_policy(handle, here)
    return policy.named(None, None) == from_native(here)


def _verify_again(session: Session, handle: Any) -> tuple[Reason | None, str, int]:
    """Why the session's chain does not hold here, in words too; or until when it does, which the session remembers."""
    leaf = lib.SSL_SESSION_get0_peer(session._pointer)
    if leaf == ffi.NULL:
        return Reason.TRUST_FAILED, " (it holds no certificate to verify again)", 0
    error, trust = ffi.new("int *"), ffi.new("sslsession_trust *")
    if lib.sslsession_verify_again(handle, leaf, session._chain(), error, trust):
        if session._native is not None:
            lib.sslsession_remember(session._native, trust)
        else:
            session._held = trust
        return None, "", trust.until
    text = ffi.string(lib.X509_verify_cert_error_string(error[0])).decode()
    if not session._has_facts:
        text += "; DER and PEM keep the leaf alone, Session.to_bytes() keeps the chain"
    return Reason.TRUST_FAILED, f" ({text})", 0


@functools.lru_cache(maxsize=1)
def id_context() -> bytes:
    """The session id context that ssl gives to all its connections: only a session tells it, so one is begun."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    trial = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    with contextlib.suppress(ssl.SSLWantReadError):
        trial.do_handshake()
    session = get_session(trial)
    return session.id_context if session is not None else b""


def _offer(session: Session, handle: Any, earned_until: int, same_settings: bool) -> None:
    # OpenSSL's clients end a handshake that resumes a session of another id context, and ssl's differs from s_client's.
    context = id_context()
    single_use = session._version >= TLS1_3
    done = lib.sslsession_offer(
        handle,
        session._pointer,
        context,
        len(context),
        single_use,
        session._chain(),
        earned_until,
        same_settings,
    )
    if done < 0:
        raise MemoryError("OpenSSL could not copy the session")
    if not done:
        lib.ERR_clear_error()
        raise SessionError(
            "OpenSSL refused the session: it is of a protocol version that this connection cannot have"
        )


def why_not_resumed(conn: Any) -> Reason:
    """Why the connection was not resumed; ``Reason.RESUMED`` where it was. ``str()`` of it is a sentence.

    What nobody watched is ``Reason.NOT_OBSERVED``, never a guess: attach a hook or a cache to the context, or use
    :func:`set_session`, before the handshake begins. Errors: as :func:`get_session`.
    """
    handle = _borrow.borrow(conn).ssl
    if lib.SSL_in_init(handle):
        return Reason.NOT_CONNECTED
    if lib.SSL_session_reused(handle):
        return Reason.RESUMED
    kept = lib.sslsession_get_reason(handle)
    if kept:
        return Reason(kept)
    flags = lib.sslsession_connection_flags(handle)
    if not flags & BEGUN:
        return Reason.NOT_OBSERVED
    if not lib.SSL_is_server(handle):
        return Reason.SERVER_DECLINED if flags & OFFERED else Reason.NO_SESSION_OFFERED
    if flags & (SAW_PSK | SAW_TICKET):
        return Reason.SESSION_UNKNOWN
    return Reason.NO_SESSION_OFFERED if lib.SSL_version(handle) >= TLS1_3 else Reason.NOT_OBSERVED
