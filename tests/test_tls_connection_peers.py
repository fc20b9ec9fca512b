"""A `TLSConnection` and programs that have nothing to do with it: openssl and nginx."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.contexts import client_context
from helpers.early_programs import FRAGMENTS
from helpers.programs import nginx, s_client, s_server
from helpers.sockets import aside
from helpers.tls import pin_of, serving
from sslsession import CertificateRefused, MaxBufferSize, TLSConnection
from sslsession.drivers import BlockingConnection

TIMEOUT = 20.0
RECORD_4K = 4096 + 256
"""Bytes of a record of 4096 bytes' plaintext, at most (RFC 8446 5.2)."""
SIZES = re.compile(r"RecordHeader \[length 0005\]\s+17 03 03 ([0-9a-f]{2}) ([0-9a-f]{2})")
LARGE = b"0123456789abcdef" * 2000


def client_of(ca: Authority, **settings: Any) -> BlockingConnection:
    """A client of the blocking driver."""
    return BlockingConnection(
        TLSConnection(
            "localhost", context=client_context(ca, version=settings.pop("version", None)), **settings
        ),
        timeout=TIMEOUT,
    )


def ask(conn: BlockingConnection, port: int, request: bytes) -> list[bytes]:
    """What comes back until the end, by record."""
    with conn.connect(("127.0.0.1", port)):
        conn.send(request)
        return list(iter(conn.recv, b""))


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("size", [MaxBufferSize.Default, MaxBufferSize.K16])
def test_s_client_that_accepts_4_kb_records_alone(
    ca: Authority, server_identity: Identity, version: str, size: MaxBufferSize
) -> None:
    server = BlockingConnection(serving(server_identity, max_buffer_size=size), timeout=TIMEOUT)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> bytes:
            with server.accept(listener.accept()[0]):
                asked = server.recv()
                server.send(LARGE + b"end\n")
                return asked + server.recv()

        with aside(serve) as heard:
            said = s_client(
                listener.getsockname()[1],
                *("-CAfile", ca.pem_path, "-verify_return_error", "-msg", f"-tls1_{version[-1]}", *FRAGMENTS),
                send=b"all of it\n",
                until=r"end\n",
            )
    assert heard == [b"all of it\n"]
    sizes = [int(high + low, 16) for high, low in SIZES.findall(said.output)]
    assert len(sizes) >= len(LARGE) // 4096
    assert 4096 <= max(sizes) <= RECORD_4K


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("size", [MaxBufferSize.B512, MaxBufferSize.K4])
def test_s_server_keeps_to_what_it_is_asked_for(
    ca: Authority, server_identity: Identity, version: str, size: MaxBufferSize
) -> None:
    with s_server(server_identity, version=version, mode="-WWW") as server:
        (server.directory / "large").write_bytes(LARGE)
        records = ask(client_of(ca, max_buffer_size=size), server.port, b"GET /large HTTP/1.0\r\n\r\n")
    assert b"".join(records).endswith(LARGE)
    assert max(map(len, records)) == size.bytes


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_nginx_resumes_what_a_pinned_connection_earned(
    ca: Authority, server_identity: Identity, version: str
) -> None:
    conn = client_of(ca, version=version, validators=[pin_of(server_identity)])
    with nginx(server_identity) as server:
        pages = [b"".join(ask(conn, server.port, b"GET / HTTP/1.0\r\n\r\n")) for _ in range(3)]
    assert [page.partition(b"\r\n\r\n")[2][:2] for page in pages] == [b". ", b"r ", b"r "]


def test_nginx_with_another_key_than_is_pinned(
    ca: Authority, server_identity: Identity, client_identity: Identity
) -> None:
    conn = client_of(ca, validators=[pin_of(client_identity)])
    with nginx(server_identity) as server, pytest.raises(CertificateRefused):
        ask(conn, server.port, b"GET / HTTP/1.0\r\n\r\n")
    assert "GET" not in server.log
