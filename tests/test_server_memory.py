"""How much of this process's memory a server's sessions take, and that eviction holds the size."""

from __future__ import annotations

import gc
import ssl
import time

import pytest

from helpers.certs import Authority, Identity
from helpers.memory_use import resident
from helpers.peers import client_context, connect, server_context
from sslsession import MemoryStore, ServerSessionCache
from sslsession.server import PREFIX

MILLION = 1_000_000


@pytest.fixture
def server(server_identity: Identity) -> ssl.SSLContext:
    return server_context(server_identity)


def test_the_size_holds_and_what_went_is_counted(
    ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    client = client_context(ca, version=tls_version)
    with ServerSessionCache(size=10, tickets=2) as cache:
        cache.attach(server)
        for _ in range(15):
            connect(client, server).close()
        found = cache.stats()
        each = 2 if tls_version == "1.3" else 1
        assert (found["stored"], found["evicted"]) == (15 * each, 15 * each - 10)


def test_the_last_used_stay(ca: Authority, server: ssl.SSLContext) -> None:
    client, store = client_context(ca, version="1.2"), MemoryStore(3)
    with ServerSessionCache(store) as cache:
        cache.attach(server)
        first = connect(client, server)
        session = first.client.session
        first.close()
        for _ in range(5):
            connect(client, server).close()
            pair = connect(client, server, session=session)
            assert pair.client.session_reused
            pair.close()
        assert len(store) == 3
        assert store.evicted == 3


@pytest.mark.soak
def test_soak_a_million_sessions_behind_a_live_server(ca: Authority, server: ssl.SSLContext) -> None:
    """Each as large as OpenSSL makes them; handshakes go on as fast, and the next million evicts the first."""
    client, store = client_context(ca, version="1.2"), MemoryStore(MILLION)
    with ServerSessionCache(store) as cache:
        cache.attach(server)
        pair = connect(client, server)
        session = pair.client.session
        pair.close()
        (entry,) = store.entries()
        gc.collect()
        before = resident()
        until = time.time() + 3600
        for number in range(MILLION):
            store.add(PREFIX + b"%032d" % number, bytes(len(entry.value)), expires_at=until)
            if number % 1000 == 0:
                assert store.peek(entry.key) is not None
        used = (resident() - before) / MILLION
        assert used < len(entry.key) + len(entry.value) + 250
        pair = connect(client, server, session=session)
        assert pair.client.session_reused
        pair.close()
        for number in range(MILLION, MILLION + 1000):
            store.add(PREFIX + b"%032d" % number, bytes(len(entry.value)), expires_at=until)
        assert len(store) == MILLION
