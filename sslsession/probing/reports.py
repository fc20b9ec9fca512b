"""What a probe found, as values: each turns into plain ones for JSON by ``plain()``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from sslsession.probing.visits import Visit
from sslsession.session import Session

SESSION_ID, TICKET, PSK = "session id", "ticket", "PSK"


@dataclass
class KindReport:
    """One kind of resumption on one TLS version."""

    kind: str
    """``SESSION_ID``, ``TICKET`` or ``PSK``."""
    offered: bool
    """Whether the server gave what such a resumption needs."""
    resumed: bool | None = None
    """Whether a second connection was resumed, by OpenSSL's flag; None where there was nothing to resume with."""
    why_not: str | None = None
    lifetime: int | None = None
    """Seconds, by the server's word; None where it gave none (a TLS 1.2 session id has none)."""
    tickets: int = 0
    """How many tickets came on a full handshake."""
    tickets_when_resumed: int | None = None
    """How many came on the resumed one; a client of single-use tickets runs dry at 0."""
    max_early_data: int = 0
    """Bytes of 0-RTT data that the server's tickets allow."""
    early_data: str | None = None
    """What became of a request that was sent so: "accepted", "rejected", or "failed: " and why; None: none was."""
    session: Session | None = field(default=None, repr=False)
    """The newest session of this kind that is still unused."""

    def plain(self) -> dict[str, Any]:
        """All but the session."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "session"}


@dataclass
class VersionReport:
    """What a server does on one TLS version."""

    version: str
    """"1.2" or "1.3"."""
    spoken: bool
    why_not: str | None = None
    """How it refused the version."""
    cipher_suite: str | None = None
    """IANA's name."""
    group: str | None = None
    """Of the key exchange; None where it had none, or this OpenSSL cannot say."""
    kinds: list[KindReport] = field(default_factory=list)
    remark: str | None = None
    """The alert with which the server ended the connection after the handshake."""

    def describe_with(self, visit: Visit) -> None:
        """Takes suite, group and remark from a full handshake."""
        if visit.session is not None:
            suite, group = visit.session.cipher_suite, visit.session.curve
            self.cipher_suite = suite.name if suite is not None else None
            self.group = group.name if group is not None else None
        self.remark = visit.remark

    def plain(self) -> dict[str, Any]:
        """Each kind under its name."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "kinds"}
        return {
            **own,
            "resumption": {each.kind.replace(" ", "_").lower(): each.plain() for each in self.kinds},
        }


@dataclass
class Report:
    """What a probe found."""

    host: str
    port: int
    address: str
    """The one address that all connections went to."""
    server_name: str
    starttls: str | None
    verified: bool
    """Whether the certificate was verified, as opposed to not looked at."""
    versions: list[VersionReport]

    @property
    def kinds(self) -> list[tuple[VersionReport, KindReport]]:
        """Every kind of resumption there is on the versions spoken, the newest version first."""
        return [(version, kind) for version in self.versions for kind in version.kinds]

    @property
    def resumes(self) -> bool:
        """Whether anything was resumed."""
        return any(kind.resumed for _, kind in self.kinds)

    def best(self) -> tuple[VersionReport, KindReport] | None:
        """What to keep: the first kind that resumes and whose session is unused, else the first with a session."""
        kept = [pair for pair in self.kinds if pair[1].session is not None]
        return next((pair for pair in kept if pair[1].resumed), kept[0] if kept else None)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "versions"}
        return {
            **own,
            "resumes": self.resumes,
            "versions": {each.version: each.plain() for each in self.versions},
        }


@dataclass
class ResumeReport:
    """What became of a saved session."""

    host: str
    port: int
    address: str
    server_name: str
    starttls: str | None
    verified: bool
    version: str
    """"1.2" or "1.3": the session's, and the only one that was offered."""
    resumed: bool
    why_not: str | None
    cipher_suite: str | None
    group: str | None
    tickets: int
    """How many tickets came."""
    session: Session | None = field(default=None, repr=False)
    """The newest session of this connection that is unused."""

    def plain(self) -> dict[str, Any]:
        """All but the session."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "session"}
