"""`sslsession serve` as it is run: a real process, one worker or many, and clients of Python's ssl and OpenSSL's.

How it starts badly, and how it ends, is in `test_cli_serve_ends.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from helpers import serving
from helpers.certs import Authority, Identity
from helpers.command import sslsession
from helpers.peers import client_context
from helpers.processes import free_port, require, run
from helpers.serving import PING, Serving, visit
from sslsession.errors import SessionError
from sslsession.serving import identity, worker

SUITE = {"1.2": "ECDHE-ECDSA-AES256-GCM-SHA384", "1.3": "TLS_AES_256_GCM_SHA384"}
WORKERS = 4
named = serving.named
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")


def ask(context: ssl.SSLContext, port: int, request: bytes) -> tuple[str, str]:
    """The head and the body of the answer to an HTTP request."""
    with socket.create_connection(("127.0.0.1", port), 20) as raw:
        with context.wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(request)
            said = b""
            while piece := tls.recv(65536):
                said += piece
    head, _, body = said.decode().partition("\r\n\r\n")
    return head, body


class TestLines:
    def test_one_for_each_connection(
        self, client: ssl.SSLContext, tls_version: str, named: list[Path | str]
    ) -> None:
        with Serving(*named) as server:
            reused, session = visit(client, server.port)
            assert (reused, visit(client, server.port, session)[0]) == (False, True)
            visit(client, server.port, name="a.example")
            server.expect("a.example  ")
        lines = server.output.splitlines()
        near = f"localhost:{server.port}"
        assert lines[:4] == [
            f"listening on 127.0.0.1:{server.port}, 1 worker; Ctrl-C ends it; to try it:",
            f"  openssl s_client -connect {near} -sess_out s.pem  # then -sess_in",
            f"  curl https://{near}/ https://{near}/",
            f"  sslsession probe {near}",
        ]
        suite = SUITE[tls_version]
        assert lines[4:] == [
            f"worker 1  TLSv{tls_version}  full     localhost  {suite}",
            f"worker 1  TLSv{tls_version}  resumed  localhost  {suite}",
            f"worker 1  TLSv{tls_version}  full     a.example  {suite}",
        ]
        assert max(map(len, lines)) <= 80

    def test_in_colour_on_a_terminal(self, client: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named, env={"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}) as server:
            _, session = visit(client, server.port)
            visit(client, server.port, session)
            server.expect("\x1b\\[32mresumed\x1b\\[0m  localhost")
        assert "\x1b[33mfull" in server.output

    def test_json(self, client13: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named, "--json", "--count", 2) as server:
            _, session = visit(client13, server.port)
            visit(client13, server.port, session)
            assert server.ends(20)
        assert server.returncode == 0
        began, *connections = server.events()
        assert began == {"event": "listening", "host": "127.0.0.1", "port": server.port, "pids": [server.pid]}
        known = {"worker": 1, "version": "TLSv1.3", "server_name": "localhost", "cipher": SUITE["1.3"]}
        assert connections == [
            {"event": "connection", **known, "resumed": resumed, "early_data": None, "error": None}
            for resumed in (False, True)
        ]

    def test_handshakes_that_fail(self, named: list[Path | str], server_identity: Identity) -> None:
        with Serving(*named, "--json") as server:
            with socket.create_connection(("127.0.0.1", server.port), 20) as raw:
                raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert raw.recv(100)[:1] in (b"", b"\x15")
            with pytest.raises(ssl.SSLError):
                visit(client_context(), server.port)
            server.expect("unknown ca")
        errors = [(each["error"], each["version"]) for each in server.events()[1:]]
        assert errors == [("http request", None), ("tlsv1 alert unknown ca", None)]

    def test_a_client_that_says_nothing(
        self, server: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "HANDSHAKE_SECONDS", 0.01)
        silent, ours = socket.socketpair()
        ours.setblocking(False)
        with silent, server.wrap_socket(ours, server_side=True, do_handshake_on_connect=False) as conn:
            assert asyncio.run(worker._handshake(conn)) == "no handshake within 0.01 s"

    def test_a_name_is_printed_as_what_it_is(self, client: ssl.SSLContext, named: list[Path | str]) -> None:
        client.check_hostname = False
        with Serving(*named) as server:
            visit(client, server.port, name="a\x1b[31mb")
            assert server.expect("full     (.*)  ")[1] == "a\\x1b[31mb"


class TestResuming:
    @needs_fork
    def test_by_any_worker_all_the_same(self, client: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named, "--json", "--workers", WORKERS, "--count", 40) as server:
            _, session = visit(client, server.port)
            for _ in range(39):
                reused, session = visit(client, server.port, session)
                assert reused
            assert server.ends(20)
        began, *connections = server.events()
        assert len(began["pids"]) == WORKERS
        assert [each["resumed"] for each in connections] == [False] + [True] * 39
        assert len({each["worker"] for each in connections}) > 1

    @pytest.mark.parametrize("kind", ["env", "file", "shared", "nginx"])
    def test_after_a_restart(
        self,
        kind: str,
        client: ssl.SSLContext,
        named: list[Path | str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        secret = tmp_path / "secret"
        secret.touch(mode=0o600)
        secret.write_text("0123456789abcdef" * 4)
        monkeypatch.setenv("SERVE_SECRET", secret.read_text())
        keys = {
            "env": ["secret:env:SERVE_SECRET"],
            "file": [f"secret:file:{secret}"],
            "shared": ["shared", "--store", f"sqlite:{tmp_path}/store.db", "--rotate-every", 600],
            "nginx": [f"file:{tmp_path}/key:nginx"],
        }[kind]
        sslsession("keys", "new", tmp_path / "key", "--format", "nginx", "--size", 48)
        with Serving(*named, "--keys", *keys) as server:
            _, session = visit(client, server.port)
        with Serving(*named, "--keys", *keys) as server:
            assert visit(client, server.port, session)[0]
        with Serving(*named, "--keys", *keys, "--context-id", "another") as server:
            assert not visit(client, server.port, session)[0]

    def test_without_tickets(self, client: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named, "--no-tickets", "--lifetime", 60) as server:
            _, session = visit(client, server.port)
            assert session.ticket_lifetime_hint == (60 if session.has_ticket else 0)
            assert visit(client, server.port, session)[0]

    def test_one_version_alone(self, ca: Authority, named: list[Path | str]) -> None:
        with Serving(*named, "--tls", "1.2") as server:
            visit(client_context(ca), server.port)
            with pytest.raises(ssl.SSLError):
                visit(client_context(ca, version="1.3"), server.port)
            server.expect("TLSv1.2  full")

    def test_clients_with_certificates(
        self, ca: Authority, named: list[Path | str], client_identity: Identity, tls_version: str
    ) -> None:
        with Serving(*named, "--client-ca", ca.pem_path) as server:
            context = client_context(ca, version=tls_version, identity=client_identity)
            _, session = visit(context, server.port)
            assert visit(context, server.port, session)[0]
            with pytest.raises(ssl.SSLError, match=r"ALERT_(HANDSHAKE_FAILURE|CERTIFICATE_REQUIRED)"):
                visit(client_context(ca, version=tls_version), server.port)
            server.expect("failed  peer did not return a certificate")

    def test_openssl_s_client(
        self, named: list[Path | str], tls_version: str, tmp_path: Path, ca: Authority
    ) -> None:
        program = require("openssl")
        kept = tmp_path / "session.pem"
        with Serving(*named, "--tls", tls_version, "--protocol", "http") as server:
            common = [program, "s_client", "-connect", f"localhost:{server.port}", "-CAfile", ca.pem_path]
            common += ["-servername", "localhost", "-ign_eof", "-no_ticket"][
                : 3 if tls_version == "1.3" else 4
            ]
            for option, told in (("-sess_out", "New"), ("-sess_in", "Reused")):
                said = run(*common, option, kept, stdin="GET / HTTP/1.0\n\n")
                assert f"\n{told}, TLSv{tls_version}, Cipher is " in said
                assert f"\nversion: TLSv{tls_version}\n" in said

    def test_a_store_that_is_down(self, client: ssl.SSLContext, named: list[Path | str]) -> None:
        pytest.importorskip("redis")
        where = f"redis://:hunter2@127.0.0.1:{free_port()}?insecure=1"
        with Serving(*named, "--store", where, "--keys", "shared") as server:
            assert visit(client, server.port, visit(client, server.port)[1])[0]
            server.expect("resumed")
        assert "\nWarning: sslsession's sharing of ticket keys; the ring goes on" in "\n" + server.output
        assert "hunter2" not in server.output


class TestAnswers:
    def test_text_or_json(self, client13: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named) as server:
            head, body = ask(client13, server.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert head.splitlines() == [
                "HTTP/1.1 200 OK",
                "Content-Type: text/plain",
                f"Content-Length: {len(body)}",
                "Connection: close",
            ]
            assert body.splitlines() == [
                "version: TLSv1.3",
                f"cipher: {SUITE['1.3']}",
                "session: full handshake",
                "early data: -",
                "server name: localhost",
                "worker: 1",
            ]
            head, body = ask(client13, server.port, b"GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n")
            assert "Content-Type: application/json" in head
            found: dict[str, Any] = json.loads(body)
            assert (found["version"], found["resumed"], found["worker"]) == ("TLSv1.3", False, 1)

    def test_bodies_and_heads(self, client13: ssl.SSLContext, named: list[Path | str]) -> None:
        size = 300_000
        with Serving(*named) as server:
            head, body = ask(client13, server.port, b"HEAD / HTTP/1.1\r\n\r\n")
            assert ("Content-Length: 0" not in head, body) == (True, "")
            request = b"POST /x HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size + bytes(size)
            assert ask(client13, server.port, request)[0].startswith("HTTP/1.1 200 OK")

    def test_http_alone_and_echo_alone(self, client13: ssl.SSLContext, named: list[Path | str]) -> None:
        with Serving(*named, "--protocol", "http") as server:
            for request in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + bytes(200_000)):
                assert ask(client13, server.port, request)[0].startswith("HTTP/1.1 400 Bad Request")
        with Serving(*named, "--protocol", "echo") as server:
            assert visit(client13, server.port, data=b"GET / HTTP/1.0\r\n\r\n")


class TestCertificateOnTheSpot:
    def test_for_localhost(self, client: ssl.SSLContext) -> None:
        with Serving() as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                visit(client, server.port)
            client.load_verify_locations(cadata=ssl.get_server_certificate(("127.0.0.1", server.port)))
            for name in ("localhost", "127.0.0.1", "::1"):
                _, session = visit(client, server.port, name=name)
                assert visit(client, server.port, session, name=name)[0]
        assert f"  curl -k https://localhost:{server.port}/ " in server.output
        assert f"  sslsession probe --insecure localhost:{server.port}\n" in server.output

    def test_by_the_openssl_command(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        require("openssl")
        monkeypatch.setitem(sys.modules, "cryptography", None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made := identity.make(tmp_path))
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.load_verify_locations(made)
        (found,) = trusting.get_ca_certs()
        assert found["subjectAltName"][0] == ("DNS", "localhost")
        monkeypatch.setattr(identity, "NAME", "\n")
        with pytest.raises(SessionError, match="the openssl command made no certificate"):
            identity.make(tmp_path)

    def test_by_nothing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "cryptography", None)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SessionError, match="name one with --cert and --key"):
            identity.make(tmp_path)


def test_what_is_echoed(client: ssl.SSLContext, named: list[Path | str]) -> None:
    with Serving(*named) as server:
        with socket.create_connection(("127.0.0.1", server.port), 20) as raw:
            with client.wrap_socket(raw, server_hostname="localhost") as tls:
                for _ in range(3):
                    tls.sendall(PING)
                    assert tls.recv(100) == PING
