"""The versioned envelope of ``Session.to_bytes``: OpenSSL's DER and the facts that it drops.

    magic    4 bytes  8b 53 53 4e
    version  1 byte   1
    length   4 bytes  of the body, big-endian
    check    4 bytes  CRC-32 of the body
    body     one value: a letter, then
             n, t, f  None, True, False
             i        1 byte length, big-endian two's complement
             b, s     4 bytes length, bytes (s: UTF-8)
             l, d     4 bytes count, values (d: key, value, key, value, ...)

Version 1's body is a dictionary; keys that are unknown are passed over. Nothing in it is trusted: a session from bytes
is verified again before it is used.
"""

from __future__ import annotations

import binascii
import struct
from typing import Any

from sslsession.errors import InvalidSession

MAGIC = b"\x8bSSN"
VERSION = 1
HEADER = struct.Struct(">4sBII")
DEEPEST = 8
LARGEST = 1 << 20
"""Bytes. A session with a long chain has some ten thousand."""


def is_envelope(data: bytes) -> bool:
    """Whether ``data`` begins as an envelope does."""
    return data[: len(MAGIC)] == MAGIC


def pack(body: dict[str, Any]) -> bytes:
    """The envelope around a dictionary of plain values."""
    written = bytearray()
    _write(body, written)
    return HEADER.pack(MAGIC, VERSION, len(written), binascii.crc32(written)) + bytes(written)


def unpack(data: bytes) -> dict[str, Any]:
    """The dictionary in an envelope. Errors: :class:`InvalidSession` that says what is wrong with it."""
    if not is_envelope(data):
        raise InvalidSession(
            "these bytes are no session envelope: they do not begin as Session.to_bytes() writes them"
        )
    if len(data) > LARGEST:
        raise InvalidSession(f"{len(data)} bytes are no session envelope: it has {LARGEST} at most")
    if len(data) < HEADER.size:
        raise InvalidSession(f"the session envelope is cut: {len(data)} bytes, not even its header")
    _, version, length, check = HEADER.unpack_from(data)
    if version > VERSION:
        raise InvalidSession(
            f"the session envelope is of version {version}, newer than this sslsession reads ({VERSION}); "
            "upgrade sslsession, or write the session with the older one"
        )
    body = data[HEADER.size :]
    if version < 1 or len(body) < length:
        raise InvalidSession(f"the session envelope is cut: {len(body)} bytes where {length} are announced")
    if len(body) > length:
        raise InvalidSession(f"{len(body) - length} bytes follow the session envelope's end")
    if binascii.crc32(body) != check:
        raise InvalidSession("the session envelope is damaged: its checksum is wrong")
    try:
        value, end = _read(body, 0, 0)
    except (IndexError, TypeError, ValueError, struct.error) as error:
        raise InvalidSession("the session envelope is damaged: its body cannot be read") from error
    if end != len(body) or not isinstance(value, dict):
        raise InvalidSession("the session envelope is damaged: its body is not one dictionary")
    return value


def _write(value: Any, out: bytearray) -> None:
    if value is None:
        out += b"n"
    elif isinstance(value, bool):
        out += b"t" if value else b"f"
    elif isinstance(value, int):
        data = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        out += b"i" + bytes([len(data)]) + data
    elif isinstance(value, (bytes, str)):
        data = value.encode() if isinstance(value, str) else value
        out += (b"s" if isinstance(value, str) else b"b") + struct.pack(">I", len(data)) + data
    elif isinstance(value, dict):
        out += b"d" + struct.pack(">I", len(value))
        for key, item in value.items():
            _write(key, out)
            _write(item, out)
    else:
        out += b"l" + struct.pack(">I", len(value))
        for item in value:
            _write(item, out)


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > DEEPEST:
        raise ValueError("too deep")
    kind, at = data[at : at + 1], at + 1
    if kind in (b"n", b"t", b"f"):
        return {b"n": None, b"t": True, b"f": False}[kind], at
    if kind == b"i":
        end = at + 1 + data[at]
        return int.from_bytes(_slice(data, at + 1, end), "big", signed=True), end
    (size,) = struct.unpack_from(">I", data, at)
    at += 4
    if kind in (b"b", b"s"):
        text = _slice(data, at, at + size)
        return (text.decode() if kind == b"s" else text), at + size
    if kind not in (b"l", b"d"):
        raise ValueError("unknown kind of value")
    items = []
    for _ in range(size * (2 if kind == b"d" else 1)):
        item, at = _read(data, at, depth + 1)
        items.append(item)
    if kind == b"l":
        return tuple(items), at
    if not all(type(key) is str for key in items[::2]):
        raise ValueError("a key is no text")
    return dict(zip(items[::2], items[1::2])), at


def _slice(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise ValueError("cut")
    return data[start:end]
