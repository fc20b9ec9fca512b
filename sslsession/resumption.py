"""The rules of resumption. Everything that decides whether a session may be used lives here, and nothing here does I/O.

A session proves one thing: that whoever holds it took part in, or was given, an earlier handshake. A resumed handshake
checks no certificate, no name, no date and no revocation. So a session may be used only where its first handshake would
have succeeded again today:

* It is resumable: the server gave an id or a ticket, and the connection did not die of a fatal alert
  (RFC 5246 7.2.2; RFC 8446 6.2).
* It is in time: its age is below its lifetime, below the server's hint, and in TLS 1.3 below seven days whatever the
  server says (RFC 8446 4.6.1; RFC 5077 3.3). The peer's certificate is still in date.
* A TLS 1.3 ticket is used once (RFC 8446 C.4): twice lets an onlooker link the connections, and two connections would
  share early data.
* It is for the same name, compared without case (RFC 6066 3; CVE-2016-5419, CVE-2021-22890, CVE-2026-48928).
* It was earned under the policy that holds now, in the very context that watched its handshake from the start; or its
  chain is verified again, against this context's trust, name and dates (CVE-2024-0853). Where revocation is looked at,
  always the latter: a new list comes unseen.
* This side's own certificate is the same, or none (CVE-2016-5419, CVE-2026-8932): the session carries that identity.

A server takes a session back only where its client would be let in again today. The key of a ticket, or the store, says
that the session is one of ours; the rest is in its stamp, which no client can write:

* It was made under the same settings: certificates, what clients must show, whom it trusts for that, the server name,
  the ``context_id`` (RFC 6066 3; CVE-2025-23419, CVE-2025-23048). One without a stamp is no session of ours.
* Its client was authenticated in full not too long ago, however often it was renewed since, and every certificate of
  its chain is in date (RFC 8446 4.6.1).
* It has a client certificate where a full handshake would demand one, and that one holds where revocation is looked at.
* It was not withdrawn: by its id or its full handshake, whenever that was; by its client's certificate, by its name, or
  with all others, if it was authenticated until then. The clocks of hosts differ, so until a little later as well.
* ``sni_callback`` chooses a context once OpenSSL has resumed. What may not be resumed there is ended, for a resumption
  cannot be taken back.

Early data comes before anybody has proved to be there (RFC 8446 2.3, 8), so its rules are narrower:

* A client sends it only with a session that allows so much, on a connection of the very name and settings that the
  session was earned under, which offers the session's ALPN protocol (RFC 8446 4.2.10); only if the cache that the
  session comes out of permits it; and where a connection has validators, if they accept the certificate that the
  session was earned with. A session that is forced carries none.
* A server accepts what a session resumes with, as above, on the context that it was made under and that nobody has
  exchanged since, if it allows as much as it did then; and once (RFC 8446 8.1): whoever takes the ticket's token, or
  the session itself, from the store. What was not taken, for whatever reason, is not accepted.

Time is passed in, in seconds since the epoch.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

TLS1_2, TLS1_3 = 0x0303, 0x0304
WEEK = 7 * 24 * 3600
CLOCK_SKEW = 300
"""Seconds by which a session may seem to be from the future: by as much the clocks of hosts may differ."""


class Reason(enum.IntEnum):
    """Why a connection was resumed or was not; ``str()`` is a sentence."""

    RESUMED = 1
    NOT_CONNECTED = 2
    NO_SESSION_OFFERED = 3
    NOT_RESUMABLE = 4
    EXPIRED = 5
    TICKET_USED = 6
    WITHDRAWN = 7
    NAME_MISMATCH = 8
    CERTIFICATE_CHANGED = 9
    TRUST_FAILED = 10
    POLICY_CHANGED = 11
    SERVER_DECLINED = 12
    SESSION_UNKNOWN = 13
    NOT_OBSERVED = 14

    def __str__(self) -> str:
        return SENTENCES[self]


SENTENCES = {
    Reason.RESUMED: "resumed",
    Reason.NOT_CONNECTED: "the handshake is not done",
    Reason.NO_SESSION_OFFERED: "no session was offered",
    Reason.NOT_RESUMABLE: "the session cannot be resumed: the server gave neither an id nor a ticket yet",
    Reason.EXPIRED: "the session, or the certificate in it, is past its lifetime (or dated in the future)",
    Reason.TICKET_USED: "the TLS 1.3 ticket was used already",
    Reason.WITHDRAWN: "the session's connection died of a fatal alert, which withdraws the session",
    Reason.NAME_MISMATCH: "the session was earned for another host name",
    Reason.CERTIFICATE_CHANGED: "the session was earned with another client certificate",
    Reason.TRUST_FAILED: "the session's certificate chain does not hold under this context's trust",
    Reason.POLICY_CHANGED: "the context's settings changed since the session was earned",
    Reason.SERVER_DECLINED: "a session was offered and the server made a full handshake",
    Reason.SESSION_UNKNOWN: "the client offered a session that this server does not know or does not accept",
    Reason.NOT_OBSERVED: "nobody watched this handshake: attach to the context, or use set_session, before it begins",
}
FORCEABLE = frozenset(
    {Reason.NAME_MISMATCH, Reason.CERTIFICATE_CHANGED, Reason.TRUST_FAILED, Reason.POLICY_CHANGED}
)
"""What ``force=True`` passes: name and trust, and nothing else."""


class Candidate(NamedTuple):
    """What is known of a session and of the connection that it is to be offered on."""

    resumable: bool
    made_at: int
    expires_at: int
    leaf_in_date: bool
    withdrawn: bool
    spent: bool
    name: str | None
    name_known: bool
    name_here: str | None
    same_certificate: bool


def lifetime(version: int, timeout: int, hint: int | None) -> int:
    """For how many seconds from its making a session lives. hint: of its ticket; None without one."""
    if version >= TLS1_3:
        return max(0, min(timeout, WEEK if hint is None else hint, WEEK))
    return max(0, min(timeout, hint)) if hint else max(0, timeout)


def expires_at(version: int, made_at: int, timeout: int, hint: int | None) -> int:
    """The first second at which the session is not to be offered any more."""
    return made_at + lifetime(version, timeout, hint)


def ticket_expiry(version: int, made_at: int, timeout: int, hint: int) -> int:
    """When a ticket dies by its lifetime hint; 0 means now in TLS 1.3 and unspecified before (RFC 5077 3.3)."""
    if version >= TLS1_3:
        return made_at + min(hint, WEEK)
    return made_at + (hint or timeout)


def canonical_name(name: str | None) -> str | None:
    """A host name as it is compared: lower case, no dot at its end."""
    return name.lower().rstrip(".") if name else None


def refusal(candidate: Candidate, now: int) -> Reason | None:
    """Why the session may not be offered; None where it may, if its trust holds."""
    if candidate.withdrawn:
        return Reason.WITHDRAWN
    if not candidate.resumable:
        return Reason.NOT_RESUMABLE
    if not candidate.made_at - CLOCK_SKEW <= now < candidate.expires_at or not candidate.leaf_in_date:
        return Reason.EXPIRED
    if candidate.spent:
        return Reason.TICKET_USED
    name, here = candidate.name, candidate.name_here
    if candidate.name_known and name != here and canonical_name(name) != canonical_name(here):
        return Reason.NAME_MISMATCH
    if not candidate.same_certificate:
        return Reason.CERTIFICATE_CHANGED
    return None


class Objection(enum.Enum):
    """Why a server does not resume a session that came back, as ``ServerSessionCache.stats`` calls it."""

    REFUSED = "refused"
    EXPIRED = "expired"
    REVOKED = "revoked"
    CUT = "cut"


class Returning(NamedTuple):
    """What is known of a session that came back to a server, and of the connection that it came on."""

    stamped: bool
    same_settings: bool
    """Whether it was made under this connection's settings, name and ``context_id``."""
    goes_elsewhere: bool
    """Whether the last connection of this name went to a context of other settings than the session's."""
    authenticated_at: int
    chain_ends: int
    """The first second at which a certificate of its client is past its date; 0: there is none."""
    leaf_in_date: bool
    has_certificate: bool
    certificate_demanded: bool
    chain_holds: bool
    """Whether its client's certificate is good today; asked only where revocation is looked at."""
    withdrawn: bool
    """Whether its id, or the full handshake that it goes back to, was withdrawn."""
    withdrawn_until: int | None
    """When its certificate, its name, or everything was last withdrawn; None: never."""


