"""``SSL_SESSION`` to and from OpenSSL's own formats, and the two values in its DER that have no accessor.

    SSL_SESSION ::= SEQUENCE { version, ssl version, cipher, id, master key, [1] time, [2] timeout, [3] peer, ...
                               [13] flags (bit 0: extended master secret), ... [19] named group }

The layout is OpenSSL's (ssl/ssl_asn1.c); ``openssl sess_id`` and ``openssl s_client -sess_in`` read both formats.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from sslsession import _certificates
from sslsession._libssl import ffi, lib
from sslsession.errors import InvalidSession

FLAGS_TAG, GROUP_TAG = 13, 19
SSL3, TLS1_3 = 0x0300, 0x0304
LABEL = "SSL SESSION PARAMETERS"
PEM = re.compile(rf"-----BEGIN {LABEL}-----\s+(.*?)\s*-----END {LABEL}-----", re.S)


def write(pointer: Any) -> bytes:
    """The DER of a session (i2d_SSL_SESSION)."""
    data = _certificates.encoded(lib.i2d_SSL_SESSION, pointer)
    if not data:
        lib.ERR_clear_error()
        raise InvalidSession("OpenSSL cannot encode this session: it has no cipher suite yet")
    return data


def write_for_clients(pointer: Any) -> bytes:
    """The DER of a client's session, its id context left out: that is a server's matter, constant in all of ssl's
    contexts, and ``openssl s_client`` ends the handshake of a session that has one.
    """
    copy = ffi.gc(lib.SSL_SESSION_dup(pointer), lib.SSL_SESSION_free)
    lib.SSL_SESSION_set1_id_context(copy, b"", 0)
    return write(copy)


def read(data: bytes) -> Any:
    """An ``SSL_SESSION *`` with a reference for the caller (d2i_SSL_SESSION). Errors: :class:`InvalidSession`."""
    buffer = ffi.from_buffer(data)
    start = ffi.cast("unsigned char *", buffer)
    position = ffi.new("unsigned char **", start)
    lib.ERR_set_mark()
    pointer = lib.d2i_SSL_SESSION(ffi.NULL, position, len(data))
    lib.ERR_pop_to_mark()
    if pointer == ffi.NULL:
        raise InvalidSession(
            "these bytes are no session in DER, or of an OpenSSL or TLS version unknown here"
        )
    left = len(data) - (position[0] - start)
    if left:
        lib.SSL_SESSION_free(pointer)
        raise InvalidSession(f"{left} bytes follow the session's DER")
    version = lib.SSL_SESSION_get_protocol_version(pointer)
    if not SSL3 <= version <= TLS1_3:
        lib.SSL_SESSION_free(pointer)
        raise InvalidSession(f"the session's protocol version, 0x{version:04x}, is not one of TLS's")
    return pointer


def to_pem(data: bytes) -> str:
    """The PEM that ``openssl s_client -sess_in`` reads (RFC 7468's form)."""
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {LABEL}-----\n{lines}\n-----END {LABEL}-----\n"


def from_pem(text: str | bytes) -> bytes:
    """The DER in a PEM text with one session in it. Errors: :class:`InvalidSession`."""
    if isinstance(text, bytes):
        text = text.decode("ascii", errors="replace")
    blocks = PEM.findall(text)
    if len(blocks) != 1:
        count = len(blocks) or "no"
        raise InvalidSession(f"{count} session blocks ('BEGIN {LABEL}') in the PEM text, where one is needed")
    try:
        return base64.b64decode("".join(blocks[0].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidSession("the PEM text's session block is not valid base64") from error


def integers(data: bytes) -> dict[int, int]:
    """The integers in a session's DER by context tag; others are passed over."""
    found = {}
    content = _element(data, 0)[1]
    at = 0
    while at < len(content):
        tag, inside, at = _element(content, at)
        if tag & 0xE0 == 0xA0 and inside[:1] == b"\x02":
            found[tag & 0x1F] = int.from_bytes(_element(inside, 0)[1], "big")
    return found


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag, content and end of the element at ``at``; the DER was read by OpenSSL before, so it is well-formed."""
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    return tag, data[at : at + length], at + length
