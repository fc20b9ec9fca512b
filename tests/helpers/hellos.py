"""TLS hellos read off the wire: what the peers said, from their bytes (RFC 8446 4.1, RFC 5246 7.4.1)."""

from __future__ import annotations

import ssl
import struct
from dataclasses import dataclass

from helpers.peers import Pair

CLIENT_HELLO, SERVER_HELLO = 1, 2
SUPPORTED_GROUPS, SIGNATURE_ALGORITHMS, ENCRYPT_THEN_MAC = 10, 13, 22


@dataclass(frozen=True)
class Hello:
    """A hello's suites (the server's: the one) and its extensions by number."""

    suites: tuple[int, ...]
    extensions: dict[int, bytes]

    def numbers(self, extension: int) -> list[int]:
        """The 16-bit numbers of an extension that is one list of them."""
        data = self.extensions[extension]
        return list(struct.unpack(f">{(len(data) - 2) // 2}H", data[2:]))


def hellos(pair: Pair) -> tuple[Hello, Hello]:
    """The client's and the server's hello of a pair that has not begun; it shakes hands."""
    for side in (pair.client, pair.server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
        if side is pair.client:
            said = _taken(pair.to_server)
    answer = _taken(pair.to_client)
    pair.handshake().exchange()
    return _parse(said, CLIENT_HELLO), _parse(answer, SERVER_HELLO)


def _taken(wire: ssl.MemoryBIO) -> bytes:
    data = wire.read()
    wire.write(data)
    return data


def _parse(data: bytes, kind: int) -> Hello:
    assert data[0] == 22, "a handshake record"
    assert data[5] == kind
    at = 5 + 4 + 2 + 32
    at += 1 + data[at]
    if kind == CLIENT_HELLO:
        (size,) = struct.unpack_from(">H", data, at)
        suites = struct.unpack_from(f">{size // 2}H", data, at + 2)
        at += 2 + size
        at += 1 + data[at]
    else:
        suites = struct.unpack_from(">H", data, at)
        at += 3
    (size,) = struct.unpack_from(">H", data, at)
    at, end = at + 2, at + 2 + size
    extensions = {}
    while at < end:
        number, size = struct.unpack_from(">HH", data, at)
        extensions[number] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return Hello(suites, extensions)
