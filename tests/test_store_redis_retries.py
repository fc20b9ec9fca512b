"""A client of redis-py that repeats by itself what got no answer: what was taken meanwhile does not come back."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from helpers.plain import TIMEOUT, plain_server
from helpers.stores import redis_server
from sslsession import stores
from sslsession.errors import StoreError

redis = pytest.importorskip("redis")

LATER = time.time() + 1000


@contextmanager
def answers_lost(to: int, taken: threading.Event) -> Iterator[tuple[int, threading.Event]]:
    """A port that leads to a server, until the server has executed a transaction: its answer never comes.

    The connection breaks when `taken` is set; those after it are sound.
    """
    lost = threading.Event()

    def relay(near: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", to), TIMEOUT) as far:
            up = threading.Thread(target=carry, args=[near, far])
            up.start()
            try:
                while data := far.recv(65536):
                    if b"QUEUED" in data and not lost.is_set():
                        lost.set()
                        assert taken.wait(TIMEOUT), "nobody took it"
                        break
                    near.sendall(data)
            finally:
                for each in (near, far):
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
                up.join()

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    with plain_server(relay) as port:
        yield port, lost


def test_a_value_whose_answer_was_lost_is_not_written_again() -> None:
    taken = threading.Event()
    with redis_server() as server, answers_lost(server.port, taken) as (port, lost):
        retrying = redis.Redis(port=port, socket_timeout=TIMEOUT)
        with retrying, redis.Redis(port=server.port) as plain:
            mine, other = (stores.RedisStore(each, insecure=True) for each in (retrying, plain))
            said: list[Any] = []

            def write() -> None:
                try:
                    mine.add(b"token", b"1", expires_at=LATER)
                except StoreError as error:
                    said.append(error)

            writing = threading.Thread(target=write)
            writing.start()
            assert lost.wait(TIMEOUT)
            found = []
            while not found:
                found = [value for value in [other.take(b"token")] if value is not None]
            taken.set()
            writing.join(TIMEOUT)
            assert found == [b"1"]
            assert other.take(b"token") is None
            assert "Redis at 127.0.0.1" in str(said[0]) or "Redis at localhost" in str(said[0])
            mine.add(b"token", b"2", expires_at=LATER)
            assert other.take(b"token") == b"2"
