"""The session layer that Python's ssl lacks: TLS sessions taken, kept and used again, on ordinary ssl connections."""

from sslsession._records import CertData, CipherSpec, PrivateKeyInfo
from sslsession.errors import (
    InvalidSession,
    SessionError,
    SessionExpired,
    SessionMismatch,
    StoreError,
    UnsupportedError,
    UnsupportedInterpreter,
)
from sslsession.handover import get_session, set_session, why_not_resumed
from sslsession.hooks import SessionHooks
from sslsession.policy import Policy
from sslsession.renewal import renegotiate, send_new_ticket, update_keys
from sslsession.resumption import Reason
from sslsession.session import Session

__version__ = "0.1.0"

__all__ = [
    "CertData",
    "CipherSpec",
    "InvalidSession",
    "Policy",
    "PrivateKeyInfo",
    "Reason",
    "Session",
    "SessionError",
    "SessionExpired",
    "SessionHooks",
    "SessionMismatch",
    "StoreError",
    "UnsupportedError",
    "UnsupportedInterpreter",
    "get_session",
    "renegotiate",
    "send_new_ticket",
    "set_session",
    "update_keys",
    "why_not_resumed",
]
