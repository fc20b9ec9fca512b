"""A client that proposes hundreds of ids at once: they are looked up in one call, and have one timeout together."""

from __future__ import annotations

import contextlib
import os
import ssl
import struct
import threading
import time

import pytest

from helpers.bad_days import GENEROUS, FakeStore
from helpers.certs import Authority
from helpers.memory import Pair
from helpers.servers import RESUMED, STATEFUL, Serving, earn, offer

pytestmark = pytest.mark.binding

IDS = 500
PRE_SHARED_KEY = 41
RECORD = 16384


def hello_with_ids(hello: bytes, many: int) -> bytes:
    """A TLS 1.3 ClientHello, and in it so many ids that nobody ever gave (RFC 8446 4.2.11)."""
    body = hello[9:]
    at = 34 + 1 + body[34]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    ids = b"".join(struct.pack(">H32sI", 32, os.urandom(32), 0) for _ in range(many))
    binders = (b"\x20" + bytes(32)) * many
    proposed = struct.pack(">H", len(ids)) + ids + struct.pack(">H", len(binders)) + binders
    extensions = body[at + 2 :] + struct.pack(">HH", PRE_SHARED_KEY, len(proposed)) + proposed
    body = body[:at] + struct.pack(">H", len(extensions)) + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    pieces = (message[start : start + RECORD] for start in range(0, len(message), RECORD))
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece for piece in pieces)


class SlowStore(FakeStore):
    """A store that finds nothing, slowly, but well in time."""

    timeout = 0.5
    delay = 0.4

    def take(self, key: bytes | str) -> bytes | None:
        if self.delay:
            threading.Event().wait(self.delay)
        return super().take(key)


def test_they_have_one_timeout_together(ca: Authority, server: ssl.SSLContext) -> None:
    store, client = SlowStore(), STATEFUL.client(ca)
    serving = Serving(STATEFUL, store)
    serving.attach(server)
    pair = Pair(client, server)
    with contextlib.suppress(ssl.SSLWantReadError):
        pair.client.do_handshake()
    pair.to_server.write(hello_with_ids(pair.to_server.read(), IDS))
    began = time.monotonic()
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.do_handshake()
    assert time.monotonic() - began < store.timeout + GENEROUS
    assert store.asked["take"] < IDS / 2
    assert pair.to_client.pending, "the handshake goes on in full"
    store.delay = 0
    assert offer(client, server, earn(client, server)) == RESUMED, "and nobody else is kept from resuming"
    serving.close()
