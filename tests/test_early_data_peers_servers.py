"""Early data of this library's clients at `openssl s_server` and Go: both sides agree on what came early."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import sslsession
from helpers.certs import Authority, Identity
from helpers.early_programs import verdicts
from helpers.peers import client_context
from helpers.processes import Process, require
from helpers.programs import Running, s_server
from sslsession import ClientSessionCache, EarlyData, early_data_status, send_replayable

ACCEPTED, REJECTED, NOT_SENT = EarlyData.ACCEPTED, EarlyData.REJECTED, EarlyData.NOT_SENT
LINE = b"early-words\n"
ANSWER = b"answer\n"
GO = """
package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pair, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	check(err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if os.Args[3] == "retry" {
		config.CurvePreferences = []tls.CurveID{tls.CurveP384}
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	check(err)
	fmt.Println("port:", listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		check(err)
		buffer := make([]byte, 4096)
		size, err := conn.Read(buffer)
		if err == nil {
			fmt.Printf("resumed: %v %q\\n", conn.(*tls.Conn).ConnectionState().DidResume, buffer[:size])
			conn.Write([]byte("answer\\n"))
		}
		conn.Close()
	}
}
"""


@pytest.fixture
def cache() -> Iterator[ClientSessionCache]:
    """A cache whose sessions may be used for early data."""
    with ClientSessionCache(early_data=True) as cache:
        yield cache


@pytest.fixture
def client(ca: Authority, cache: ClientSessionCache) -> ssl.SSLContext:
    """A context that the cache is attached to."""
    context = client_context(ca)
    cache.attach(context)
    return context


def blocking(
    port: int, context: ssl.SSLContext, data: bytes, server: Running | None
) -> tuple[EarlyData, bool]:
    """One connection by `send_replayable`; what became of it, and whether it resumed."""
    with socket.create_connection(("127.0.0.1", port), 20) as raw:
        with context.wrap_socket(raw, server_hostname="localhost", do_handshake_on_connect=False) as conn:
            status = send_replayable(conn, data)
            assert status is early_data_status(conn)
            if server is not None:
                server.process.send(ANSWER)
            assert conn.recv(100) == ANSWER
            resumed = bool(conn.session_reused)
            with contextlib.suppress(OSError):
                conn.unwrap()
            return status, resumed


def streams(
    port: int, context: ssl.SSLContext, data: bytes, server: Running | None
) -> tuple[EarlyData, bool]:
    """The same by `open_connection`."""

    async def visit() -> tuple[EarlyData, bool]:
        reader, writer = await sslsession.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost", early_data=data
        )
        status = early_data_status(writer)
        if server is not None:
            server.process.send(ANSWER)
        assert await reader.readline() == ANSWER
        resumed = bool(writer.get_extra_info("ssl_object").session_reused)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return status, resumed

    return asyncio.run(visit())


@pytest.fixture(params=[blocking, streams], ids=["blocking", "streams"])
def visit(request: pytest.FixtureRequest):
    """One way to connect."""
    return request.param


@contextlib.contextmanager
def early_s_server(identity: Identity, *options: str) -> Iterator[Running]:
    """`openssl s_server` of TLS 1.3 that takes early data, and what it was sent."""
    with s_server(identity, version="1.3", mode=None, args=["-early_data", *options]) as server:
        yield server


class TestSServer:
    """`openssl s_server`."""

    def test_it_accepts(self, client: ssl.SSLContext, server_identity: Identity, visit) -> None:
        with early_s_server(server_identity) as server:
            found = [visit(server.port, client, LINE, server) for _ in range(3)]
            told = verdicts(server, len(found))
        assert found == [(NOT_SENT, False), (ACCEPTED, True), (ACCEPTED, True)]
        assert told == ["No early data received", *["Early data received"] * 2]
        assert server.log.count(LINE.decode()) == 3

    def test_the_cache_counts_it_as_resumed_and_keeps_the_other_tickets(
        self, client: ssl.SSLContext, cache: ClientSessionCache, server_identity: Identity, visit
    ) -> None:
        with early_s_server(server_identity) as server:
            for _ in range(3):
                visit(server.port, client, LINE, server)
        stats = cache.stats()
        # The first visit brings two tickets, each later one uses one and brings one.
        assert {name: stats[name] for name in ("kept", "offered", "resumed", "declined", "sessions")} == {
            "kept": 4,
            "offered": 2,
            "resumed": 2,
            "declined": 0,
            "sessions": 2,
        }

    def test_after_a_hello_retry_request_it_is_sent_again(
        self, client: ssl.SSLContext, server_identity: Identity, visit
    ) -> None:
        with early_s_server(server_identity, "-groups", "P-384") as server:
            found = [visit(server.port, client, LINE, server)[0] for _ in range(2)]
            told = verdicts(server, len(found))
        assert found == [NOT_SENT, REJECTED]
        assert told == ["No early data received", "Early data was rejected"]
        assert server.log.count(LINE.decode()) == 2

    @pytest.mark.parametrize(
        ("options", "size", "status"),
        [
            ((), 16384, ACCEPTED),
            ((), 16385, NOT_SENT),
            (("-max_early_data", "16"), 17, NOT_SENT),
            (("-max_early_data", "16"), 16, ACCEPTED),
            (("-max_early_data", "0"), 1, NOT_SENT),
            (("-max_early_data", "200000", "-recv_max_early_data", "200000"), 100_000, ACCEPTED),
            (("-max_send_frag", "4096"), 9000, ACCEPTED),
        ],
    )
    def test_no_more_than_the_ticket_allows(
        self,
        client: ssl.SSLContext,
        server_identity: Identity,
        visit,
        options: tuple[str, ...],
        size: int,
        status: EarlyData,
    ) -> None:
        with early_s_server(server_identity, *options) as server:
            found = [visit(server.port, client, b"~" * size, server) for _ in range(2)]
            told = verdicts(server, len(found))
        assert found == [(NOT_SENT, False), (status, True)]
        assert server.log.count("~") == 2 * size
        assert told[1] == ("Early data received" if status is ACCEPTED else "No early data received")

    def test_one_that_reads_none_rejects_and_is_sent_it_again(
        self, client: ssl.SSLContext, server_identity: Identity, visit
    ) -> None:
        """Its tickets promise what the program was never told to read."""
        options = ["-max_early_data", "1000"]
        with s_server(server_identity, version="1.3", mode=None, args=options) as server:
            found = [visit(server.port, client, LINE, server) for _ in range(2)]
            told = verdicts(server, len(found))
        assert (found, told) == ([(NOT_SENT, False), (REJECTED, True)], [])
        assert server.log.count(LINE.decode()) == 2

    def test_in_tls_1_2_nothing_is_early(
        self, client: ssl.SSLContext, server_identity: Identity, visit
    ) -> None:
        with s_server(server_identity, version="1.2", mode=None) as server:
            found = [visit(server.port, client, LINE, server) for _ in range(2)]
            told = verdicts(server, len(found))
        assert (found, told) == ([(NOT_SENT, False), (NOT_SENT, True)], [])
        assert server.log.count(LINE.decode()) == 2


@pytest.fixture(scope="module")
def go_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server in Go, built without network."""
    directory = tmp_path_factory.mktemp("go")
    (directory / "main.go").write_text(GO)
    settings = {"GO111MODULE": "off", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    env = {**os.environ, **settings, "GOCACHE": str(directory / "cache"), "GOPATH": str(directory / "path")}
    argv = [require("go"), "build", "-o", "serve", "main.go"]
    subprocess.run(argv, cwd=directory, env=env, check=True, timeout=300)
    return directory / "serve"


@pytest.mark.parametrize("hello", ["at once", "retry"])
def test_go_has_no_early_data_and_resumes(
    client: ssl.SSLContext, server_identity: Identity, go_server: Path, visit, hello: str
) -> None:
    files = server_identity.cert_pem_path, server_identity.key_path
    with Process(go_server, *files, hello) as process:
        port = int(process.expect(r"port: (\d+)")[1])
        found = [visit(port, client, LINE, None) for _ in range(3)]
    assert found == [(NOT_SENT, False), (NOT_SENT, True), (NOT_SENT, True)]
    assert re.findall(r'resumed: (\w+) "early-words\\n"', process.output) == ["false", "true", "true"]
