"""What ``TLSConnection.describe`` prints: settings, and what is known of the connection. No secret is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sslsession._connection_settings import CipherSuites

if TYPE_CHECKING:
    from sslsession.connection import TLSConnection

OPTIONS = ("resume", "verify_later", "client_auth", "insecure")


def describe(connection: TLSConnection) -> str:
    """A line each, the name first."""
    suites, size = connection.cipher_suites, connection.max_buffer_size
    baked = connection._baked.get
    suites = suites or baked("cipher_suites")
    kept = connection.cache_size if connection.cache_size is not None else baked("cache_size")
    lines: list[tuple[str, Any]] = [
        ("side", "server" if connection.server_side else "client"),
        ("host", connection.server_hostname or "none"),
        ("options", ", ".join(name for name in OPTIONS if getattr(connection, name)) or "none"),
        ("certificate", connection.certificate or baked("certificate") or "the context's, if it has one"),
        (
            "validators",
            ", ".join(map(_name, connection.validators)) or "none: the context's verification alone",
        ),
        ("max buffer size", f"{size.name} ({size.bytes} bytes)"),
        ("cipher suites", suites.name if isinstance(suites, CipherSuites) else suites or "the context's"),
        ("cache size", "default" if kept is None else kept or "0: none"),
        ("connected", "yes" if connection.is_connected else "no"),
    ]
    sslobject = connection.connection
    if connection.is_connected and sslobject is not None:
        lines += [
            ("version", sslobject.version()),
            ("cipher", (sslobject.cipher() or ("none",))[0]),
            ("resumed", "yes" if sslobject.session_reused else "no"),
        ]
    lines.append(("session id", connection.session_id.hex() or "none"))
    return "\n".join(f"{name + ':':17}{value}" for name, value in lines)


def _name(validator: Any) -> str:
    pins = getattr(validator, "pins", None)
    return repr(validator) if pins else getattr(validator, "__name__", type(validator).__name__)
