"""What `get_session` and its neighbours take for a connection, and what they say to all else."""

from __future__ import annotations

import asyncio
import ftplib
import http.client
import smtplib
import socket
import ssl
from types import SimpleNamespace
from typing import Any

import pytest

import sslsession
from helpers.peers import EchoServer, Pair, SocketPair, connect, dial
from helpers.sessions import offering, session_of
from sslsession import SessionError, get_session, set_session, why_not_resumed

pytestmark = pytest.mark.binding
ENTRY_POINTS = [
    sslsession.get_session,
    sslsession.why_not_resumed,
    sslsession.renegotiate,
    sslsession.send_new_ticket,
    sslsession.update_keys,
]


def test_ssl_objects_and_ssl_sockets(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    for kind in (Pair, SocketPair):
        pair = kind(client, server).handshake()
        pair.exchange()
        for side in (pair.client, pair.server):
            session = session_of(side)
            assert session.version.name.replace("_", ".") == str(side.version())
        assert session_of(pair.client).is_resumable
        pair.close()


def test_asyncio_writers_and_transports(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    async def talk(port: int) -> list[sslsession.Session | None]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname="localhost"
        )
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        found = [
            get_session(conn) for conn in (writer, writer.transport, writer.get_extra_info("ssl_object"))
        ]
        assert why_not_resumed(writer) is sslsession.Reason.NOT_OBSERVED
        writer.close()
        await writer.wait_closed()
        return found

    with EchoServer(server) as echo:
        found = asyncio.run(talk(echo.port))
        assert {session.ticket for session in found if session} == {found[0] and found[0].ticket}
        assert found[0] is not None
        with dial(echo.port, client, prepare=offering(found[0])) as conn:
            assert conn.session_reused


def test_an_asyncio_transport_without_tls_is_none() -> None:
    async def talk() -> None:
        listener = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(TypeError, match="StreamWriter"):
            get_session(writer)
        writer.close()
        await writer.wait_closed()
        listener.close()
        await listener.wait_closed()

    asyncio.run(talk())


def test_http_client(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    with EchoServer(server) as echo:
        conn = http.client.HTTPSConnection("127.0.0.1", echo.port, context=client)
        with pytest.raises(SessionError, match="HTTPSConnection has no socket: it is not connected yet"):
            get_session(conn)
        conn.connect()
        conn.send(b"x")
        assert conn.sock.recv(1) == b"x"
        session = session_of(conn)
        assert session.server_name == "127.0.0.1"
        assert session.is_resumable
        conn.close()
        with pytest.raises(SessionError, match="was closed"):
            get_session(conn)


def test_smtplib(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    def greet(conn: ssl.SSLSocket) -> None:
        conn.sendall(b"220 ready\r\n")

    with EchoServer(server, on_connect=greet) as echo:
        conn = smtplib.SMTP_SSL("127.0.0.1", echo.port, local_hostname="client.example", context=client)
        assert session_of(conn).is_resumable
        conn.close()
        with pytest.raises(SessionError, match="SMTP_SSL has no socket"):
            get_session(conn)


def test_ftplib(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    with EchoServer(server) as echo:
        ftp = ftplib.FTP_TLS(context=client)  # noqa: S321
        with pytest.raises(SessionError, match="FTP_TLS has no socket"):
            get_session(ftp)
        ftp.sock = dial(echo.port, client)
        assert session_of(ftp).server_name == "localhost"
        ftp.close()


def test_sockets_inside_sockets(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    pair = connect(client, server)
    once = SimpleNamespace(sock=pair.client)
    assert session_of(SimpleNamespace(sock=once)).id == session_of(pair.client).id
    pair.close()


def test_set_session_takes_them_too(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    session = session_of(connect(client, server).client)
    pair = Pair(client, server)
    set_session(SimpleNamespace(get_extra_info={"ssl_object": pair.client}.get), session)
    pair.handshake()
    assert pair.client.session_reused
    pair.close()


@pytest.mark.parametrize("entry", ENTRY_POINTS)
@pytest.mark.parametrize(
    "other",
    [
        None,
        1,
        "localhost",
        object(),
        ssl,
        SimpleNamespace(sock=object()),
        SimpleNamespace(get_extra_info=lambda name: None),
    ],
    ids=lambda other: type(other).__name__,
)
def test_what_is_no_connection_is_a_type_error_that_says_what_is(entry: Any, other: Any) -> None:
    with pytest.raises(TypeError, match=r"no ssl connection is behind .*SSLSocket.*SSLObject.*pyOpenSSL"):
        entry(other)


def test_a_loop_of_sockets_ends() -> None:
    loop = SimpleNamespace()
    loop.sock = SimpleNamespace(sock=loop)
    with pytest.raises(TypeError, match="no ssl connection"):
        get_session(loop)


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_a_plain_socket_is_none(entry: Any) -> None:
    with socket.socket() as plain, pytest.raises(TypeError, match="behind socket"):
        entry(plain)


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_a_socket_without_its_tls(entry: Any, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    with socket.socket() as raw:
        with client.wrap_socket(raw, server_hostname="localhost", do_handshake_on_connect=False) as early:
            with pytest.raises(SessionError, match="not connected yet"):
                entry(early)
    pair = SocketPair(client, server).handshake()
    pair.exchange()
    pair.close()
    with pytest.raises(SessionError, match="closed or unwrapped"):
        entry(pair.client)


def test_set_session_says_the_same(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    session = session_of(connect(client, server).client)
    with pytest.raises(TypeError, match="no ssl connection"):
        set_session(object(), session)
    with pytest.raises(SessionError, match="no socket"):
        set_session(http.client.HTTPSConnection("localhost"), session)
