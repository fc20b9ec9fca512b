"""`sslsession serve --early-data`: what it takes, answers at once, refuses a second time, and says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from helpers import serving
from helpers.certs import Authority, Identity
from helpers.clients import entries, eventually
from helpers.command import sslsession
from helpers.early_programs import REQUEST, Client, fetch, first_flight
from helpers.peers import client_context, server_context
from helpers.serving import Serving
from sslsession import ClientSessionCache, EarlyData, ServerSessionCache, write_early_data
from sslsession.serving import worker
from sslsession.stores import SQLiteStore

LINE = b"early-words\n"
SUITE = "TLS_AES_256_GCM_SHA384"
POST = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
REPLAYS, WORKERS, TICKETS = 24, 4, 2
OURS = (b"sslsession-early-1:", b"sslsession-server-1:")
"""How the keys of a store begin under which are tokens of tickets, and sessions."""
named = serving.named
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")


@pytest.fixture
def client(ca: Authority) -> Iterator[ssl.SSLContext]:
    """A context whose sessions may be used for early data."""
    context = client_context(ca)
    with ClientSessionCache(early_data=True) as cache:
        cache.attach(context)
        yield context


def told(server: Serving, count: int) -> list[tuple[bool | None, str | None]]:
    """Of so many connections, whether each resumed and what became of its early data."""
    server.expect(rf"(?m)(?:^{{\"event\": \"connection\"[^\n]*\n){{{count}}}", 20)
    found = [each for each in server.events() if each["event"] == "connection"]
    return [(each["resumed"], each["early_data"]) for each in found]


def test_openssl_and_the_lines_agree(ca: Authority, named: list[Any], tmp_path: Path) -> None:
    openssl = Client(ca, tmp_path)
    with Serving(*named, "--early-data", 4096) as server:
        openssl.earn(server.port)
        verdict, done = openssl.send(server.port, LINE)
        assert (verdict, LINE.decode() in done.output) == ("accepted", True)
        assert openssl.send(server.port, LINE)[0] == "rejected"
        server.expect("0-RTT rejected\n")
    lines = server.output.splitlines()
    assert "  # then -sess_in, -early_data FILE" in lines[1]
    assert lines[4:] == [
        f"worker 1  TLSv1.3  full     localhost  {SUITE}",
        f"worker 1  TLSv1.3  resumed  localhost  {SUITE}  0-RTT accepted",
        f"worker 1  TLSv1.3  resumed  localhost  {SUITE}  0-RTT rejected",
    ]


def test_a_request_is_answered_before_the_handshake_is_done(client: ssl.SSLContext, named: list[Any]) -> None:
    with Serving(*named, "--early-data", 4096, "--json") as server:
        found = [fetch(server.port, client) for _ in range(3)]
        assert told(server, 3) == [(False, None), (True, "accepted"), (True, "accepted")]
    assert [each.status for each in found] == [EarlyData.NOT_SENT, *[EarlyData.ACCEPTED] * 2]
    facts = [dict(re.findall(r"(?m)^(\w.*): (.*)$", each.answer.decode())) for each in found]
    assert [each["early data"] for each in facts] == ["-", "accepted", "accepted"]
    assert facts[1] == {**facts[0], "session": "resumed", "early data": "accepted"}


@pytest.mark.parametrize("size", [100, 16000, 70000])
def test_what_is_not_http_is_echoed(ca: Authority, named: list[Any], tmp_path: Path, size: int) -> None:
    openssl, line = Client(ca, tmp_path), b"~" * (size - 1) + b"\n"
    with Serving(*named, "--early-data", 100_000) as server:
        openssl.earn(server.port)
        verdict, done = openssl.send(server.port, line)
    assert verdict == "accepted"
    assert 0 <= done.output.count("~") - (size - 1) < 50, "of what it prints besides"


def begin(ca: Authority, identity: Identity, said: bytes, protocol: str = "auto") -> worker.EarlyAnswers:
    """What a worker makes of early data, and of a handshake that is done after it."""
    context, trusting = server_context(identity), client_context(ca)
    records: list[ssl.SSLSocket] = []
    with ServerSessionCache(max_early_data=4096) as cache, ClientSessionCache(early_data=True) as kept:
        cache.attach(context)
        kept.attach(trusting)
        for early in (b"", said):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                for each in (ours, theirs):
                    each.setblocking(False)
                conn = context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
                peer = trusting.wrap_socket(
                    theirs, server_hostname="localhost", do_handshake_on_connect=False
                )
                with conn, peer:
                    hasty = worker.EarlyAnswers(
                        protocol, lambda conn: records.append(conn) or dict(worker.UNKNOWN)
                    )
                    assert write_early_data(peer, early) == len(early)
                    asyncio.run(shake(conn, peer, hasty))
    return hasty


async def shake(conn: ssl.SSLSocket, peer: ssl.SSLSocket, hasty: worker.EarlyAnswers) -> None:
    """Both sides' handshakes, and what brings the client its tickets."""

    async def listen() -> None:
        await worker._do(peer, peer.do_handshake)
        while await worker._do(peer, peer.recv, 4096) != b"over":
            pass

    async def serve() -> None:
        assert await worker._handshake(conn, hasty) is None
        await worker._write(conn, b"over")

    await asyncio.gather(listen(), serve())


