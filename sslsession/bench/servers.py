"""What a cache and a ring cost a server: the time of its own calls alone, in turns with OpenSSL's own cache and key.

Over a Redis, in turns with the same cache in memory that makes a bare round trip to that Redis for each of its own: the
time that passes, for most of it is waiting.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Callable

from sslsession.bench import identity
from sslsession.bench.costs import PATIENCE, SOON, Cost
from sslsession.bench.measure import rotated
from sslsession.bench.run import WARM
from sslsession.handover import get_session, set_session
from sslsession.server import ServerSessionCache
from sslsession.session import Session
from sslsession.stores import MemoryStore
from sslsession.stores.base import Key, as_key
from sslsession.tickets import TicketKeyRing


def _cache(context: ssl.SSLContext, ours: bool) -> None:
    if ours:
        ServerSessionCache().attach(context)
    else:
        context.options |= ssl.OP_NO_TICKET


def _ring(context: ssl.SSLContext, ours: bool) -> None:
    if ours:
        TicketKeyRing.random().attach(context)


PREFIX = b"sslsession-bench:"
KINDS = {"cache": _cache, "ring": _ring}
"""By what is measured: how a context gets ours, or OpenSSL's own and is otherwise equal."""


def measure_servers(
    versions: Sequence[str], rounds: int, handshakes: int, redis: str | None = None
) -> Iterator[Cost]:
    """What a resumed handshake costs the server, over what it costs with OpenSSL's own means.

    versions: keys of ``identity.VERSIONS``. redis: a URL to measure too, ``insecure`` of itself.
    Errors: :class:`~sslsession.errors.StoreError` where Redis cannot be reached.
    """
    for version in versions:
        for kind, equip in KINDS.items():
            title = f"server, TLS {version}: {kind}, of OpenSSL's own"
            yield Cost(f"server_{kind}_{version}", title, _ratio(version, equip, rounds, handshakes), "x")
        if redis is not None:
            title = f"server, TLS {version}: Redis, beyond round trips"
            yield Cost(
                f"server_redis_{version}", title, _beyond(version, redis, rounds, handshakes) * 1e6, "us"
            )


def _ratio(
    version: str, equip: Callable[[ssl.SSLContext, bool], None], rounds: int, handshakes: int
) -> float:
    visits = {}
    for name in ("own", "ours"):
        context = identity.server_context(version)
        equip(context, name == "ours")
        visits[name] = Visits(version, context)
        visits[name](WARM)
    ratios = []
    for number in range(rounds):
        spent = {name: visits[name](handshakes) for name in rotated(list(visits), number)}
        ratios.append(spent["ours"] / spent["own"])
    return median(ratios)


def _beyond(version: str, url: str, rounds: int, handshakes: int) -> float:
    """Seconds of one handshake, over a Redis, that are neither the same in memory nor bare round trips."""
    from sslsession.stores import RedisStore

    with RedisStore(url, insecure=True, prefix=PREFIX, timeout=PATIENCE) as store, _Bare(url) as bare:
        caches = {"redis": ServerSessionCache(store), "bare": ServerSessionCache(bare)}
        visits = {}
        for name, cache in caches.items():
            context = identity.server_context(version)
            cache.attach(context)
            visits[name] = Visits(version, context)
            visits[name](WARM)
        beyond = []
        for number in range(rounds):
            spent = {name: visits[name](handshakes) for name in rotated(list(visits), number)}
            beyond.append((spent["redis"] - spent["bare"]) / handshakes)
        for cache in caches.values():
            cache.close()
        store.clear()  # both, for they have one prefix
    return median(beyond)


class _Bare(MemoryStore):
    """This process's memory, and for each thing that a cache asks it for one command of the same size to a Redis."""

    def __init__(self, url: str) -> None:
        import redis

        super().__init__()
        self._client = redis.Redis.from_url(url, socket_timeout=PATIENCE)

    def add(self, key: Key, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        super().add(key, value, expires_at=expires_at, keep=keep)
        self._client.set(PREFIX + as_key(key), value, ex=int(SOON))

    def peek(self, key: Key) -> bytes | None:
        self._client.get(PREFIX + as_key(key))
        return super().peek(key)

    def take(self, key: Key) -> bytes | None:
        self._client.get(PREFIX + as_key(key))
        return super().take(key)

    def close(self) -> None:
        self._client.close()
        super().close()


class Visits:
    """Connections of a client that resumes each time and closes cleanly, for OpenSSL forgets what is dropped."""

    def __init__(self, version: str, server: ssl.SSLContext) -> None:
        self._client, self._server = identity.client_context(version), server
        self._session: Session | None = None
        self._spent = 0.0

    def __call__(self, count: int) -> float:
        """Makes so many; the seconds that the server's calls took."""
        self._spent = 0.0
        for _ in range(count):
            self._visit()
        return self._spent

    def _serve(self, call: Callable[..., Any], *arguments: Any) -> None:
        start = time.perf_counter()
        try:
            call(*arguments)
        except ssl.SSLWantReadError:
            pass
        finally:
            self._spent += time.perf_counter() - start

    def _visit(self) -> None:
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self._client.wrap_bio(there, back, server_hostname=identity.HOST)
        server = self._server.wrap_bio(back, there, server_side=True)
        if self._session is not None:
            set_session(client, self._session)
        for _ in range(2):
            _try(client.do_handshake)
            self._serve(server.do_handshake)
        client.do_handshake()
        self._serve(server.write, b"x")
        client.read(1)
        if client.version() == "TLSv1.3" or self._session is None:
            self._session = get_session(client)
        _try(client.unwrap)
        self._serve(server.unwrap)


def _try(call: Callable[[], object]) -> None:
    try:
        call()
    except ssl.SSLWantReadError:
        pass
