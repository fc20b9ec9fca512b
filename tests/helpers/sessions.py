"""Sessions for tests: taken from a connection, offered on another, aged, and altered inside their DER."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

import sslsession
from helpers.peers import Pair, connect
from sslsession import Session, _borrow, _envelope

TIME_TAG, VERIFY_RESULT_TAG, LIFETIME_HINT_TAG, MAX_FRAGMENT_TAG = 1, 5, 9, 17
GARBAGE_RECORD = b"\x17\x03\x03\x00\x20" + b"x" * 32
"""A record that no peer can decrypt: whoever reads it answers with a fatal alert."""

PIKE_FIELDS = (
    "cert_data certificate_chain cipher_spec cipher_suite compression_algorithm curve ecc_curves ecc_point_format "
    "encrypt_then_mac extended_master_secret ffdhe_groups heartbeat_mode identity last_activity master_secret "
    "max_packet_size peer_certificate_chain peer_public_key private_key server_name signature_algorithms ticket "
    "ticket_expiry_time truncated_hmac version"
).split()
OPENSSL_FIELDS = (
    "id id_context time timeout lifetime_hint alpn max_early_data verify_result ticket_appdata is_resumable "
    "is_expired single_use policy expires_at"
).split()
FIELDS = (*PIKE_FIELDS, *OPENSSL_FIELDS)


def values(session: Session) -> dict[str, Any]:
    """Every field and its value."""
    return {name: getattr(session, name) for name in FIELDS}


def session_of(conn: Any) -> Session:
    """The session of a connection that has one."""
    session = sslsession.get_session(conn)
    assert session is not None
    return session


def take(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "localhost") -> Session:
    """The client's session of one connection, tickets read, that was closed cleanly."""
    pair = connect(client, server, name)
    session = session_of(pair.client)
    pair.close()
    return session


def offering(session: Session, *, force: bool = False) -> Callable[[Any], None]:
    """For `prepare`: `set_session` before the handshake."""
    return lambda conn: sslsession.set_session(conn, session, force=force)


def resumes(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    session: Session,
    name: str | None = "localhost",
    *,
    force: bool = False,
) -> bool:
    """Whether a connection that offers `session` resumes it; both sides must say the same, and data must pass."""
    pair = connect(client, server, name, prepare=offering(session, force=force))
    reused = pair.client.session_reused
    assert pair.server.session_reused == reused
    pair.close()
    return bool(reused)


def ssl_resumes(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    session: ssl.SSLSession | None,
    name: str | None = "localhost",
) -> bool:
    """Whether a connection resumes by ssl's own `session=`."""
    assert session is not None
    pair = connect(client, server, name, session=session)
    reused = pair.client.session_reused
    pair.close()
    return bool(reused)


def handle(conn: ssl.SSLSocket | ssl.SSLObject) -> Any:
    """The connection's `SSL *`, for what OpenSSL does without this library."""
    return _borrow.borrow(conn).ssl


def context_handle(ctx: ssl.SSLContext) -> Any:
    """The context's `SSL_CTX *`."""
    return _borrow.context_pointer(ctx)


def die_of_a_fatal_alert(pair: Pair, *, sent_by_client: bool = True) -> None:
    """End the pair by a record that cannot be decrypted; both sides see the alert."""
    wire, first = (pair.to_client, pair.client) if sent_by_client else (pair.to_server, pair.server)
    wire.write(GARBAGE_RECORD)
    for side in (first, pair.server if sent_by_client else pair.client):
        try:
            side.read(1)
        except ssl.SSLWantReadError as error:
            raise AssertionError("there was no alert") from error
        except ssl.SSLError:
            pass


def with_der(session: Session, change: Callable[[bytes], bytes]) -> Session:
    """The same envelope around other DER; for a session that knows its DER alone, that DER."""
    if session.policy is None:
        return Session.from_der(change(session.to_der()))
    body = _envelope.unpack(session.to_bytes())
    return Session.from_bytes(_envelope.pack({**body, "der": change(body["der"])}))


def with_facts(session: Session, **changed: Any) -> Session:
    """The same session with other facts of its connection in the envelope."""
    body = _envelope.unpack(session.to_bytes())
    return Session.from_bytes(_envelope.pack({**body, "facts": {**body["facts"], **changed}}))


def aged(session: Session, seconds: int) -> Session:
    """The same session, made `seconds` earlier."""
    made_at = int(time.time()) - seconds
    return with_der(session, lambda der: with_integer(der, TIME_TAG, made_at))


def with_integer(der: bytes, tag: int, value: int) -> bytes:
    """A session's DER whose `[tag] EXPLICIT INTEGER` is `value`, there or not before."""
    _, content, end = _element(der, 0)
    assert end == len(der)
    number = value.to_bytes(value.bit_length() // 8 + 1, "big")
    wanted = _encoded(0xA0 | tag, _encoded(0x02, number))
    kept = bytearray()
    at = 0
    while at < len(content):
        kind, _, end = _element(content, at)
        if kind >= 0xA0 | tag and wanted:
            kept += wanted
            wanted = b""
        if kind != 0xA0 | tag:
            kept += content[at:end]
        at = end
    return _encoded(0x30, bytes(kept) + wanted)


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag, content and end of the element at `at`."""
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    return tag, data[at : at + length], at + length


def _encoded(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content
