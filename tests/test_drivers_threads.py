"""One connection of the blocking driver in several threads: one sends, one receives, one closes."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import client_context
from helpers.sockets import aside
from helpers.tls import serving
from sslsession import SessionError, TLSConnection
from sslsession.drivers import BlockingConnection

pytestmark = pytest.mark.binding

TIMEOUT = 20.0
AMOUNT = 2**21
PIECES = 20


@pytest.fixture(params=[TIMEOUT, None], ids=["with a timeout", "without"])
def pair(
    ca: Authority, server_identity: Identity, request: pytest.FixtureRequest
) -> Iterator[tuple[BlockingConnection, BlockingConnection]]:
    """A client and a server; threads change over as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    ours, theirs = socket.socketpair()
    client = BlockingConnection(TLSConnection("localhost", context=client_context(ca)), timeout=request.param)
    server = BlockingConnection(serving(server_identity), timeout=request.param)
    with aside(lambda: server.accept(theirs)):
        client._adopt(ours, None if request.param is None else client._ends(), accepted=False)
    yield client, server
    client.close()
    server.close()
    sys.setswitchinterval(interval)


def receive(conn: BlockingConnection, amount: int) -> bytes:
    got = bytearray()
    while len(got) < amount:
        piece = conn.recv()
        assert piece, "it ended early"
        got += piece
    return bytes(got)


def send(conn: BlockingConnection, piece: bytes) -> int:
    return sum(conn.send(piece) for _ in range(AMOUNT // len(piece)))


def run(*calls: Callable[[], Any]) -> list[Any]:
    """In a thread each; what they returned."""
    found: list[Any] = [None] * len(calls)

    def call(number: int) -> None:
        try:
            found[number] = calls[number]()
        except BaseException as error:
            found[number] = error

    threads = [threading.Thread(target=call, args=[number], daemon=True) for number in range(len(calls))]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
        assert not each.is_alive(), found
    return found


@pytest.mark.parametrize("size", [2**10, 2**15, 2**18])
def test_both_send_and_receive(pair: tuple[BlockingConnection, BlockingConnection], size: int) -> None:
    """Nobody waits for who waits for him."""
    client, server = pair
    ping, pong = b"i" * size, b"o" * size
    sent, told, got, answer = run(
        lambda: send(client, ping),
        lambda: send(server, pong),
        lambda: receive(server, AMOUNT),
        lambda: receive(client, AMOUNT),
    )
    assert (sent, told) == (AMOUNT, AMOUNT)
    assert (got, answer) == (b"i" * AMOUNT, b"o" * AMOUNT)


def test_what_several_send_arrives_call_by_call(pair: tuple[BlockingConnection, BlockingConnection]) -> None:
    client, server = pair
    size = 100_000
    calls = [lambda letter=letter: client.send(letter * size) for letter in (b"a", b"b", b"c")]
    *sent, got = run(*calls, lambda: receive(server, 3 * size))
    assert sent == [size] * 3
    assert sorted(got[at : at + size] for at in range(0, 3 * size, size)) == [
        b"a" * size,
        b"b" * size,
        b"c" * size,
    ]


def test_several_receive(pair: tuple[BlockingConnection, BlockingConnection]) -> None:
    client, server = pair

    def some() -> int:
        return sum(len(server.recv(1000)) for _ in range(PIECES))

    sent, *got = run(lambda: client.send(bytes(1000 * 3 * PIECES)), some, some, some)
    assert sent == 1000 * 3 * PIECES
    assert all(isinstance(each, int) for each in got)


def test_closing_wakes_who_waits(pair: tuple[BlockingConnection, BlockingConnection]) -> None:
    client, _ = pair
    waits = threading.Event()
    waiting = client._receive

    def receiving(ends: float | None) -> list[bytes]:
        waits.set()
        return waiting(ends)

    client._receive = receiving  # type: ignore[method-assign]

    def close() -> None:
        assert waits.wait(TIMEOUT)
        client.close()

    heard, _ = run(client.recv, close)
    assert heard == b"" or isinstance(heard, (OSError, SessionError, ValueError))


def test_a_sender_s_timeout_is_not_a_receiver_s(ca: Authority, server_identity: Identity) -> None:
    """Who sends gives up, as nobody reads; who receives goes on, and what was made is still sent in full."""
    ours, theirs = socket.socketpair()
    client = BlockingConnection(TLSConnection("localhost", context=client_context(ca)), timeout=0.2)
    server = BlockingConnection(serving(server_identity), timeout=TIMEOUT)
    with aside(lambda: server.accept(theirs)):
        client.timeout = TIMEOUT
        client._adopt(ours, client._ends(), accepted=False)
    client.timeout = 0.2
    with pytest.raises(TimeoutError):
        client.send(bytes(2**24))
    client.timeout = TIMEOUT
    server.send(b"words")
    assert client.recv() == b"words"

    def receive_all() -> bytes:
        got = bytearray()
        while not got.endswith(b"more"):
            got += server.recv()
        return bytes(got)

    with aside(receive_all) as heard:
        client.send(b"more")
    assert heard[0] == bytes(len(heard[0]) - 4) + b"more"
    client.close()
    server.close()


def test_a_server_s_pattern_in_many_threads(ca: Authority, server_identity: Identity) -> None:
    """`another` of one that has not begun, and whose settings a callback completes."""
    pattern = TLSConnection(
        server_side=True,
        on_init=lambda conn: setattr(
            conn, "certificate", (server_identity.cert_pem_path, server_identity.key_path)
        ),
    )
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        found = run(*[pattern.another] * 8)
    finally:
        sys.setswitchinterval(interval)
    assert {type(each) for each in found} == {TLSConnection}
