"""Bytes of sessions, damaged in many ways, and what reading them may do."""

from __future__ import annotations

import binascii
import random
import struct
from collections.abc import Callable, Iterator

from helpers.openssl_calls import openssl
from helpers.sessions import values
from sslsession import InvalidSession, Session

HEADER = struct.Struct(">4sBII")
MUTATIONS = 2_000


def enveloped(body: bytes, version: int = 1) -> bytes:
    """An envelope around a body, its length and checksum right."""
    return HEADER.pack(b"\x8bSSN", version, len(body), binascii.crc32(body)) + body


def body_of(session: Session) -> bytes:
    """What is in the envelope of a session."""
    return session.to_bytes()[HEADER.size :]


def touch(session: Session) -> None:
    """Read all that can be read; what a session from bytes says may be wrong, and must never be a crash."""
    values(session)
    session.describe(secrets=True)
    repr(session)
    session.to_pem()
    assert session.reusable_as(session)
    Session.from_bytes(session.to_bytes())


def mutated(data: bytes, seed: int) -> Iterator[bytes]:
    """2,000 damaged forms of `data`, the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(MUTATIONS):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            at = chance.randrange(len(changed))
            how = chance.randrange(4)
            if how == 0:
                changed[at] ^= 1 << chance.randrange(8)
            elif how == 1:
                changed[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            elif how == 2:
                del changed[at : at + chance.randrange(1, 9)]
            else:
                changed[at:at] = chance.randbytes(4)
        yield bytes(changed)


def read_or_refuse(read: Callable[[bytes], Session], data: bytes) -> None:
    """`InvalidSession`, or a session that can be read all over; and nothing is left behind."""
    try:
        touch(read(data))
    except InvalidSession:
        pass
    assert openssl.ERR_peek_last_error() == 0, "nothing stays in OpenSSL's queue of errors"
