"""Early data of this library's clients at nginx, which says what came early, and behind it (RFC 8470)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from helpers.certs import Authority, Identity
from helpers.early_programs import REQUEST, fetch, header
from helpers.peers import client_context
from helpers.plain import plain_server
from helpers.programs import nginx
from sslsession import ClientSessionCache, EarlyData

ACCEPTED, REJECTED, NOT_SENT = EarlyData.ACCEPTED, EarlyData.REJECTED, EarlyData.NOT_SENT


@pytest.fixture
def client(ca: Authority) -> Iterator[ssl.SSLContext]:
    """A context whose sessions may be used for early data."""
    context = client_context(ca)
    with ClientSessionCache(early_data=True) as cache:
        cache.attach(context)
        yield context


@pytest.mark.parametrize("shared", [True, False])
def test_it_accepts_and_says_so(client: ssl.SSLContext, server_identity: Identity, shared: bool) -> None:
    with nginx(server_identity, early_data=True, cache=shared) as server:
        first, second = fetch(server.port, client), fetch(server.port, client)
    assert (first[:2], header(first[2], b"X-Early-Data")) == ((NOT_SENT, False), None)
    assert (second[:2], header(second[2], b"X-Early-Data")) == ((ACCEPTED, True), b"1")


def test_after_a_hello_retry_request_it_is_sent_again(
    client: ssl.SSLContext, server_identity: Identity
) -> None:
    extra = "ssl_ecdh_curve secp384r1;"
    with nginx(server_identity, early_data=True, extra=extra) as server:
        found = [fetch(server.port, client) for _ in range(2)]
    assert [each[0] for each in found] == [NOT_SENT, REJECTED]
    assert all(each[2].startswith(b"HTTP/1.1 200") for each in found)
    assert header(found[1][2], b"X-Early-Data") is None


def test_one_that_takes_none_is_sent_none(client: ssl.SSLContext, server_identity: Identity) -> None:
    with nginx(server_identity) as server:
        found = [fetch(server.port, client) for _ in range(2)]
    assert [each[:2] for each in found] == [(NOT_SENT, False), (NOT_SENT, True)]


def test_one_that_forgot_the_ticket_key_is_sent_it_again(
    client: ssl.SSLContext, server_identity: Identity
) -> None:
    with nginx(server_identity, early_data=True) as server:
        fetch(server.port, client)
    with nginx(server_identity, early_data=True) as other:
        status, resumed, answer = fetch(other.port, client)
    assert (status, resumed, answer[:12]) == (REJECTED, False, b"HTTP/1.1 200")


def test_what_is_too_early_for_the_server_behind_it_is_asked_again(
    client: ssl.SSLContext, server_identity: Identity
) -> None:
    """RFC 8470: nginx marks what it passes on before the handshake is done, and hands 425 through."""
    marks: list[bytes | None] = []

    def answer(conn: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += conn.recv(65536)
        marks.append(header(request, b"Early-Data"))
        status = b"425 Too Early" if marks[-1] == b"1" else b"200 OK"
        conn.sendall(b"HTTP/1.0 " + status + b"\r\nContent-Length: 2\r\n\r\nok")

    with plain_server(answer) as behind:
        passing = f"location = /behind {{ proxy_pass http://127.0.0.1:{behind};"
        passing += " proxy_set_header Early-Data $ssl_early_data; }"
        request = b"GET /behind HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with nginx(server_identity, early_data=True, extra=passing) as server:
            found = [fetch(server.port, client, request, again=True) for _ in range(2)]
    assert [each.status for each in found] == [NOT_SENT, ACCEPTED]
    assert [each.answer[:12] for each in found] == [b"HTTP/1.1 200"] * 2
    assert marks == [None, b"1", None]


def test_a_request_of_several_records(client: ssl.SSLContext, server_identity: Identity) -> None:
    request = REQUEST.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 6000 + b"\r\n\r\n")
    with nginx(server_identity, early_data=True) as server:
        found = [fetch(server.port, client, request) for _ in range(2)]
    assert [header(each[2], b"X-Early-Data") for each in found] == [None, b"1"]
