"""The session layer that Python's ssl lacks: TLS sessions taken, kept and used again, on ordinary ssl connections."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sslsession._records import CertData, CipherSpec, PrivateKeyInfo
from sslsession.errors import (
    CertificateRefused,
    FragmentTooLarge,
    InsecureStoreError,
    InvalidSession,
    KeyFileError,
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
from sslsession.resumption import EarlyReason, Reason
from sslsession.session import Session

if TYPE_CHECKING:
    from sslsession import stores
    from sslsession._connection_settings import CipherSuites, MaxBufferSize
    from sslsession.client import ClientSessionCache
    from sslsession.connection import TLSConnection
    from sslsession.context import SSLContext, create_default_context, extract_from_ssl, inject_into_ssl
    from sslsession.early_data import (
        EarlyData,
        early_data_status,
        read_early_data,
        send_replayable,
        wait_for_handshake,
        why_not_early,
        write_early_data,
    )
    from sslsession.server import ServerSessionCache
    from sslsession.stores import (
        EncryptedStore as EncryptedStore,
        MemcachedStore as MemcachedStore,
        MemoryStore as MemoryStore,
        RedisStore as RedisStore,
        SQLiteStore as SQLiteStore,
        open_store as open_store,
    )
    from sslsession.streams import create_connection, handshake_done, open_connection, start_server
    from sslsession.tickets import KeyInfo, TicketKeyRing
    from sslsession.validators import (
        PeerCertificate,
        PinCertificateSHA1,
        PinCertificateSHA256,
        PinPublicKeySHA256,
    )

__version__ = "0.1.0"

__all__ = [
    "CertData",
    "CertificateRefused",
    "CipherSpec",
    "CipherSuites",
    "ClientSessionCache",
    "EarlyData",
    "EarlyReason",
    "FragmentTooLarge",
    "InsecureStoreError",
    "InvalidSession",
    "KeyFileError",
    "KeyInfo",
    "MaxBufferSize",
    "PeerCertificate",
    "PinCertificateSHA1",
    "PinCertificateSHA256",
    "PinPublicKeySHA256",
    "Policy",
    "PrivateKeyInfo",
    "Reason",
    "SSLContext",
    "ServerSessionCache",
    "Session",
    "SessionError",
    "SessionExpired",
    "SessionHooks",
    "SessionMismatch",
    "StoreError",
    "TLSConnection",
    "TicketKeyRing",
    "UnsupportedError",
    "UnsupportedInterpreter",
    "create_connection",
    "create_default_context",
    "early_data_status",
    "extract_from_ssl",
    "get_session",
    "handshake_done",
    "inject_into_ssl",
    "open_connection",
    "read_early_data",
    "renegotiate",
    "send_new_ticket",
    "send_replayable",
    "set_session",
    "start_server",
    "stores",
    "update_keys",
    "wait_for_handshake",
    "why_not_early",
    "why_not_resumed",
    "write_early_data",
]

LATER = {
    **dict.fromkeys(("CipherSuites", "MaxBufferSize"), "_connection_settings"),
    "TLSConnection": "connection",
    **dict.fromkeys(
        ("PeerCertificate", "PinCertificateSHA1", "PinCertificateSHA256", "PinPublicKeySHA256"), "validators"
    ),
    "ClientSessionCache": "client",
    "KeyInfo": "tickets",
    "SSLContext": "context",
    "ServerSessionCache": "server",
    "TicketKeyRing": "tickets",
    "create_connection": "streams",
    "create_default_context": "context",
    "handshake_done": "streams",
    "open_connection": "streams",
    "start_server": "streams",
    **dict.fromkeys(
        (
            "EarlyData",
            "early_data_status",
            "read_early_data",
            "send_replayable",
            "wait_for_handshake",
            "why_not_early",
            "write_early_data",
        ),
        "early_data",
    ),
    "extract_from_ssl": "context",
    "inject_into_ssl": "context",
    **dict.fromkeys(
        ("EncryptedStore", "MemcachedStore", "MemoryStore", "RedisStore", "SQLiteStore", "open_store"),
        "stores",
    ),
}
"""What no program needs that uses sessions one by one: by name, the module that is imported when it is asked for."""


def __getattr__(name: str) -> Any:
    if name == "stores":
        return importlib.import_module("sslsession.stores")
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"sslsession.{LATER[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *LATER})
