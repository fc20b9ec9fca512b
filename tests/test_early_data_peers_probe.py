"""`probe` says whether a server really takes early data, which its tickets only promise."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from helpers import serving
from helpers.certs import Authority, Identity
from helpers.early_programs import verdicts
from helpers.peers import EchoServer, server_context
from helpers.programs import nginx, s_server
from sslsession import ServerSessionCache
from sslsession.probing import KindReport, Probe, Target, Trust

named = serving.named


def psk(port: int, ca: Authority, *, keep: bool = False) -> KindReport:
    """What is found of the one kind of resumption that TLS 1.3 has."""
    report = Probe(Target("localhost", port, "localhost"), Trust(ca.pem_path), timeout=20).run(
        ["1.3"], keep=keep
    )
    ((_, kind),) = report.kinds
    return kind


@pytest.mark.parametrize(("more", "found"), [("", "accepted"), ("ssl_ecdh_curve secp384r1;", "rejected")])
def test_nginx(ca: Authority, server_identity: Identity, more: str, found: str) -> None:
    with nginx(server_identity, early_data=True, extra=more) as server:
        kind = psk(server.port, ca)
    assert (kind.resumed, kind.max_early_data, kind.early_data) == (True, 16384, found)


def test_nginx_that_promises_none(ca: Authority, server_identity: Identity) -> None:
    with nginx(server_identity) as server:
        kind = psk(server.port, ca)
    assert (kind.resumed, kind.max_early_data, kind.early_data) == (True, 0, None)


def test_s_server_gets_one_question_a_connection(ca: Authority, server_identity: Identity) -> None:
    with s_server(server_identity, version="1.3", mode=None, args=["-early_data"]) as server:
        kind = psk(server.port, ca)
        told = verdicts(server, 3)
    assert kind.early_data == "accepted"
    assert told == [*["No early data received"] * 2, "Early data received"]
    assert server.log.count("HEAD / HTTP/1.1") == 3


def test_a_server_that_promises_and_takes_none(ca: Authority, server_identity: Identity) -> None:
    options = ["-max_early_data", "1000"]
    with s_server(server_identity, version="1.3", mode=None, args=options) as server:
        kind = psk(server.port, ca)
        verdicts(server, 3)
    assert (kind.max_early_data, kind.early_data) == (1000, "rejected")
    assert server.log.count("HEAD / HTTP/1.1") == 3


def test_one_that_takes_less_than_a_question(ca: Authority, server_identity: Identity) -> None:
    args = ["-early_data", "-max_early_data", "5"]
    with s_server(server_identity, version="1.3", mode=None, args=args) as server:
        kind = psk(server.port, ca)
    assert (kind.max_early_data, kind.early_data) == (5, None)


def test_one_that_hangs_up_on_early_data(ca: Authority, server_identity: Identity) -> None:
    connections: list[ssl.SSLSocket] = []

    def hang_up(conn: ssl.SSLSocket) -> None:
        connections.append(conn)
        if len(connections) == 3:
            raise ConnectionAbortedError("this server never heard of it")

    context = server_context(server_identity)
    with ServerSessionCache(max_early_data=4096) as cache:
        cache.attach(context)
        with EchoServer(context, prepare=hang_up) as server:
            kind = psk(server.port, ca)
    assert (kind.resumed, kind.early_data) == (
        True,
        "failed: the server closed the connection during the handshake",
    )


def test_a_session_is_left_to_keep(ca: Authority, server_identity: Identity) -> None:
    with nginx(server_identity, early_data=True) as server:
        kind = psk(server.port, ca, keep=True)
        assert kind.session is not None
        assert kind.session.is_resumable
        again = Probe(Target("localhost", server.port, "localhost"), Trust(ca.pem_path), timeout=20)
        assert again.resume(kind.session).resumed


def test_the_command_and_serve(ca: Authority, named: list[Any], tmp_path: Path) -> None:
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from helpers.command import sslsession

    with serving.Serving(*named, "--early-data", 4096, "--json") as server:
        where = f"localhost:{server.port}", "--ca", str(ca.pem_path)
        said = sslsession("probe", *where).stdout
        found = json.loads(sslsession("probe", *where, "--json").stdout)
        server.expect('"early_data": "accepted"')
    assert "; 0-RTT 4096 bytes, accepted\n" in said
    assert found["versions"]["1.3"]["resumption"]["psk"]["early_data"] == "accepted"
