"""Many threads with early data at once: no request is lost, none comes twice, and nothing is stuck."""

from __future__ import annotations

import collections
import random
import ssl
import threading
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.early import ACCEPTED, MOST, NOT_SENT, REJECTED
from helpers.peers import client_context, server_context
from helpers.servers import STATEFUL, TICKETS13, Serving, Way, params
from helpers.sockets import EchoServer, dial
from sslsession import (
    ClientSessionCache,
    early_data_status,
    read_early_data,
    send_replayable,
    wait_for_handshake,
)
from sslsession.stores import MemoryStore, SQLiteStore

pytestmark = pytest.mark.binding

THREADS, SIZE = 8, 12


class Account:
    """What servers got: each request as often as it came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.got: collections.Counter[bytes] = collections.Counter()
        self.told: collections.Counter[Any] = collections.Counter()

    def serve(self, conn: ssl.SSLSocket) -> None:
        """Reads one request, early or late, and answers it; in one of three ways."""
        way = random.randrange(3)
        data = b""
        if way == 0:
            while piece := read_early_data(conn, 5):
                data += piece
        elif way == 1:
            data = wait_for_handshake(conn)
        conn.do_handshake()
        while len(data) < SIZE:
            piece = conn.recv(SIZE - len(data))
            assert piece, "a request was lost"
            data += piece
        with self._lock:
            self.got[data] += 1
        conn.sendall(data)

    def ask(self, client: ssl.SSLContext, port: int, data: bytes) -> None:
        """Sends one request, and reads its answer and the tickets with it."""
        with dial(port, client, prepare=lambda conn: send_replayable(conn, data)) as conn:
            answer = b""
            while len(answer) < SIZE:
                answer += conn.recv(100)
            assert answer == data
            with self._lock:
                self.told[early_data_status(conn)] += 1
            if random.randrange(2):
                conn.unwrap()

    def each_once(self, count: int) -> None:
        """AssertionError where one was lost, or came twice."""
        assert len(self.got) == count
        assert set(self.got.values()) == {1}


def crowd(way: Way, ca: Authority, identity: Identity, store: Any, requests: int) -> None:
    serving, account, errors = Serving(way, store, max_early_data=MOST), Account(), list[BaseException]()
    server, client = serving.attach(server_context(identity)), client_context(ca, version="1.3")
    cache = ClientSessionCache(early_data=True, tickets_per_peer=64)
    cache.attach(client)

    def work(number: int) -> None:
        try:
            for each in range(requests):
                account.ask(client, echo.port, b"%05d, %05d" % (number, each))
        except BaseException as error:
            errors.append(error)

    with EchoServer(server, prepare=account.serve) as echo:
        threads = [threading.Thread(target=work, args=[number]) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    assert errors == []
    account.each_once(THREADS * requests)
    assert sum(account.told.values()) == THREADS * requests
    assert account.told[ACCEPTED] + account.told[REJECTED] > account.told[NOT_SENT]
    assert account.told[ACCEPTED] == serving.cache.stats()["early_data"]
    assert account.told[ACCEPTED] > 0
    cache.close()
    serving.close()


@pytest.mark.parametrize("way", params(STATEFUL, TICKETS13))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_each_request_comes_once(
    way: Way, kind: str, ca: Authority, server_identity: Identity, tmp_path: Any
) -> None:
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "own" / "s.db", timeout=5)
    crowd(way, ca, server_identity, store, 20)
    store.close()


@pytest.mark.soak
@pytest.mark.parametrize("way", params(STATEFUL, TICKETS13))
def test_soak_each_of_many_requests_comes_once(way: Way, ca: Authority, server_identity: Identity) -> None:
    crowd(way, ca, server_identity, MemoryStore(), 2000)
