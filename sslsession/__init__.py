"""The session layer that Python's ssl lacks: TLS sessions taken, kept and used again, on ordinary ssl connections."""

from sslsession._records import CertData, CipherSpec, PrivateKeyInfo
from sslsession.client import ClientSessionCache
from sslsession.context import SSLContext, create_default_context, extract_from_ssl, inject_into_ssl
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
    "ClientSessionCache",
    "InvalidSession",
    "Policy",
    "PrivateKeyInfo",
    "Reason",
    "SSLContext",
    "Session",
    "SessionError",
    "SessionExpired",
    "SessionHooks",
    "SessionMismatch",
    "StoreError",
    "UnsupportedError",
    "UnsupportedInterpreter",
    "create_default_context",
    "extract_from_ssl",
    "get_session",
    "inject_into_ssl",
    "renegotiate",
    "send_new_ticket",
    "set_session",
    "update_keys",
    "why_not_resumed",
]
