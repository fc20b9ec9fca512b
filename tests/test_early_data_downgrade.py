"""Servers that went back to TLS 1.2 cannot read what comes early: they hang up, mostly before a client has read their
alert (RFC 8446 D.3)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.early import ACCEPTED, NOT_SENT, REQUEST, Site
from helpers.peers import server_context
from helpers.sockets import aside
from sslsession import send_replayable

pytestmark = pytest.mark.binding

TIMEOUTS = (TimeoutError, socket.timeout)


@pytest.fixture
def site(ca: Authority, server_identity: Identity) -> Iterator[Site]:
    site = Site(ca, server_identity)
    yield site
    site.close()


@pytest.fixture
def client(site: Site) -> ssl.SSLContext:
    site.client.minimum_version = ssl.TLSVersion.TLSv1_2
    for _ in range(4):
        site.visit()
    return site.client


def ask(client: ssl.SSLContext, server: ssl.SSLContext) -> Any:
    ours, theirs = socket.socketpair()

    def serve() -> bytes:
        with theirs, server.wrap_socket(theirs, server_side=True) as conn:
            return conn.recv(1000)

    with aside(serve) as heard, ours:
        with client.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False) as conn:
            try:
                status = send_replayable(conn, REQUEST)
            except OSError as error:
                return error
    return status, heard[0]


def test_one_connection_breaks_and_says_why(client: ssl.SSLContext, server_identity: Identity) -> None:
    """Other tickets of that peer are not tried as well."""
    server = server_context(server_identity, version="1.2")
    error = ask(client, server)
    assert isinstance(error, OSError)
    assert "sent early" in str(error)
    assert "connect again" in str(error)
    for _ in range(3):
        assert ask(client, server) == (NOT_SENT, REQUEST)


def test_a_connection_without_early_data_loses_no_tickets(site: Site, client: ssl.SSLContext) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises((ssl.SSLError, ConnectionError)):
        client.wrap_socket(ours, server_hostname="localhost")
    assert site.speak().status is ACCEPTED


def test_a_timeout_loses_no_tickets(site: Site, client: ssl.SSLContext) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.01)
    with ours, theirs:
        with (
            client.wrap_socket(ours, server_hostname="localhost", do_handshake_on_connect=False) as conn,
            pytest.raises(TIMEOUTS),
        ):
            send_replayable(conn, REQUEST)
    assert site.speak().status is ACCEPTED
