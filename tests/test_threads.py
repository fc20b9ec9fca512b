"""Threads at one server context: no freeze, no crash, and each session that was removed is reported once (fact 58)."""

from __future__ import annotations

import faulthandler
import os
import random
import ssl
import threading
from collections.abc import Iterator

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.crowd import Account, Crowd, collect, small_cache
from helpers.openssl_calls import flush
from helpers.peers import client_context, server_context

pytestmark = pytest.mark.binding

SOAK = float(os.environ.get("SSLSESSION_SOAK_SECONDS", "60"))


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """A freeze ends the run with the traceback of each thread."""
    faulthandler.dump_traceback_later(SOAK + 240, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def crowd_at_one_context(
    ca: Authority, identity: Identity, version: str | None, seconds: float, get: bool
) -> None:
    account = Account(answers=get)
    server = small_cache(server_context(identity, version=version, session_tickets=False))
    hooks = account.attach(server)
    crowd = Crowd(client_context(ca, version=version), lambda: server)
    crowd.run(seconds)
    assert crowd.connections
    if crowd.connections > 100:  # under valgrind there is no time for it
        assert crowd.reused
        assert account.asked
    flush(server)
    hooks.close()
    account.check()


def crowd_with_changing_contexts(ca: Authority, identity: Identity, version: str, seconds: float) -> None:
    """`sni_callback` gives half the connections another context; all contexts are replaced, and die, all the time."""
    account, lock = Account(), threading.Lock()
    held: list[sslsession.SessionHooks] = []
    current: list[ssl.SSLContext] = []
    counts = {"made": 0}

    def fresh() -> ssl.SSLContext:
        ctx = small_cache(server_context(identity, version=version, session_tickets=False))
        held.append(account.attach(ctx))
        counts["made"] += 1
        ctx.sni_callback = choose
        return ctx

    def choose(conn: ssl.SSLObject, name: str | None, ctx: ssl.SSLContext) -> None:
        if random.random() < 0.5:
            conn.context = current[-1]

    def server() -> ssl.SSLContext:
        with lock:
            if len(current) < 3 or random.random() < 0.05:
                current.append(fresh())
                del current[:-3]
            return random.choice(current)

    crowd = Crowd(client_context(ca, version=version), server)
    crowd.run(seconds)
    assert counts["made"] >= 3
    while current:
        current.pop().sni_callback = None
    collect()
    account.settle()
    for hooks in held:
        hooks.close()
    account.check()


@pytest.mark.parametrize("get", [False, True], ids=["new remove", "new remove get"])
def test_fact_58_four_threads_at_one_context(
    ca: Authority, server_identity: Identity, tls_version: str, get: bool
) -> None:
    crowd_at_one_context(ca, server_identity, tls_version, 1.5, get)


def test_fact_58_four_threads_while_contexts_change_and_die(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    crowd_with_changing_contexts(ca, server_identity, tls_version, 1.5)


@pytest.mark.soak
@pytest.mark.parametrize("version", [None, "1.2"], ids=["any version", "1.2"])
def test_soak_four_threads_at_one_context(
    ca: Authority, server_identity: Identity, version: str | None
) -> None:
    crowd_at_one_context(ca, server_identity, version, SOAK, get=True)


@pytest.mark.soak
def test_soak_four_threads_while_contexts_change_and_die(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    crowd_with_changing_contexts(ca, server_identity, tls_version, SOAK)


def test_hooks_come_and_go_while_threads_connect(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    account, stop = Account(), threading.Event()
    server = small_cache(server_context(server_identity, version=tls_version, session_tickets=False))
    client = client_context(ca, version=tls_version)
    hooks = account.attach(server)

    def restless() -> None:
        while not stop.is_set():
            for ctx in (client, server):
                with sslsession.SessionHooks(
                    ctx, new=lambda *_: None, remove=lambda *_: None, get=lambda *_: None
                ):
                    flush(server)

    thread = threading.Thread(target=restless)
    thread.start()
    try:
        Crowd(client, lambda: server).run(1.0)
    finally:
        stop.set()
        thread.join()
    flush(server)
    hooks.close()
    account.check()