def is_withdrawn(authenticated_at: int, withdrawn_until: int | None) -> bool:
    """Whether a withdrawal of many sessions at that time (None: there was none) means this one."""
    return withdrawn_until is not None and authenticated_at <= withdrawn_until + CLOCK_SKEW


def objection(session: Returning, limit: int, now: int, *, final: bool = False) -> Objection | None:
    """Why a server does not resume the session; None where it does.

    limit: seconds since the full handshake. final: its context is chosen, and OpenSSL has resumed already.
    """
    why = _objection(session, limit, now)
    return Objection.CUT if final and why is not None else why


def _objection(session: Returning, limit: int, now: int) -> Objection | None:
    if not session.stamped or not session.same_settings:
        return Objection.REFUSED
    age = now - session.authenticated_at
    if not -CLOCK_SKEW <= age < limit or (session.chain_ends and now >= session.chain_ends):
        return Objection.EXPIRED
    if session.certificate_demanded and not session.has_certificate:
        return Objection.REFUSED
    if not session.leaf_in_date:
        return Objection.EXPIRED
    if session.withdrawn or is_withdrawn(session.authenticated_at, session.withdrawn_until):
        return Objection.REVOKED
    if session.goes_elsewhere or not session.chain_holds:
        return Objection.REFUSED
    return None


