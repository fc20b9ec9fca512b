"""32 threads at a server whose caches, keys and hosts come and go meanwhile: no failed handshake, no crash."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import random
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import eventually
from helpers.crowd import Crowd
from helpers.memory import Pair
from helpers.openssl_calls import Unraisables
from helpers.servers import RESUMED, Hosts, Serving, Way, earn, host, renew
from sslsession import SessionError, SessionHooks

pytestmark = pytest.mark.binding

THREADS = 32
SOAK = float(os.environ.get("SSLSESSION_SOAK_SECONDS", "60"))


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """A freeze ends the run with the traceback of each thread."""
    faulthandler.dump_traceback_later(SOAK + 240, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def again_and_again(*tasks: Callable[[random.Random], object]) -> Iterator[None]:
    """Each task in a thread of its own, until the block ends; the first error of any is raised."""
    stop, errors = threading.Event(), list[BaseException]()

    def work(task: Callable[[random.Random], object], chance: random.Random) -> None:
        try:
            while not stop.is_set():
                task(chance)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=[task, random.Random(number)]) for number, task in enumerate(tasks)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    if errors:
        raise errors[0]


def come_and_go(way: Way, ca: Authority, identity: Identity, seconds: float) -> None:
    """All contexts have the same settings, so whatever is attached to which of them, no connection has to be cut."""
    client = way.client(ca)
    home = host(identity)
    hosts = Hosts(home, localhost=host(identity))
    serving, twin = Serving(way), Serving(way)
    serving.attach(home)
    lock = threading.Lock()

    def replace_a_host(chance: random.Random) -> None:
        fresh = host(identity)
        if chance.random() < 0.5:
            twin.attach(fresh)
            twin.contexts.clear()
        hosts.of["localhost"] = fresh
        hooks = SessionHooks(fresh, new=lambda conn, session: None, remove=lambda context, session: None)
        if chance.random() < 0.5:
            hooks.close()

    def attach_and_detach(chance: random.Random) -> None:
        with lock:
            for each in (serving._cache, serving._ring):
                if each is not None and chance.random() < 0.5:
                    each.detach(home)
            with contextlib.suppress(SessionError):
                serving.attach(home)
            serving.contexts.clear()

    def look_after(chance: random.Random) -> None:
        if way.cache:
            serving.cache.stats()
            serving.cache._poll()
            if chance.random() < 0.1:
                serving.cache.revoke(session_id=chance.randbytes(32))
        if way.ring:
            serving.ring.refresh()
            if chance.random() < 0.05:
                with contextlib.suppress(SessionError):  # too often for hosts with the same secret to follow
                    serving.ring.rotate()
        gc.collect(0)

    crowd = Crowd(client, lambda: home, threads=THREADS)
    with again_and_again(replace_a_host, attach_and_detach, look_after):
        crowd.run(seconds)
    assert crowd.connections
    if crowd.connections > 200:  # under valgrind there is no time for it
        assert crowd.reused
    twin.close()
    serving.close()


def test_everything_comes_and_goes(
    way: Way, ca: Authority, server_identity: Identity, unraisables: Unraisables
) -> None:
    come_and_go(way, ca, server_identity, seconds=0.6)
    gc.collect()
    assert unraisables.errors == []


@pytest.mark.soak
def test_soak_everything_comes_and_goes(way: Way, ca: Authority, server_identity: Identity) -> None:
    come_and_go(way, ca, server_identity, seconds=SOAK)


def test_nothing_comes_or_goes(way: Way, serving: Serving, ca: Authority, server_identity: Identity) -> None:
    """The honest twin: whoever may resume does."""
    home = serving.attach(host(server_identity))
    Hosts(home, localhost=host(server_identity))
    crowd = Crowd(way.client(ca), lambda: home, threads=THREADS)
    crowd.run(0.5)
    assert crowd.reused > crowd.connections / 4
    if way.cache:
        stats = serving.cache.stats()
        assert stats["resumed"] == stats["openssl_hits"] >= crowd.reused


def test_hosts_that_are_reloaded(
    way: Way, serving: Serving, ca: Authority, other_ca: Authority, server_identity: Identity
) -> None:
    """With client certificates, and settings that differ: some are cut, and none is resumed where it is not trusted."""
    home = serving.attach(host(server_identity, ca, other_ca))
    trusting = [host(server_identity, ca, other_ca), host(server_identity, ca)]
    other = host(server_identity, other_ca)
    hosts = Hosts(home, localhost=trusting[0])
    client = way.client(ca, ca.issue("client.example", client=True))
    outcomes: list[str] = []
    strangers: list[str] = []

    def reload(chance: random.Random) -> None:
        hosts.of["localhost"] = chance.choice([*trusting, other])

    def look(pair: Pair) -> None:
        if pair.server.context is other:
            strangers.append(pair.server.version() or "")

    def connect(chance: random.Random) -> None:
        with contextlib.suppress(ssl.SSLError):
            outcomes.append(renew(client, home, earn(client, home), then=look)[0])

    with again_and_again(reload, *[connect] * 8):
        eventually(lambda: len(outcomes) >= 100)
    assert strangers == []
    assert RESUMED in outcomes
