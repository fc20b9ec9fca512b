"""receive_data with records that were changed on their way: errors of ssl's, and an end, whatever they are."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable

import pytest

from helpers.contexts import client_context, server_context
from helpers.tls import pin_of
from sslsession import TLSConnection

ROUNDS = 250
STEPS_MOST = 40


def flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def header(data: bytes, chance: random.Random) -> bytes:
    """Another type, version or length of the first record."""
    changed = bytearray(data)
    at = chance.randrange(min(5, len(changed)))
    changed[at] = chance.randrange(256)
    return bytes(changed)


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    flip,
    header,
    lambda data, chance: data[: chance.randrange(len(data))],
    lambda data, chance: data[chance.randrange(len(data)) :],
    lambda data, chance: data + data,
    lambda data, chance: data + chance.randbytes(chance.randint(1, 300)),
    lambda data, chance: chance.randbytes(chance.randint(1, 300)) + data,
    lambda data, chance: chance.randbytes(len(data)),
    lambda data, chance: (
        b"\x15\x03\x03\x00\x02" + bytes([chance.randint(0, 3), chance.randrange(256)]) + data
    ),
    lambda data, chance: b"\x16\x03\x03\x00\x04\x00\x00\x00\x00" + data,
    lambda data, chance: b"",
]


def talk(client: TLSConnection, server: TLSConnection, strike: int, chance: random.Random) -> bool:
    """A conversation whose piece number `strike` is changed; whether it got so far."""
    client.connect()
    server.accept()
    failed: set[TLSConnection] = set()
    struck, pieces = False, 0
    for _ in range(STEPS_MOST):
        moved = False
        for source, target in ((client, server), (server, client)):
            if source.is_connected and pieces < strike + 3:
                source.send(chance.randbytes(chance.randint(1, 30000)))
            data = source.data_to_send()
            if not data:
                continue
            moved, pieces = True, pieces + 1
            if pieces == strike:
                data, struck = chance.choice(MUTATIONS)(data, chance), True
            try:
                target.receive_data(data)
            except ssl.SSLError as error:
                failed.add(target)
                with pytest.raises(type(error)):
                    target.receive_data(b"more")
        if not moved:
            break
    else:
        raise AssertionError("the peers talk for ever")
    for side in (client, server):
        try:
            side.receive_data(b"")
        except ssl.SSLError:
            pass
        side.close()
        side.close()
        assert isinstance(side.data_to_send(), bytes)
        assert not side.is_connected
    return struck


@pytest.mark.parametrize("strike", range(1, 7))
def test_changed_records_are_errors_of_ssl_and_nothing_else(
    ca, server_identity, client_identity, tls_version, strike
):
    """Before the handshake, inside and after it: ClientHello is the first piece, and data follows the fourth."""
    chance = random.Random(f"{tls_version} {strike}")
    clients = client_context(ca, version=tls_version, identity=client_identity)
    servers = server_context(server_identity, version=tls_version, client_ca=ca)
    client = TLSConnection("localhost", context=clients, validators=[pin_of(server_identity)])
    server = TLSConnection(
        server_side=True, context=servers, client_auth=True, validators=[pin_of(client_identity)]
    )
    struck = [talk(client, server, strike, chance) for _ in range(ROUNDS)]
    assert all(struck)


def test_noise_is_an_error_at_once_or_waits_for_more(ca, server_identity, tls_version):
    chance = random.Random(tls_version)
    client = TLSConnection("localhost", context=client_context(ca, version=tls_version))
    server = TLSConnection(server_side=True, context=server_context(server_identity, version=tls_version))
    for _ in range(ROUNDS):
        for side, begin in ((client, client.connect), (server, server.accept)):
            begin()
            try:
                while side.receive_data(chance.randbytes(chance.randint(1, 2000))):
                    raise AssertionError("noise was plaintext")
                side.receive_data(b"")
            except ssl.SSLError:
                pass
            assert not side.is_connected
            side.close()
