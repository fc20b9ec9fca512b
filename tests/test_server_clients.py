"""Clients that are not Python's, at two contexts in turn, as two workers are: what these resume, by their account."""

from __future__ import annotations

import itertools
import os
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import EchoServer, server_context
from helpers.processes import Process, require, run
from helpers.programs import s_client
from sslsession import ServerSessionCache, TicketKeyRing
from sslsession.stores import MemoryStore

SECRET = "0123456789abcdef" * 4
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
TIMES = 6
NODE = """
const fs = require("fs"), tls = require("tls");
const [port, ca, version, times] = process.argv.slice(1);
const settings = { host: "127.0.0.1", port, servername: "localhost", ca: fs.readFileSync(ca) };
let session;
(function visit(left) {
  if (!left) return;
  const [minVersion, maxVersion] = [`TLSv${version}`, `TLSv${version}`];
  const conn = tls.connect({ ...settings, minVersion, maxVersion, session });
  conn.on("session", (given) => { session = given; });
  conn.on("secureConnect", () => { console.log("resumed:", conn.isSessionReused()); conn.write("ping"); });
  conn.on("data", () => conn.end());
  conn.on("close", () => visit(left - 1));
})(Number(times));
"""
GO = """
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	pem, err := os.ReadFile(os.Args[2])
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	version := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[os.Args[3]]
	times, err := strconv.Atoi(os.Args[4])
	check(err)
	config := &tls.Config{
		RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	for ; times > 0; times-- {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+os.Args[1], config)
		check(err)
		fmt.Fprint(conn, "ping")
		_, err = conn.Read(make([]byte, 4))
		check(err)
		fmt.Println("resumed:", conn.ConnectionState().DidResume)
		check(conn.Close())
	}
}
"""


class Served(NamedTuple):
    """A server, and of each of its workers what keeps sessions."""

    server: EchoServer
    rings: list[TicketKeyRing]
    caches: list[ServerSessionCache]

    def total(self, name: str) -> int:
        """A count of all workers."""
        return sum(each.stats()[name] for each in self.caches or self.rings)


class InTurn:
    """Wraps each connection in the next of several contexts, as if the next worker had taken it."""

    def __init__(self, contexts: list[ssl.SSLContext]) -> None:
        self._next = itertools.cycle(contexts)

    def wrap_socket(self, *args: Any, **named: Any) -> ssl.SSLSocket:
        """As an SSLContext's."""
        return next(self._next).wrap_socket(*args, **named)


@pytest.fixture(params=["ring", "store"])
def kind(request: pytest.FixtureRequest) -> str:
    """How two contexts know each other's sessions: a ring of one secret, or a cache on one store."""
    found: str = request.param
    return found


@contextmanager
def serving(
    identity: Identity, kind: str, on_connect: Callable[[ssl.SSLSocket], object] | None = None
) -> Iterator[Served]:
    """Two workers; `kind` "ring", "store", "both", or "" for plain ssl."""
    contexts = [server_context(identity) for _ in range(2)]
    with ExitStack() as stack:
        store = MemoryStore()
        rings, caches = [], []
        for context in contexts:
            if kind in ("ring", "both"):
                rings.append(TicketKeyRing.from_secret(SECRET))
                rings[-1].attach(context)
            if kind in ("store", "both"):
                caches.append(stack.enter_context(ServerSessionCache(store)))
                caches[-1].attach(context)
        with EchoServer(InTurn(contexts), on_connect=on_connect) as server:
            yield Served(server, rings, caches)


def resumed_all(served: Served, count: int) -> None:
    """By the server's flags and its statistics: of so many connections all but the first."""
    assert served.server.reused == [False] + [True] * (count - 1)
    assert served.total("resumed" if served.caches else "opened") == count - 1


def told(said: str) -> list[bool]:
    """What the programs above printed."""
    return [each == "true" for each in re.findall(r"^resumed: (true|false)$", said, re.MULTILINE)]


class TestOpenSSL:
    """`openssl s_client`."""

    def test_reconnect(self, ca: Authority, server_identity: Identity, kind: str):
        with serving(server_identity, kind) as served:
            said = reconnect(served, ca, "-tls1_2")
            assert len(re.findall(r"^Reused, TLSv1.2", said, re.MULTILINE)) == 5
            resumed_all(served, 6)

    def test_reconnect_reads_no_ticket_of_tls_1_3(self, ca: Authority, server_identity: Identity, kind: str):
        """So its -reconnect shows nothing there, whatever the server does: docs/servers.md."""
        with serving(server_identity, kind) as served:
            reconnect(served, ca, "-tls1_3")
            assert served.server.reused == [False] * 6

    def test_a_session_in_a_file(
        self, ca: Authority, server_identity: Identity, kind: str, tls_version: str, tmp_path: Path
    ):
        options = ["-CAfile", ca.pem_path, f"-tls1_{tls_version[-1]}", "-sess_out", tmp_path / "session"]
        with serving(server_identity, kind) as served:
            runs = [s_client(served.server.port, *options)]
            runs += [
                s_client(served.server.port, *options, "-sess_in", tmp_path / "session")
                for _ in range(TIMES - 1)
            ]
            assert [each.reused for each in runs] == served.server.reused
            resumed_all(served, TIMES)


