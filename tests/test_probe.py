"""`Probe` says of a real server what it resumes."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import EchoServer, server_context
from helpers.programs import nginx, s_server
from sslsession.probing import KindReport, Probe, Report, Trust, parse_target, visits
from sslsession.session import Session

pytestmark = pytest.mark.binding


def probe(port: int, ca: Authority | None, **more: Any) -> Probe:
    return Probe(
        parse_target(f"localhost:{port}"), Trust(ca.pem_path) if ca else Trust(insecure=True), **more
    )


def kinds(report: Report) -> dict[str, KindReport]:
    return {f"{version.version} {kind.kind}": kind for version, kind in report.kinds}


class TestNginx:
    @pytest.mark.parametrize("cache", [True, False], ids=["cache", "no cache"])
    @pytest.mark.parametrize("tickets", [True, False], ids=["tickets", "no tickets"])
    def test_each_of_the_four_settings(
        self, ca: Authority, server_identity: Identity, tickets: bool, cache: bool
    ) -> None:
        with nginx(server_identity, tickets=tickets, cache=cache, early_data=True) as server:
            report = probe(server.port, ca).run()
        found = kinds(report)
        assert list(found) == ["1.3 PSK", "1.2 ticket", "1.2 session id"]

        psk = found["1.3 PSK"]
        assert (psk.offered, psk.resumed) == (True, tickets or cache)
        assert (psk.tickets, psk.lifetime, psk.max_early_data) == (2, 300, 16384)
        assert psk.tickets_when_resumed == (1 if tickets or cache else None)

        ticket = found["1.2 ticket"]
        assert (ticket.offered, ticket.resumed) == ((True, True) if tickets else (False, None))
        assert (ticket.tickets, ticket.lifetime) == ((1, 300) if tickets else (0, None))

        by_id = found["1.2 session id"]
        assert (by_id.offered, by_id.resumed) == ((True, True) if cache else (False, None))
        assert report.resumes is (tickets or cache)

    def test_why_it_was_not_resumed(self, ca: Authority, server_identity: Identity) -> None:
        with nginx(server_identity, tickets=False, cache=False) as server:
            psk = kinds(probe(server.port, ca).run())["1.3 PSK"]
        assert psk.why_not is not None
        assert "full handshake" in psk.why_not

    @pytest.mark.parametrize(("spoken", "other"), [("1.2", "1.3"), ("1.3", "1.2")])
    def test_one_version_alone(
        self, ca: Authority, server_identity: Identity, spoken: str, other: str
    ) -> None:
        with nginx(server_identity, tls=spoken) as server:
            versions = {each.version: each for each in probe(server.port, ca).run().versions}
        assert versions[spoken].spoken
        assert versions[spoken].group == "x25519"
        assert (versions[other].spoken, versions[other].kinds) == (False, [])
        assert "protocol version" in (versions[other].why_not or "")

    def test_suite_and_group(self, ca: Authority, server_identity: Identity) -> None:
        more = "ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305; ssl_ecdh_curve secp384r1;"
        with nginx(server_identity, extra=more) as server:
            report = probe(server.port, ca).run(["1.2"])
        (version,) = report.versions
        assert version.cipher_suite == "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
        assert version.group == "secp384r1"

    def test_tells_each_step(self, ca: Authority, server_identity: Identity) -> None:
        steps: list[str] = []
        with nginx(server_identity) as server:
            probe(server.port, ca, step=steps.append).run()
        assert steps == ["TLS 1.3", "TLS 1.3 PSK", "TLS 1.2", "TLS 1.2 ticket", "TLS 1.2 session id"]

    def test_plain_values_have_no_session(self, ca: Authority, server_identity: Identity) -> None:
        with nginx(server_identity) as server:
            report = probe(server.port, ca).run()
        plain = report.plain()
        assert list(plain["versions"]["1.2"]["resumption"]) == ["ticket", "session_id"]
        assert "session" not in plain["versions"]["1.3"]["resumption"]["psk"]
        assert plain["resumes"] is True
        assert "session=" not in repr(report)


class TestOtherServers:
    @pytest.mark.parametrize("mode", ["-rev", "-www"], ids=["answers", "stays silent"])
    def test_s_server(self, ca: Authority, server_identity: Identity, mode: str) -> None:
        with s_server(server_identity, mode=mode) as server:
            found = kinds(probe(server.port, ca).run())
        assert {name: kind.resumed for name, kind in found.items()} == {
            "1.3 PSK": True,
            "1.2 ticket": True,
            "1.2 session id": True,
        }
        assert (found["1.3 PSK"].tickets, found["1.3 PSK"].lifetime) == (2, 7200)

    def test_a_server_that_speaks_first_is_not_asked(
        self, ca: Authority, server_identity: Identity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard: list[bytes] = []

        def greet(conn: ssl.SSLSocket) -> None:
            conn.sendall(b"* OK ready\r\n")
            heard.append(conn.recv(100))

        with EchoServer(server_context(server_identity), on_connect=greet) as server:
            monkeypatch.setattr(visits, "SERVER_SPEAKS_FIRST", {server.port})
            report = probe(server.port, ca).run(["1.3"])
        assert kinds(report)["1.3 PSK"].resumed
        assert heard == [b"", b""]

    def test_no_tickets(self, ca: Authority, server_identity: Identity) -> None:
        with EchoServer(server_context(server_identity, version="1.3", tickets=0)) as server:
            report = probe(server.port, ca).run()
        psk = kinds(report)["1.3 PSK"]
        assert (psk.offered, psk.resumed, psk.tickets, psk.lifetime) == (False, None, 0, None)
        assert (report.resumes, report.best()) == (False, None)

    def test_a_client_certificate_is_wanted(self, ca: Authority, server_identity: Identity) -> None:
        with EchoServer(server_context(server_identity, client_ca=ca)) as server:
            report = probe(server.port, ca).run()
        newer, older = report.versions
        assert newer.spoken
        assert "certificate required" in (newer.remark or "")
        assert not older.spoken

    def test_a_long_answer_is_not_read_to_its_end(
        self, ca: Authority, server_identity: Identity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(visits, "MOST_ANSWER", 1)
        with EchoServer(server_context(server_identity)) as server:
            assert kinds(probe(server.port, ca).run(["1.3"]))["1.3 PSK"].resumed

    def test_a_connection_that_is_reset_after_the_handshake(
        self, ca: Authority, server_identity: Identity
    ) -> None:
        def reset(conn: ssl.SSLSocket) -> None:
            conn.recv(1)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raise ConnectionResetError

        with EchoServer(server_context(server_identity), on_connect=reset) as server:
            (version,) = probe(server.port, ca).run(["1.3"]).versions
        assert (version.spoken, version.remark) == (True, None)


class TestServersThatMisbehave:
    @pytest.mark.parametrize(("version", "name"), [("1.3", "1.3 PSK"), ("1.2", "1.2 ticket")])
    def test_the_second_handshake_is_cut(
        self, ca: Authority, server_identity: Identity, version: str, name: str
    ) -> None:
        with EchoServer(server_context(server_identity), prepare=refuse(2)) as server:
            kind = kinds(probe(server.port, ca).run([version]))[name]
        assert (kind.offered, kind.resumed) == (True, False)
        assert "closed the connection" in (kind.why_not or "")
        assert kind.session is not None

    def test_without_tickets_the_handshake_is_cut(self, ca: Authority, server_identity: Identity) -> None:
        with EchoServer(server_context(server_identity), prepare=refuse(3)) as server:
            found = kinds(probe(server.port, ca).run(["1.2"]))
        assert found["1.2 ticket"].resumed
        assert (found["1.2 session id"].offered, found["1.2 session id"].resumed) == (False, None)
        assert found["1.2 session id"].why_not


class TestKeeping:
    def test_the_newest_version_that_resumes(self, ca: Authority, server_identity: Identity) -> None:
        with nginx(server_identity) as server:
            best = probe(server.port, ca).run(keep=True).best()
        assert best is not None
        assert (best[0].version, best[1].kind) == ("1.3", "PSK")

    def test_what_resumes_before_what_does_not(self, ca: Authority, server_identity: Identity) -> None:
        with EchoServer(server_context(server_identity), prepare=refuse(2)) as server:
            best = probe(server.port, ca).run(keep=True).best()
        assert best is not None
        assert (best[0].version, best[1].kind) == ("1.2", "ticket")

    def test_an_unused_ticket_where_the_resumed_connection_brings_none(
        self, ca: Authority, server_identity: Identity
    ) -> None:
        report, reused = only_one_ticket(ca, server_identity)
        kind = kinds(report)["1.3 PSK"]
        assert (kind.tickets, kind.tickets_when_resumed) == (1, 0)
        assert isinstance(kind.session, Session)
        assert reused == [False, True, False]

    def test_no_unused_ticket(self, ca: Authority, server_identity: Identity) -> None:
        report, reused = only_one_ticket(ca, server_identity, prepare=refuse(3))
        assert kinds(report)["1.3 PSK"].session is None
        assert reused == [False, True]


def only_one_ticket(ca: Authority, identity: Identity, **more: Any) -> tuple[Report, list[bool]]:
    """Of a server that sends a ticket on full handshakes and none on others."""
    ctx = server_context(identity, tickets=1)

    def change(conn: ssl.SSLSocket) -> None:
        ctx.num_tickets = 1 if conn.session_reused else 0

    with EchoServer(ctx, on_connect=change, **more) as server:
        return probe(server.port, ca).run(["1.3"], keep=True), server.reused


def refuse(number: int) -> Any:
    """Cuts that connection, from 1, before its handshake."""
    count = 0

    def prepare(conn: ssl.SSLSocket) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise ConnectionAbortedError

    return prepare


class TestAddresses:
    def test_all_connections_go_to_the_address_that_took_the_first(
        self, ca: Authority, server_identity: Identity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked_up = 0
        with socket.socket() as deaf, EchoServer(server_context(server_identity)) as server:
            deaf.bind(("127.0.0.1", 0))

            def lookup(*_: object, **__: object) -> list[Any]:
                nonlocal looked_up
                looked_up += 1
                kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
                return [(*kind, deaf.getsockname()), (*kind, ("127.0.0.1", server.port))]

            monkeypatch.setattr(socket, "getaddrinfo", lookup)
            report = probe(server.port, ca).run()
            assert (report.address, looked_up, server.connections) == ("127.0.0.1", 1, 6)

    def test_the_host_header(self) -> None:
        def question(host: str) -> bytes:
            return visits.Visitor(parse_target(host), 1)._question()

        assert b"\r\nHost: localhost\r\n" in question("localhost")
        assert b"\r\nHost: [::1]\r\n" in question("::1")
        assert b"\r\nHost: xn--bcher-kva.example\r\n" in question("bücher.example")
