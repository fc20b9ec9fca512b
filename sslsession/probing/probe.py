"""The probe: which connections to make, and what each of them says about the server.

Every kind of resumption is tried alone, by two connections under one context: a full handshake that earns a session,
then one that offers it. Only OpenSSL's flag on the second says that it was resumed; equal ids or tickets say nothing
(RFC 5077 3.4, RFC 8446 4.6.1). Where tickets allow early data, a third connection sends some, for a server may promise
to take it and take none.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from typing import Callable

from sslsession.early_data import EarlyData
from sslsession.probing.failures import NotSpoken, ProbeError
from sslsession.probing.reports import (
    PSK,
    SESSION_ID,
    TICKET,
    KindReport,
    Report,
    ResumeReport,
    VersionReport,
)
from sslsession.probing.target import VERSIONS, Target, Trust
from sslsession.probing.visits import Visit, Visitor
from sslsession.session import Session

NEWEST_FIRST = ("1.3", "1.2")


class Probe:
    """Probes one server. step: is told, in words, what is tried next."""

    def __init__(
        self,
        target: Target,
        trust: Trust | None = None,
        *,
        timeout: float = 10.0,
        step: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.target = target
        self.trust = trust or Trust()
        self._visitor = Visitor(target, timeout)
        self._step = step

    def run(self, versions: Sequence[str] = NEWEST_FIRST, *, keep: bool = False) -> Report:
        """Every kind of resumption on each of ``versions`` ("1.2", "1.3").

        keep: makes a further connection where it takes one to have an unused session of each kind. A server that
        resumes nothing is a finding. Errors: :class:`ProbeError` where the server speaks none of the versions, or
        cannot be reached or believed.
        """
        probes = {"1.3": lambda: self._tls13(keep=keep), "1.2": self._tls12}
        found = []
        for version in versions:
            try:
                found.append(probes[version]())
            except NotSpoken as refused:
                found.append(VersionReport(version, spoken=False, why_not=str(refused)))
        if not any(each.spoken for each in found):
            told = "; ".join(f"TLS {each.version}: {each.why_not}" for each in found)
            raise ProbeError(f"no TLS handshake with {self.target} succeeds ({told})")
        return Report(
            host=self.target.host,
            port=self.target.port,
            address=self._visitor.where,
            server_name=self.target.server_name,
            starttls=self.target.starttls,
            verified=not self.trust.insecure,
            versions=found,
        )

    def _tls13(self, *, keep: bool) -> VersionReport:
        self._step("TLS 1.3")
        ctx = self.trust.context(VERSIONS["1.3"])
        first = self._visitor.visit(ctx, listen=True)
        version = VersionReport("1.3", spoken=True)
        version.describe_with(first)
        usable = [ticket for ticket in first.tickets if ticket.is_resumable]
        kind = KindReport(
            PSK,
            offered=bool(usable),
            lifetime=max((ticket.lifetime_hint or 0 for ticket in usable), default=None),
            tickets=len(first.tickets),
            max_early_data=max((ticket.max_early_data for ticket in usable), default=0),
        )
        version.kinds.append(kind)
        if usable:
            self._step("TLS 1.3 PSK")
            second = self._again(kind, ctx, usable.pop(), listen=True)
            usable.extend(second.tickets if second is not None else ())
            if kind.max_early_data and usable:
                self._step("TLS 1.3 0-RTT")
                kind.early_data = self._early(ctx, usable)
            if keep and not usable:
                with contextlib.suppress(NotSpoken):
                    usable.extend(self._visitor.visit(ctx, listen=True).tickets)
            kind.session = _good(usable[-1] if usable else None)
        return version

    def _early(self, ctx: ssl.SSLContext, usable: list[Session]) -> str | None:
        """What becomes of early data on a connection of its own; uses the newest ticket, and brings those that come."""
        try:
            visit = self._visitor.visit(ctx, usable.pop(), listen=True, early=True)
        except ProbeError as error:
            return f"failed: {error}"
        usable.extend(visit.tickets)
        return None if visit.early is EarlyData.NOT_SENT else visit.early.name.lower()

    def _tls12(self) -> VersionReport:
        self._step("TLS 1.2")
        version = VersionReport("1.2", spoken=True)
        for name in (TICKET, SESSION_ID):
            ctx = self.trust.context(VERSIONS["1.2"], tickets=name == TICKET)
            try:
                first = self._visitor.visit(ctx)
            except NotSpoken as refused:
                if not version.kinds:
                    raise
                version.kinds.append(KindReport(name, offered=False, why_not=str(refused)))
                continue
            version.describe_with(first)
            earned = first.session
            kind = KindReport(name, offered=earned is not None and _is_a(name, earned))
            version.kinds.append(kind)
            if earned is None or not kind.offered:
                continue
            kind.tickets, kind.lifetime = len(first.tickets), earned.lifetime_hint or None
            self._step(f"TLS 1.2 {name}")
            second = self._again(kind, ctx, earned)
            kind.session = (_newest(second) if second is not None else None) or _good(earned)
        return version

    def _again(
        self, kind: KindReport, ctx: ssl.SSLContext, session: Session, *, listen: bool = False
    ) -> Visit | None:
        """The second connection, and what it says of ``kind``; None where the server does not bear being offered it."""
        try:
            visit = self._visitor.visit(ctx, session, listen=listen)
        except NotSpoken as refused:
            kind.resumed, kind.why_not = False, f"the handshake that offers it fails: {refused}"
            return None
        kind.resumed, kind.why_not = visit.reused, visit.why_not
        if visit.reused and kind.tickets:
            kind.tickets_when_resumed = len(visit.tickets)
        return visit

    def resume(self, session: Session, *, keep: bool = False) -> ResumeReport:
        """One connection that offers a saved session; keep: waits for the tickets that come in its place.

        Errors: :class:`ProbeError`, also where the server does not speak the session's version any more.
        """
        name = next((name for name, value in VERSIONS.items() if value == session.version), None)
        if name is None:
            raise ProbeError(
                f"the session is of {session.version.name}, and probe speaks TLS 1.2 and TLS 1.3"
            )
        self._step(f"TLS {name} with the saved session")
        ctx = self.trust.context(VERSIONS[name], tickets=session.single_use or session.ticket is not None)
        try:
            visit = self._visitor.visit(ctx, session, listen=session.single_use)
            newest = _newest(visit)
            if keep and newest is None:
                newest = _newest(self._visitor.visit(ctx, listen=session.single_use))
        except NotSpoken as refused:
            raise ProbeError(f"no TLS {name} handshake with {self.target} succeeds ({refused})") from refused
        told = VersionReport(name, spoken=True)
        told.describe_with(visit)
        return ResumeReport(
            host=self.target.host,
            port=self.target.port,
            address=self._visitor.where,
            server_name=self.target.server_name,
            starttls=self.target.starttls,
            verified=not self.trust.insecure,
            version=name,
            resumed=visit.reused,
            why_not=visit.why_not,
            cipher_suite=told.cipher_suite,
            group=told.group,
            tickets=len(visit.tickets),
            session=newest,
        )


def _is_a(kind: str, session: Session) -> bool:
    return session.is_resumable and (session.ticket is not None if kind == TICKET else bool(session.id))


def _newest(visit: Visit) -> Session | None:
    """The newest session of a visit that nobody used yet; a TLS 1.2 session stays good when it is used."""
    if visit.tickets:
        return _good(visit.tickets[-1])
    return _good(visit.session) if visit.session is not None and not visit.session.single_use else None


def _good(session: Session | None) -> Session | None:
    """The session, where it can be resumed from now on."""
    return session if session is not None and session.is_resumable and not session.is_expired else None
