"""Early data is answered a round trip earlier: flights are counted here, not seconds. And what measures the seconds."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.delay import first_flight_only
from helpers.early_programs import REQUEST, streams, threads
from helpers.peers import client_context, server_context
from helpers.processes import require, run
from helpers.programs import nginx
from sslsession import (
    ClientSessionCache,
    EarlyData,
    ServerSessionCache,
    early_data_status,
    read_early_data,
    send_replayable,
    write_early_data,
)
from sslsession.bench import delay, identity
from sslsession.bench.delay import Link, Waited, measure_ways, serving
from sslsession.bench.report import delay_lines

LINE = b"early-words\n"
Host = Callable[[ssl.SSLContext], AbstractContextManager["tuple[int, object]"]]


@pytest.fixture
def client(ca: Authority) -> Iterator[ssl.SSLContext]:
    """A context whose sessions may be used for early data, on any port."""
    context = client_context(ca, version="1.3")
    with ClientSessionCache(early_data=True, same_host_any_port=True) as cache:
        cache.attach(context)
        yield context


@pytest.fixture
def server(server_identity: Identity) -> Iterator[ssl.SSLContext]:
    """A context that takes early data."""
    context = server_context(server_identity)
    with ServerSessionCache(max_early_data=4096) as cache:
        cache.attach(context)
        yield context


def flights(client: ssl.SSLContext, server: ssl.SSLContext, *, early: bool) -> tuple[int, bool, EarlyData]:
    """How many flights of the client came before the answer did; each side says all that it can in its turn."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(back, there, server_hostname="localhost")
    far = server.wrap_bio(there, back, server_side=True)

    def ask() -> Iterator[bytes]:
        while True:
            try:
                if early:
                    send_replayable(near, LINE)
                else:
                    near.do_handshake()
                    near.write(LINE)
                break
            except ssl.SSLWantReadError:
                yield b""
        while True:
            try:
                yield near.read(100)
            except ssl.SSLWantReadError:
                yield b""

    def answer() -> Iterator[None]:
        handshake = True
        while True:
            try:
                if not handshake:
                    far.write(far.read(100))
                elif heard := read_early_data(far):
                    write_early_data(far, heard)
                else:
                    far.do_handshake()
                    handshake = False
            except ssl.SSLWantReadError:
                yield

    asking, answering, count = ask(), answer(), 0
    while next(asking) != LINE:
        count += 1
        next(answering)
    next(answering)
    next(asking)  # tickets
    return count, bool(near.session_reused), early_data_status(near)


def test_an_answer_takes_one_flight_and_not_two(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    assert flights(client, server, early=True) == (2, False, EarlyData.NOT_SENT)
    assert flights(client, server, early=False) == (2, True, EarlyData.NOT_SENT)
    assert flights(client, server, early=True) == (1, True, EarlyData.ACCEPTED)


def visit(
    port: int, context: ssl.SSLContext, request: bytes, begins: bytes, rest: threading.Event | None
) -> None:
    """One connection; rest: what lets the client's second flight pass, when the answer is there."""
    with socket.create_connection(("127.0.0.1", port), 20) as raw:
        with context.wrap_socket(raw, server_hostname="localhost", do_handshake_on_connect=False) as conn:
            status = send_replayable(conn, request)
            assert status is (EarlyData.NOT_SENT if rest is None else EarlyData.ACCEPTED)
            assert conn.recv(len(begins)) == begins
            if rest is not None:
                rest.set()
            with contextlib.suppress(OSError):
                conn.unwrap()


@pytest.mark.parametrize("host", [threads, streams])
def test_servers_answer_the_first_flight(client: ssl.SSLContext, server: ssl.SSLContext, host: Host) -> None:
    with host(server) as (port, _), first_flight_only(port) as held:
        visit(port, client, LINE, LINE, None)
        visit(held.port, client, LINE, LINE, held.rest)


def test_nginx_answers_the_first_flight(client: ssl.SSLContext, server_identity: Identity) -> None:
    with nginx(server_identity, early_data=True) as running, first_flight_only(running.port) as held:
        visit(running.port, client, REQUEST, b"HTTP/1.1 200", None)
        visit(held.port, client, REQUEST, b"HTTP/1.1 200", held.rest)


class TestLink:
    """What lies between client and server in a measurement."""

    @pytest.mark.parametrize("seconds", [0, 0.001])
    def test_all_arrives_in_order(self, seconds: float) -> None:
        sent = [bytes([number % 256]) * (number * 37) for number in range(300)]
        heard = bytearray()

        def receive() -> None:
            conn, _ = listener.accept()
            with conn:
                while piece := conn.recv(65536):
                    heard.extend(piece)
                conn.sendall(bytes(reversed(heard)))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=receive)
            thread.start()
            with Link(listener.getsockname()[1], seconds) as link:
                with socket.create_connection(("127.0.0.1", link.port), 20) as conn:
                    for each in sent:
                        conn.sendall(each)
                    conn.shutdown(socket.SHUT_WR)
                    back = bytearray()
                    while piece := conn.recv(65536):
                        back += piece
            thread.join()
        assert bytes(heard) == b"".join(sent)
        assert bytes(reversed(back)) == bytes(heard)

    def test_nothing_arrives_before_its_time(self, server: ssl.SSLContext) -> None:
        with serving(server) as port, Link(port, 0.02) as link:
            with socket.create_connection(("127.0.0.1", link.port), 20) as conn:
                begun = time.monotonic()
                conn.sendall(b"no handshake\n")
                conn.recv(100)  # an alert, or the end
                assert time.monotonic() - begun >= 0.04

    def test_it_ends_in_the_middle_of_a_connection(self, server: ssl.SSLContext) -> None:
        with serving(server) as port:
            with Link(port, 0) as link:
                conn = socket.create_connection(("127.0.0.1", link.port), 20)
            with conn, contextlib.suppress(ConnectionError):
                assert conn.recv(1) == b""

    def test_where_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        with Link(port, 0) as link, socket.create_connection(("127.0.0.1", link.port), 20) as conn:
            with contextlib.suppress(ConnectionError):
                assert conn.recv(1) == b""


