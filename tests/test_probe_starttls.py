"""TLS that begins inside SMTP, IMAP, POP3 and FTP, against small servers that speak what comes before it."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import server_context
from helpers.plain import plain_server, read_line
from sslsession.probing import Probe, ProbeError, Trust, parse_target, starttls

Script = Sequence["bytes | str"]
"""In turn: bytes that the server sends, and lines that it then waits for."""

SCRIPTS: dict[str, Script] = {
    "smtp": [
        *(b"220-mail\r\n220 ready\r\n", "EHLO localhost"),
        *(b"250-mail\r\n250-STARTTLS\r\n250 SIZE\r\n", "STARTTLS", b"220 go\r\n"),
    ],
    "imap": [b"* OK ready\r\n", "a STARTTLS", b"* a remark\r\na OK go\r\n"],
    "pop3": [b"+OK ready\r\n", "STLS", b"+OK go\r\n"],
    "ftp": [b"220-welcome\r\nfreely\r\n220 ready\r\n", "AUTH TLS", b"234 go\r\n"],
}


def play(conn: socket.socket, script: Script) -> None:
    for each in script:
        if isinstance(each, bytes):
            conn.sendall(each)
        else:
            assert read_line(conn) == each.encode() + b"\r\n"


def failure(protocol: str, script: Script, *, then_wait: bool = False) -> str:
    def handle(conn: socket.socket) -> None:
        play(conn, script)
        if then_wait:
            conn.recv(1)

    with plain_server(handle) as port:
        target = parse_target(f"localhost:{port}", starttls=protocol)
        work = Probe(target, Trust(insecure=True), timeout=0.3 if then_wait else 20)
        with pytest.raises(ProbeError) as caught:
            work.run()
    told = str(caught.value)
    assert told.startswith(f"localhost:{port}, {protocol}: ")
    assert told.isprintable()
    return told.partition(f"{protocol}: ")[2]


@pytest.mark.parametrize("protocol", list(SCRIPTS))
def test_each_protocol(ca: Authority, server_identity: Identity, protocol: str) -> None:
    ctx = server_context(server_identity)

    def handle(conn: socket.socket) -> None:
        play(conn, SCRIPTS[protocol])
        with ctx.wrap_socket(conn, server_side=True) as secure:
            asked.append(secure.recv(1000))
            secure.sendall(b"250 answer\r\n")
            secure.unwrap()

    asked: list[bytes] = []
    with plain_server(handle) as port:
        target = parse_target(f"localhost:{port}", starttls=protocol)
        report = Probe(target, Trust(ca.pem_path)).run()
    assert {kind.kind: kind.resumed for _, kind in report.kinds} == {
        "PSK": True,
        "ticket": True,
        "session id": True,
    }
    assert asked[:2] == [starttls.QUESTIONS[protocol]] * 2
    assert report.plain()["starttls"] == protocol


@pytest.mark.parametrize(
    ("protocol", "script", "told"),
    [
        ("smtp", [b"554 no\r\n"], "to the connection it said '554 no'"),
        ("smtp", [b"220 x\r\n", "EHLO localhost", b"250-x\r\n250 SIZE\r\n"], "does not offer STARTTLS"),
        (
            "smtp",
            [b"220 x\r\n", "EHLO localhost", b"250-x\r\n250 starttls\r\n", "STARTTLS", b"454 later\r\n"],
            "to STARTTLS it said '454 later'",
        ),
        ("imap", [b"* BYE busy\r\n"], "to the connection it said '* BYE busy'"),
        (
            "imap",
            [b"* OK x\r\n", "a STARTTLS", b"a BAD \x1b[2J\r\n"],
            "to STARTTLS it said 'a BAD \\\\x1b[2J'",
        ),
        ("pop3", [b"-ERR no\r\n"], "to the connection it said '-ERR no'"),
        ("pop3", [b"+OK\r\n", "STLS", b"-ERR no\r\n"], "to STLS it said '-ERR no'"),
        ("ftp", [b"220 x\r\n", "AUTH TLS", b"502 no\r\n"], "to AUTH TLS it said '502 no'"),
        ("ftp", [b"220-never\r\n"], "the server closed the connection before TLS began"),
        ("ftp", [b"more\r\n" * 201], "does not end"),
        ("ftp", [b"x" * 10_000], "is no line of text"),
    ],
)
def test_what_does_not_begin_tls(protocol: str, script: Script, told: str) -> None:
    assert told in failure(protocol, script)


def test_plaintext_behind_the_agreement_is_refused() -> None:
    told = failure("pop3", [b"+OK\r\n", "STLS", b"+OK go\r\n+OK injected\r\n"])
    assert "must not be believed" in told


def test_silence_ends_with_the_timeout() -> None:
    assert failure("smtp", [b"220-wait"], then_wait=True) == "did not answer within 0.3 s"


def test_a_server_that_talks_tls_at_once_is_told_from_one_that_does_not() -> None:
    with plain_server(lambda conn: conn.sendall(b"220 mail\r\n") or conn.recv(1000)) as port:
        with pytest.raises(ProbeError, match="needs --starttls"):
            Probe(parse_target(f"localhost:{port}")).run()
