"""What a cache and a ring cost a server: the time of its own calls alone, in turns with OpenSSL's own cache and key."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Callable

from sslsession.bench import identity
from sslsession.bench.costs import Cost
from sslsession.bench.measure import rotated
from sslsession.bench.run import WARM
from sslsession.handover import get_session, set_session
from sslsession.server import ServerSessionCache
from sslsession.session import Session
from sslsession.tickets import TicketKeyRing


def _cache(context: ssl.SSLContext, ours: bool) -> None:
    if ours:
        ServerSessionCache().attach(context)
    else:
        context.options |= ssl.OP_NO_TICKET


def _ring(context: ssl.SSLContext, ours: bool) -> None:
    if ours:
        TicketKeyRing.random().attach(context)


KINDS = {"cache": _cache, "ring": _ring}
"""By what is measured: how a context gets ours, or OpenSSL's own and is otherwise equal."""


def measure_servers(versions: Sequence[str], rounds: int, handshakes: int) -> Iterator[Cost]:
    """What a resumed handshake costs the server, over what it costs with OpenSSL's own means.

    versions: keys of ``identity.VERSIONS``.
    """
    for version in versions:
        for kind, equip in KINDS.items():
            title = f"server, TLS {version}: {kind}, of OpenSSL's own"
            yield Cost(f"server_{kind}_{version}", title, _ratio(version, equip, rounds, handshakes), "x")


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