class TestMeasuring:
    def test_each_way_is_what_it_is_called(self) -> None:
        steps: list[str] = []
        found = delay.measure_link(0, 2, steps.append)
        assert [(each.title, each.failed) for each in found] == [(name, False) for name in delay.WAYS]
        assert steps == ["1.3"] * 4

    def test_a_server_that_takes_no_early_data_is_told_of(self) -> None:
        context = identity.server_context("1.3")
        with ServerSessionCache() as cache:
            cache.attach(context)
            with serving(context) as port:
                arguments = (lambda: identity.client_context("1.3")), identity.HOST, delay.REQUEST
                found = measure_ways(port, *arguments, 1)
        assert [each.failed for each in found] == [False, False, True]

    def test_what_is_said(self) -> None:
        lines = delay_lines([Waited("full handshake", 0.1, False), Waited("resumed", 0.05, False)], 25)
        assert [line.split() for line in lines[1:]] == [
            ["full", "handshake", "100.0", "2.00"],
            ["resumed", "50.0", "1.00"],
        ]
        assert delay_lines([Waited("resumed", 0.05, False)], 0)[1].split() == ["resumed", "50.0"]


class TestCommand:
    """`sslsession bench --delay`, and the script that measures nginx beside it."""

    @pytest.fixture(autouse=True)
    def _needed(self) -> None:
        pytest.importorskip("click")
        pytest.importorskip("rich")

    def test_text_and_json(self) -> None:
        from helpers.command import sslsession

        said = sslsession("bench", "--delay", "1", "--rounds", "2").stdout
        assert said.startswith("TLS 1.3, 2 ms a round trip ")
        assert f"{ssl.OPENSSL_VERSION}, 2 rounds, medians." in said
        found = json.loads(sslsession("bench", "--delay", "1", "--rounds", "2", "--json").stdout)
        assert list(found["milliseconds"]) == list(delay.WAYS)
        assert (found["delay"], found["round_trip"], found["rounds"]) == (1, 2, 2)

    def test_a_connection_that_began_otherwise_fails_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from click.testing import CliRunner

        from sslsession.cli import bench

        monkeypatch.setattr(bench, "measure_link", lambda *_: [Waited("resumed", 0.1, True)])
        done = CliRunner().invoke(bench.bench, ["--delay", "1"])
        assert (done.exit_code, "some connections began otherwise: resumed" in done.output) == (1, True)

    def test_the_script(self) -> None:
        require("nginx")
        script = Path(__file__).with_name("measure_early_data.py")
        said = run(sys.executable, "-W", "error", script, "1", "2")
        head = ["TLS", "1.3,", "2", "ms", "a", "round", "trip", "ms", "round", "trips"]
        words = [line.split() for line in said.splitlines()]
        assert len(words) == 10
        assert [words[0], words[1], words[5], words[6]] == [
            ["a", "server", "of", "sslsession"],
            head,
            ["nginx"],
            head,
        ]
