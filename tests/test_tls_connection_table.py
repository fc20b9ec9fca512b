"""Each row of the table "Sming's session as TLSConnection", by its name; print_to is with the settings."""

from __future__ import annotations

import ssl

import pytest

from helpers.contexts import server_context
from helpers.memory import Pair
from helpers.tls import WRONG_PIN, carry, join, part, pin_of, resumed, same_trust, serving
from sslsession import CipherSuites, MaxBufferSize, PeerCertificate, SessionError, TLSConnection, get_session

pytestmark = pytest.mark.binding


@pytest.fixture
def server(server_identity):
    return serving(server_identity)


def test_session_initialisation_callbacks(client, server):
    called = []

    def for_all(connection):
        called.append("all")
        connection.max_buffer_size = MaxBufferSize.K2

    def for_one(connection):
        called.append("one")
        assert connection.max_buffer_size is MaxBufferSize.K2
        connection.cache_size = None
        connection.validators.append(lambda certificate: called.append("validator") or True)

    TLSConnection.register_init(for_all)
    try:
        conn = TLSConnection("localhost", context=client, on_init=for_one)
        assert called == []
        conn.connect()
        assert called == ["all", "one"]
        assert conn.data_to_send()
    finally:
        TLSConnection.unregister_init(for_all)
    conn.close()
    join(conn, server)
    assert called == ["all", "one", "validator"]
    assert conn.max_buffer_size is MaxBufferSize.K2


def test_host_name(client, server):
    seen = []
    server.context.sni_callback = lambda sslobject, name, context: seen.append(name)
    join(TLSConnection("localhost", context=client), server)
    assert seen == ["localhost"]
    conn = TLSConnection("elsewhere.example", context=client)
    conn.connect()
    with pytest.raises(ssl.SSLCertVerificationError, match=r"elsewhere\.example"):
        carry(conn, server.another())


def test_key_cert(ca, client, server_identity, client_identity):
    with pytest.raises(ValueError, match="a server needs a certificate"):
        TLSConnection(server_side=True)
    asking = server_context(server_identity, client_ca=ca)
    server = TLSConnection(server_side=True, context=asking)
    client_identity.load(client)
    join(TLSConnection("localhost", context=client), server)
    assert server.connection.getpeercert(True) == client_identity.leaf_der


def test_options_session_resume(client, server):
    conn = TLSConnection("localhost", context=client)
    assert [resumed(conn, server.another()) for _ in range(3)] == [False, True, True]


def test_options_session_resume_not_wanted(client, server):
    conn = TLSConnection("localhost", context=client, resume=False)
    assert [resumed(conn, server.another()) for _ in range(2)] == [False, False]
    assert conn.session_id == b""


def test_options_verify_later(server_identity, server):
    with pytest.raises(ValueError, match="would trust anybody"):
        TLSConnection("localhost", verify_later=True)
    order = []

    def judge(certificate):
        order.append("validator")
        return True

    conn = TLSConnection(
        "localhost", verify_later=True, validators=[judge], on_handshake=lambda *_: order.append("done")
    )
    join(conn, server)
    assert order == ["validator", "done"]
    join(TLSConnection("localhost", verify_later=True, insecure=True), server.another())


def test_validators_any_in_order_first_success_wins(client, server, server_identity):
    asked = []

    def no(certificate: PeerCertificate) -> bool:
        asked.append(certificate.der)
        return False

    def never(certificate):
        raise AssertionError("the one before accepted")

    conn = TLSConnection("localhost", context=client, validators=[no, pin_of(server_identity), never])
    join(conn, server)
    assert asked == [server_identity.leaf_der]


def test_validators_none_listed_means_the_ca_check_alone(lax, impostor, client):
    with pytest.raises(ValueError, match="verifies nothing"):
        TLSConnection("localhost", context=lax).connect()
    conn = TLSConnection("localhost", context=client)
    conn.connect()
    with pytest.raises(ssl.SSLCertVerificationError):
        carry(conn, TLSConnection(server_side=True, context=impostor))


def test_validate_certificate(client, server, server_identity):
    conn = TLSConnection("localhost", context=client, validators=[pin_of(server_identity)])
    with pytest.raises(SessionError, match="no connection"):
        conn.validate_certificate()
    join(conn, server)
    assert conn.validate_certificate() is True
    conn.close()
    with pytest.raises(SessionError, match="no connection"):
        conn.validate_certificate()


def test_handshake_complete(client, server):
    told = []
    for validators in ((), (WRONG_PIN,)):
        conn = TLSConnection(
            "localhost", context=client, validators=validators, on_handshake=lambda *each: told.append(each)
        )
        conn.connect()
        try:
            carry(conn, server.another())
        except ssl.SSLError as error:
            failure = error
        assert told.pop() == (conn, failure if validators else None)
        assert told == []


@pytest.mark.parametrize("size", MaxBufferSize)
def test_max_buffer_size(client, server, size):
    conn = TLSConnection("localhost", context=client, max_buffer_size=size)
    join(conn, server)
    conn.send(bytes(40000))
    server.send(bytes(40000))
    sent = conn.data_to_send()
    assert int.from_bytes(sent[3:5], "big") <= size.bytes + 64
    assert len(server.receive_data(sent)) == 40000
    if size.code:
        assert get_session(conn).max_packet_size == size.bytes
        assert carry(conn, server)[0] == bytes(40000)


