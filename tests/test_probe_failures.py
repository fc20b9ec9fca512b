"""What cannot be probed is told in one sentence, and never waited for beyond the timeout."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import EchoServer, client_context, server_context
from helpers.plain import plain_server
from helpers.processes import free_port
from sslsession import SessionError
from sslsession.probing import NotSpoken, Probe, ProbeError, Target, Trust, failures, parse_target
from sslsession.probing.visits import Visitor


def failure(port: int, trust: Trust | None = None, *, timeout: float = 20) -> str:
    """What a probe of localhost fails with: one line."""
    with pytest.raises(ProbeError) as caught:
        Probe(parse_target(f"localhost:{port}"), trust, timeout=timeout).run()
    assert isinstance(caught.value, (SessionError, OSError))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestTargets:
    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [
            ("a.example", "a.example", 443),
            ("a.example:8443", "a.example", 8443),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("::1", "::1", 443),
            ("[::1]", "::1", 443),
            ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
        ],
    )
    def test_host_and_port(self, text: str, host: str, port: int) -> None:
        assert parse_target(text) == Target(host, port, host)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ":443",
            "a:",
            "a:0",
            "a:65536",
            "a:https",
            "a:٤",
            "[::1",
            "[::1]443",
            "[]:1",
            "a b",
            "a\n",
            "a\x1b[0m",
        ],
    )
    def test_what_is_no_target(self, text: str) -> None:
        with pytest.raises(ProbeError, match=r"is no HOST\[:PORT\]") as caught:
            parse_target(text)
        assert str(caught.value).isprintable()

    def test_names_and_protocols(self) -> None:
        assert parse_target("a.example", server_name="b.example").server_name == "b.example"
        assert parse_target("a.example", starttls="smtp").port == 25
        assert str(parse_target("[::1]:1")) == "[::1]:1"
        assert str(parse_target("a.example:1")) == "a.example:1"


class TestConnecting:
    def test_refused(self) -> None:
        port = free_port()
        assert failure(port) == f"localhost:{port} refused the connection"

    def test_unknown_name(self) -> None:
        with pytest.raises(ProbeError, match=r"^name\.invalid has no address: "):
            Probe(parse_target("name.invalid")).run()

    def test_what_is_no_name(self) -> None:
        name = "a" * 64 + ".example"
        with pytest.raises(ProbeError, match="is no server name"):
            Probe(parse_target(name)).run()
        with pytest.raises(ProbeError, match="has no address: it is no host name"):
            Probe(parse_target(name, server_name="localhost")).run()

    def test_other_reasons(self) -> None:
        unreachable = OSError(errno.EHOSTUNREACH, "numbers and all")
        assert str(failures.of_connecting("a:1", 2, unreachable)).startswith("a:1 cannot be reached: ")
        assert "within 2.5 s" in str(failures.of_connecting("a:1", 2.5, socket.timeout()))


class TestHandshakes:
    def test_not_tls(self) -> None:
        with plain_server(lambda conn: conn.sendall(b"SSH-2.0-server\r\n") or conn.recv(1000)) as port:
            assert "is not a TLS server, or needs --starttls" in failure(port)

    def test_silence(self) -> None:
        with plain_server(lambda conn: conn.recv(10_000) and conn.recv(1)) as port:
            assert "did not answer the TLS handshake within 0.2 s" in failure(port, timeout=0.2)

    def test_closed_at_once(self) -> None:
        with plain_server(lambda conn: conn.recv(10_000)) as port:
            told = failure(port)
        assert told.startswith(f"no TLS handshake with localhost:{port} succeeds (TLS 1.3: the server closed")

    def test_no_version_in_common(self, ca: Authority, server_identity: Identity) -> None:
        server = server_context(server_identity, version="1.2")
        trust = Trust(ca.pem_path)
        with (
            EchoServer(server) as echo,
            pytest.raises(ProbeError, match=r"\(TLS 1\.3: .*protocol version\)$"),
        ):
            Probe(parse_target(f"localhost:{echo.port}"), trust).run(["1.3"])

    def test_wrong_ca(self, other_ca: Authority, server_identity: Identity) -> None:
        with EchoServer(server_context(server_identity)) as echo:
            told = failure(echo.port, Trust(other_ca.pem_path))
            assert f"the certificate of localhost:{echo.port} fails: " in told
            assert "--ca" in told
            assert "fails: " in failure(echo.port)

    def test_wrong_name(self, ca: Authority, server_identity: Identity) -> None:
        with EchoServer(server_context(server_identity)) as echo:
            target = parse_target(f"localhost:{echo.port}", server_name="c.example")
            with pytest.raises(ProbeError, match=r"not valid for 'c\.example'\. "):
                Probe(target, Trust(ca.pem_path)).run()

    def test_expired_certificate(self, ca: Authority) -> None:
        with EchoServer(server_context(ca.issue("localhost", days=-1))) as echo:
            assert "certificate has expired" in failure(echo.port, Trust(ca.pem_path))

    def test_what_is_no_server_name(self) -> None:
        target = parse_target("localhost", server_name=".example")
        with pytest.raises(ProbeError, match=r"'\.example' is no server name"):
            Probe(target, Trust(insecure=True)).run()

    def test_the_socket_is_gone_when_it_is_wrapped(self) -> None:
        class Gone(ssl.SSLContext):
            def wrap_socket(self, *_: object, **__: object) -> ssl.SSLSocket:
                raise ConnectionResetError(errno.ECONNRESET, "gone")

        with plain_server(lambda conn: conn.recv(10_000)) as port, pytest.raises(NotSpoken, match="closed"):
            Visitor(parse_target(f"localhost:{port}"), 20).visit(client_context(cls=Gone))

    def test_words_without_numbers(self) -> None:
        assert failures.told(OSError(errno.EPIPE, "x")) != "x"
        assert failures.told(OSError("only\x1b text")) == "only\\x1b text"
        assert failures.told(OSError()) == "OSError"


class TestTrust:
    def test_insecure(self, server_identity: Identity) -> None:
        with EchoServer(server_context(server_identity)) as echo:
            report = Probe(parse_target(f"localhost:{echo.port}"), Trust(insecure=True)).run(["1.2"])
        assert (report.verified, report.resumes) == (False, True)

    def test_a_directory_of_cas(self, tmp_path: Path, ca: Authority, server_identity: Identity) -> None:
        """An empty one holds nobody to trust, and is no error by itself."""
        with EchoServer(server_context(server_identity)) as echo:
            assert "fails: " in failure(echo.port, Trust(tmp_path))

    def test_files_that_hold_no_ca(self, tmp_path: Path) -> None:
        absent, wrong = tmp_path / "absent.pem", tmp_path / "wrong.pem"
        wrong.write_text("no certificate")
        with pytest.raises(ProbeError, match=r"absent\.pem cannot be read: No such file"):
            Probe(parse_target("localhost"), Trust(absent)).run()
        with pytest.raises(ProbeError, match=r"wrong\.pem holds no CA certificate in PEM"):
            Probe(parse_target("localhost"), Trust(wrong)).run()