@pytest.mark.parametrize(
    ("said", "protocol", "answered", "echoed", "waiting"),
    [
        (REQUEST, "auto", True, False, b""),
        (REQUEST, "http", True, False, b""),
        (REQUEST, "echo", False, True, b""),
        (b"HEAD / HTTP/1.1\r\n\r\n", "auto", True, False, b""),
        (POST, "auto", False, False, POST),
        (POST.replace(b"POST", b"GET"), "auto", False, False, POST.replace(b"POST", b"GET")),
        (REQUEST[:-2], "auto", False, False, REQUEST[:-2]),
        (LINE, "http", False, False, LINE),
        (LINE, "auto", False, True, b""),
    ],
)
def test_only_what_is_safe_is_answered_early(
    ca: Authority,
    server_identity: Identity,
    said: bytes,
    protocol: str,
    answered: bool,
    echoed: bool,
    waiting: bytes,
) -> None:
    hasty = begin(ca, server_identity, said, protocol)
    assert (hasty.answered, hasty.echoed, hasty.waiting) == (answered, echoed, waiting)


def test_a_request_that_has_to_wait_is_answered_after_the_handshake(
    ca: Authority, named: list[Any], tmp_path: Path
) -> None:
    openssl = Client(ca, tmp_path)
    with Serving(*named, "--early-data", 4096) as server:
        openssl.earn(server.port)
        verdict, done = openssl.send(server.port, POST, until="worker: 1")
    assert (verdict, "early data: accepted" in done.output) == ("accepted", True)


def replayed(port: int, flight: bytes, times: int) -> None:
    """Sends what a client sent at first, over as many connections, each until the server has answered."""
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), 20) as raw:
            raw.sendall(flight)
            assert raw.recv(65536)


@needs_fork
@pytest.mark.parametrize("keys", [("--keys", "shared"), ("--no-tickets",)], ids=["tickets", "ids"])
def test_a_replay_is_accepted_by_no_worker(
    client: ssl.SSLContext, named: list[Any], tmp_path: Path, keys: tuple[str, ...]
) -> None:
    path = tmp_path / "store.db"
    shared = ["--workers", WORKERS, "--store", f"sqlite:{path}", *keys]
    with Serving(*named, *shared, "--early-data", 4096, "--json") as server:
        fetch(server.port, client)
        with contextlib.closing(SQLiteStore(path)) as store:
            eventually(lambda: sum(each.key.startswith(OURS) for each in entries(store)) >= TICKETS)
        replayed(server.port, first_flight(client), REPLAYS)
        found = [each for _, each in told(server, 1 + REPLAYS)]
        workers = {each["worker"] for each in server.events() if each["event"] == "connection"}
    assert sorted(found[1:]) == ["accepted", *["rejected"] * (REPLAYS - 1)]
    assert len(workers) > 1


@needs_fork
def test_workers_without_a_store_accept_only_what_they_issued(
    client: ssl.SSLContext, named: list[Any]
) -> None:
    with Serving(*named, "--workers", WORKERS, "--early-data", 4096, "--json") as server:
        fetch(server.port, client)
        replayed(server.port, first_flight(client), REPLAYS)
        told(server, 1 + REPLAYS)
        connections = [each for each in server.events() if each["event"] == "connection"]
    (issuer,) = (each["worker"] for each in connections if each["resumed"] is False)
    accepting = [each["worker"] for each in connections if each["early_data"] == "accepted"]
    assert accepting in ([], [issuer])


def test_a_client_that_leaves_after_its_early_data_is_told_of(
    client: ssl.SSLContext, named: list[Any]
) -> None:
    with Serving(*named, "--early-data", 4096) as server:
        fetch(server.port, client)
        replayed(server.port, first_flight(client), 1)
        server.expect(r"worker 1  failed  .*  0-RTT accepted\n")


def test_the_help_and_a_limit_that_is_none() -> None:
    said = " ".join(sslsession("serve", "--help").stdout.split())
    assert "--early-data BYTES How much a client may send before its handshake is done." in said
    assert "4294967295" in sslsession("serve", "--early-data", "-1", expect=2).stderr


def test_without_the_option_none_is_offered(client: ssl.SSLContext, named: list[Any]) -> None:
    with Serving(*named, "--json") as server:
        found = [fetch(server.port, client)[:2] for _ in range(2)]
        assert told(server, 2) == [(False, None), (True, None)]
    assert found == [(EarlyData.NOT_SENT, False), (EarlyData.NOT_SENT, True)]
