"""A session as text for people, its secrets masked unless they are asked for."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslsession.session import Session

SECRETS = ("master_secret", "ticket")
TIMES = ("time", "expires_at", "ticket_expiry_time", "last_activity")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
FIELDS = (
    "version cipher_suite cipher_spec curve server_name alpn id id_context master_secret ticket lifetime_hint "
    "ticket_expiry_time ticket_appdata time timeout expires_at last_activity is_resumable is_expired single_use "
    "max_early_data max_packet_size compression_algorithm extended_master_secret encrypt_then_mac truncated_hmac "
    "heartbeat_mode cert_data verify_result peer_certificate_chain peer_public_key certificate_chain private_key "
    "signature_algorithms ecc_curves ffdhe_groups ecc_point_format policy"
).split()
WIDTH = max(map(len, FIELDS))


def describe(session: Session, *, secrets: bool) -> str:
    """One ``name: value`` a line, in a fixed order."""
    return "\n".join(
        f"{name + ':':<{WIDTH + 2}}{shown(name, value, secrets=secrets)}" for name, value in values(session)
    )


def values(session: Session) -> list[tuple[str, Any]]:
    """Every field and its value."""
    return [(name, getattr(session, name)) for name in FIELDS]


def shown(name: str, value: Any, *, secrets: bool) -> str:
    """One value as text."""
    if value is None:
        return "-"
    if name in SECRETS and not secrets:
        return f"({len(value)} bytes, hidden)"
    if name in TIMES:
        return _time(value)
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 64 or name in SECRETS else f"({len(value)} bytes)"
    if isinstance(value, list):
        return ", ".join(_item(item) for item in value) or "-"
    if name == "policy":
        return f"{'verifies' if value.verifies else 'verifies nothing'}, digest {value.digest[:16]}"
    if hasattr(value, "_asdict"):
        return ", ".join(f"{key}={_item(item)}" for key, item in value._asdict().items())
    return str(getattr(value, "name", value)) if name != "cipher_suite" else str(value)


def _time(value: int) -> str:
    try:
        return (EPOCH + datetime.timedelta(seconds=value)).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return f"{value} s after 1970"


def _item(item: Any) -> str:
    if isinstance(item, bytes):
        return f"({len(item)} bytes of DER)"
    if isinstance(item, list):
        return "[" + ", ".join(_item(inner) for inner in item) + "]"
    return str(item)
