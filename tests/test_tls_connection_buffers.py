"""max_buffer_size: what is asked of the server, what is sent, and peers that send more."""

from __future__ import annotations

import ssl

import pytest

from helpers.tls import carry, join, serving
from sslsession import FragmentTooLarge, MaxBufferSize, SessionError, TLSConnection, get_session

SMALL = [size for size in MaxBufferSize if size.code]


def test_ordinals_are_those_of_the_extension():
    """RFC 6066 4, and Sming's after that."""
    assert [size.value for size in MaxBufferSize] == list(range(7))
    assert [size.bytes for size in MaxBufferSize] == [16384, 512, 1024, 2048, 4096, 8192, 16384]
    assert [size.name for size in SMALL] == ["B512", "K1", "K2", "K4"]


@pytest.mark.parametrize("size", SMALL)
def test_a_server_keeps_to_what_its_client_asks_for(client, server_identity, size):
    conn, server = (
        TLSConnection("localhost", context=client, max_buffer_size=size),
        serving(server_identity),
    )
    join(conn, server)
    server.send(bytes(20000))
    assert carry(conn, server)[0] == bytes(20000)
    assert get_session(server).max_packet_size == size.bytes


@pytest.mark.parametrize("size", [MaxBufferSize.K8, MaxBufferSize.K16])
def test_8_and_16_kb_are_not_in_the_extension(client, server_identity, size):
    conn = TLSConnection("localhost", context=client, max_buffer_size=size)
    join(conn, serving(server_identity))
    assert get_session(conn).max_packet_size == 16384


@pytest.mark.parametrize("size", [MaxBufferSize.B512, MaxBufferSize.K4, MaxBufferSize.K8])
def test_a_client_that_sends_more_than_a_server_has_room_for(client, server_identity, size):
    conn = TLSConnection("localhost", context=client)
    server = serving(server_identity, max_buffer_size=size)
    join(conn, server)
    conn.send(bytes(size.bytes))
    assert server.receive_data(conn.data_to_send()) == bytes(size.bytes)
    conn.send(bytes(size.bytes + 1))
    words = f"sent {size.bytes + 1} bytes in one record, and max_buffer_size allows {size.bytes}.*larger"
    with pytest.raises(FragmentTooLarge, match=words) as caught:
        server.receive_data(conn.data_to_send())
    assert isinstance(caught.value, (ssl.SSLError, SessionError))
    with pytest.raises(FragmentTooLarge):
        server.receive_data(b"more")
    assert not server.is_connected
    conn.receive_data(server.data_to_send())
    assert conn.peer_closed


def test_a_server_of_8_kb_records_for_a_client_of_8_kb(client, server_identity):
    conn = TLSConnection("localhost", context=client, max_buffer_size=MaxBufferSize.K8)
    server = serving(server_identity)
    join(conn, server)
    server.send(bytes(9000))
    with pytest.raises(FragmentTooLarge, match="sent 9000 bytes"):
        carry(conn, server)