def reconnect(served: Served, ca: Authority, version: str) -> str:
    """What `openssl s_client -reconnect` says of its six connections."""
    argv = ["s_client", "-connect", f"127.0.0.1:{served.server.port}", "-servername", "localhost", version]
    with Process(require("openssl"), *argv, "-CAfile", ca.pem_path, "-reconnect") as process:
        process.expect(r"(?ms)(?:^(?:New|Reused), .*?){6}^---$")
        process.send(b"ping\n")
        process.expect("(?m)^ping$")
        process.send(b"Q\n")
        assert process.ends(10)
    return process.output


def page(conn: ssl.SSLSocket) -> None:
    """Reads a request and answers it."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = conn.recv(65536)
        assert piece
        request += piece
    conn.sendall(PAGE)


def curl(served: Served, ca: Authority, version: str) -> None:
    """Several URLs in one run, each over a connection of its own."""
    one = ["--tlsv" + version, "--tls-max", version, "--cacert", ca.pem_path, "--http1.1"]
    urls = [f"https://localhost:{served.server.port}/{number}" for number in range(TIMES)]
    said = run(require("curl"), "-sS", "-4", "-H", "Connection: close", *one, *urls)
    assert said == "ok\n" * TIMES


@pytest.mark.parametrize("kind", ["both", "store"])
def test_curl(ca: Authority, server_identity: Identity, kind: str, tls_version: str):
    """A ring alone is not enough for TLS 1.2: curl takes no tickets there, at least before 8."""
    with serving(server_identity, kind, page) as served:
        curl(served, ca, tls_version)
        resumed_all(served, TIMES)


def test_curl_at_plain_workers(ca: Authority, server_identity: Identity, tls_version: str):
    with serving(server_identity, "", page) as served:
        curl(served, ca, tls_version)
        assert served.server.reused == [False] * TIMES


def test_node(ca: Authority, server_identity: Identity, kind: str, tls_version: str):
    with serving(server_identity, kind) as served:
        said = run(require("node"), "-e", NODE, served.server.port, ca.pem_path, tls_version, TIMES)
        assert told(said) == served.server.reused
        resumed_all(served, TIMES)


@pytest.fixture(scope="module")
def visit_in_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client in Go, built without network: it needs the standard library alone."""
    directory = tmp_path_factory.mktemp("go")
    (directory / "main.go").write_text(GO)
    settings = {"GO111MODULE": "off", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    places = {"GOCACHE": str(directory / "cache"), "GOPATH": str(directory / "path")}
    env = {**os.environ, **settings, **places}
    argv = [require("go"), "build", "-o", "visit", "main.go"]
    subprocess.run(argv, cwd=directory, env=env, check=True, timeout=300)
    return directory / "visit"


def test_go(ca: Authority, server_identity: Identity, visit_in_go: Path, tls_version: str):
    """crypto/tls asks for no TLS 1.2 session by its id, so a ring serves it, or in TLS 1.3 the store too."""
    for kind in ["ring", "store"] if tls_version == "1.3" else ["ring"]:
        with serving(server_identity, kind) as served:
            said = run(visit_in_go, served.server.port, ca.pem_path, tls_version, TIMES)
            assert told(said) == served.server.reused
            resumed_all(served, TIMES)


def test_go_takes_no_ids(ca: Authority, server_identity: Identity, visit_in_go: Path):
    with serving(server_identity, "store") as served:
        run(visit_in_go, served.server.port, ca.pem_path, "1.2", TIMES)
        assert served.server.reused == [False] * TIMES


def test_gnutls(ca: Authority, server_identity: Identity, kind: str, tls_version: str):
    argv = [require("gnutls-cli"), "-r", "--waitresumption", "--x509cafile", ca.pem_path]
    argv += ["--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{tls_version}"]
    with serving(server_identity, kind) as served:
        said = run(*argv, "-p", served.server.port, "localhost", stdin="ping\n")
        assert "*** This is a resumed session" in said
        resumed_all(served, 2)