class EarlyReason(enum.IntEnum):
    """Why a client's data travelled early or did not; ``str()`` is a sentence."""

    ACCEPTED = 0
    NO_SESSION = 1
    NOT_ALLOWED = 2
    NAME_MISMATCH = 3
    POLICY_CHANGED = 4
    ALPN_CHANGED = 5
    NOT_PERMITTED = 6
    NOT_VALID = 7
    TOO_LARGE = 8
    NOT_ASKED = 9
    SENT = 10
    REJECTED = 11

    def __str__(self) -> str:
        return EARLY_SENTENCES[self]


EARLY_SENTENCES = {
    EarlyReason.ACCEPTED: "the server accepted the early data",
    EarlyReason.NO_SESSION: "no session was offered, whose key early data needs: see why_not_resumed()",
    EarlyReason.NOT_ALLOWED: "the session allows none: its server issues tickets without early data",
    EarlyReason.NAME_MISMATCH: "the session was earned for another host name",
    EarlyReason.POLICY_CHANGED: "the session was forced, or earned under other settings than this connection's",
    EarlyReason.ALPN_CHANGED: "this connection does not offer the session's ALPN protocol",
    EarlyReason.NOT_PERMITTED: "the cache of the session permits none: make it with early_data=True",
    EarlyReason.NOT_VALID: "this connection's validators refuse the certificate that the session was earned with",
    EarlyReason.TOO_LARGE: "it was more than the session allows: see Session.max_early_data",
    EarlyReason.NOT_ASKED: "nothing was to be sent early",
    EarlyReason.SENT: "it was sent, and the handshake is not done",
    EarlyReason.REJECTED: "the server rejected the early data: it takes none now, or had this ticket's before",
}


class Sending(NamedTuple):
    """What is known of data that is to travel early, and of the session that is offered with it."""

    offered: bool
    allowed: int
    """Bytes that the session allows."""
    name: str | None
    name_here: str | None
    same_settings: bool
    alpn_offered: bool
    """Whether the session's protocol is offered; true of one without."""
    permitted: bool
    """Whether its cache was made for it, or the application brought the session itself."""
    valid: bool
    """What the connection's validators say of the certificate that the session was earned with; True without any."""
    size: int


def early_objection(sending: Sending) -> EarlyReason | None:
    """Why a client sends nothing early; None where it does."""
    if not sending.offered:
        return EarlyReason.NO_SESSION
    if not sending.allowed:
        return EarlyReason.NOT_ALLOWED
    if sending.name is not None and sending.name != sending.name_here:
        return EarlyReason.NAME_MISMATCH
    if not sending.same_settings:
        return EarlyReason.POLICY_CHANGED
    if not sending.alpn_offered:
        return EarlyReason.ALPN_CHANGED
    if not sending.permitted:
        return EarlyReason.NOT_PERMITTED
    if not sending.valid:
        return EarlyReason.NOT_VALID
    return EarlyReason.TOO_LARGE if sending.size > sending.allowed else None


class Arriving(NamedTuple):
    """What is known of early data that came to a server which reads it, with a session that it resumes."""

    same_context: bool
    """Whether ``sni_callback`` left it where it began, under the settings that the session was made under."""
    allowed: int
    allows: int
    """Bytes, by the session and by this server now."""
    taken: bool
    """Whether the store gave its token, or itself, to this server."""
    wanted: bool
    """What ``accept_early_data`` says."""


def accepts_early(arriving: Arriving) -> bool:
    """Whether a server accepts early data."""
    return (
        arriving.same_context
        and 0 < arriving.allowed <= arriving.allows
        and arriving.wanted
        and arriving.taken
    )