def test_cipher_suites(ca, server_identity):
    identity = ca.issue("localhost", rsa=True)
    server = serving(identity, cipher_suites=CipherSuites.full)
    server.context.maximum_version = ssl.TLSVersion.TLSv1_2
    named = {"basic": "AES128-SHA256", "full": "ECDHE-RSA-AES128-GCM-SHA256", "own": "AES256-SHA"}
    for suites in (CipherSuites.basic, CipherSuites.full, "AES256-SHA"):
        conn = TLSConnection("localhost", verify_later=True, insecure=True, cipher_suites=suites)
        join(conn, other := server.another())
        name = getattr(suites, "name", "own")
        assert conn.connection.cipher()[0].startswith(named[name][:5])
        part(conn, other)
    join(conn := TLSConnection("localhost", verify_later=True, insecure=True), server.another())
    assert "ECDHE" in conn.connection.cipher()[0]


def test_cache_size_0_means_none(client, server_identity):
    server = serving(server_identity, cache_size=0)
    for cache_size in (None, 0):
        conn = TLSConnection("localhost", context=same_trust(client), cache_size=cache_size)
        assert [resumed(conn, server.another()) for _ in range(2)] == [False, False]


def test_cache_size_of_a_server(client12, server_identity):
    """The third client's session drives out the first one's."""
    server = serving(server_identity, cache_size=2)
    client12.options |= ssl.OP_NO_TICKET
    conns = [TLSConnection("localhost", context=same_trust(client12)) for _ in range(3)]
    for conn in conns:
        conn.context.options |= ssl.OP_NO_TICKET
        assert not resumed(conn, server.another())
    assert [resumed(conn, server.another()) for conn in reversed(conns)] == [True, True, False]


def test_on_accept_on_connect(client, server):
    assert TLSConnection("localhost", context=client).connect() is True
    assert server.another().accept() is True
    conn = TLSConnection("localhost", context=client, on_init=lambda connection: False)
    for _ in range(2):
        with pytest.raises(SessionError, match="returned False"):
            conn.connect()
    conn = TLSConnection("localhost", context=client, on_init=lambda connection: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        conn.connect()
    conn = TLSConnection("localhost", context=client, on_handshake=lambda *_: False)
    conn.connect()
    for call in (lambda: carry(conn, server.another()), conn.connection.read):
        with pytest.raises(SessionError, match="on_handshake returned False"):
            call()
    assert not conn.is_connected


def test_server_side_or_accept(client, server_identity):
    files = server_identity.cert_pem_path, server_identity.key_path
    for server in (TLSConnection(certificate=files), TLSConnection(certificate=files, server_side=True)):
        join(TLSConnection("localhost", context=client), server)
        assert server.server_side
    with pytest.raises(SessionError, match=r"call accept\(\)"):
        TLSConnection(certificate=files, server_side=True).connect()


def test_get_session_id_and_its_to_string(client, server):
    conn = TLSConnection("localhost", context=client)
    assert conn.session_id.hex() == ""
    join(conn, server)
    live = conn.session_id.hex()
    assert live == live.lower() == get_session(conn).id.hex() != ""
    part(conn, server)
    assert conn.session_id.hex() == live


def test_is_connected_get_connection_set_connection(client, server):
    conn = TLSConnection("localhost", context=client)
    assert conn.connection is None
    assert not conn.is_connected
    conn.connect()
    assert isinstance(conn.connection, ssl.SSLObject)
    assert not conn.is_connected
    carry(conn, server)
    assert conn.is_connected
    conn.close()
    assert not conn.is_connected


def test_set_connection_takes_an_established_one_once(client, server_identity):
    with Pair(client, server_context(server_identity)) as pair:
        conn = TLSConnection()
        conn.adopt(pair.client)
        assert conn.connection is pair.client
        for other in (conn, TLSConnection()):
            with pytest.raises(SessionError):
                other.adopt(pair.client)


def test_read_and_write(client, server):
    conn = TLSConnection("localhost", context=client)
    join(conn, server)
    assert conn.send(b"plaintext") == 9
    ciphertext = conn.data_to_send()
    assert b"plaintext" not in ciphertext
    assert server.receive_data(ciphertext[:7]) == b""
    assert server.receive_data(memoryview(ciphertext)[7:]) == b"plaintext"


def test_close(client, server):
    conn = TLSConnection("localhost", context=client)
    for _ in range(2):
        join(conn, server)
        conn.close()
        notify = conn.data_to_send()
        conn.close()
        assert conn.data_to_send() == b""
        assert server.receive_data(notify) == b""
        assert server.peer_closed
        assert exchange_is_over(conn)
        server.close()
    assert conn.connection.session_reused


def exchange_is_over(conn: TLSConnection) -> bool:
    """Whether nothing can be sent."""
    with pytest.raises(SessionError, match="closed"):
        conn.send(b"more")
    return True
