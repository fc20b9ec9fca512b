"""Settings of a TLSConnection: what is refused, what stands, and what is never shown."""

from __future__ import annotations

import ssl
import subprocess

import pytest

import sslsession
from helpers.contexts import client_context
from helpers.tls import carry, exchange, join, part, pin_of, serving
from sslsession import ClientSessionCache, MaxBufferSize, ServerSessionCache, SessionError, TLSConnection

WRONG_KINDS = {
    "server_hostname": [b"localhost", 1],
    "server_side": [1, "no", None],
    "context": ["context", ssl],
    "certificate": [
        "chain.pem",
        ("chain.pem",),
        (b"chain", b"key"),
        ("chain", "key", 1),
        ("a", "b", "c", "d"),
    ],
    "client_auth": ["yes", 0],
    "validators": ["pin", len, None, [1], [sslsession.PinCertificateSHA256]],
    "verify_later": ["no", None],
    "insecure": ["False", 1],
    "resume": [1],
    "max_buffer_size": [4096, "K4", None],
    "cipher_suites": [1, b"ALL"],
    "cache_size": ["10", 1.5, True],
    "on_init": [1],
    "on_handshake": ["f"],
}


@pytest.mark.parametrize("name", WRONG_KINDS)
def test_a_wrong_kind_is_refused_by_name(name):
    for value in WRONG_KINDS[name]:
        with pytest.raises(
            TypeError, match="validator|certificate" if name in "validators certificate" else name
        ):
            TLSConnection(**{name: value})
        conn = TLSConnection("localhost")
        with pytest.raises(TypeError):
            setattr(conn, name, value)


@pytest.mark.parametrize(
    "name", ["", "https://localhost", "localhost:443", "local host", "user@localhost", "localhost\0.example"]
)
def test_what_is_no_host_is_refused(name):
    with pytest.raises(ValueError, match="without scheme or port"):
        TLSConnection(name)


def test_addresses_are_hosts(server_identity, client):
    join(TLSConnection("127.0.0.1", context=client), serving(server_identity))
    assert TLSConnection("::1", context=client).connect()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"server_side": True, "server_hostname": "a.example"}, "a server has none"),
        ({"server_side": True}, r"certificate=\(chain, key\)"),
        ({"server_side": True, "verify_later": True}, "verify_later is for clients"),
        ({"client_auth": True}, "client_auth is for servers"),
        ({"cache_size": -1}, "0 .none. or more"),
    ],
)
def test_settings_that_do_not_go_together(settings, words):
    with pytest.raises(ValueError, match=words):
        TLSConnection(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "server_hostname is needed"),
        ({"server_hostname": "localhost", "cipher_suites": "NO-SUCH-SUITE"}, "OpenSSL knows no suite"),
        ({"server_hostname": "localhost", "context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "other one"),
        ({"server_hostname": "localhost", "certificate": ("/no/chain.pem", "/no/key.pem")}, "/no/chain.pem"),
    ],
)
def test_settings_that_show_as_it_begins(settings, words):
    with pytest.raises((ValueError, OSError), match=words):
        TLSConnection(**settings).connect()


def test_a_context_is_not_changed(client, server_identity):
    files = server_identity.cert_pem_path, server_identity.key_path
    for settings in ({"certificate": files}, {"cipher_suites": "ALL"}):
        with pytest.raises(ValueError, match="exclude each other"):
            TLSConnection("localhost", context=client, **settings)
    with pytest.raises(ValueError, match="verifies during the handshake"):
        TLSConnection("localhost", context=client, verify_later=True, insecure=True).connect()
    before = client.options, client.verify_mode, client.get_ciphers(), client.sslobject_class
    TLSConnection("localhost", context=client, validators=[pin_of(server_identity)]).connect()
    assert before == (client.options, client.verify_mode, client.get_ciphers(), client.sslobject_class)
    assert type(client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a")) is ssl.SSLObject


def test_a_server_context_without_certificate_is_refused(ca):
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ValueError, match="the context has none"):
        TLSConnection(server_side=True, context=bare).accept()
    bare.sni_callback = lambda sslobject, name, context: None
    assert TLSConnection(server_side=True, context=bare).accept()


def test_a_server_asks_before_it_judges(server, server_identity, ca):
    with pytest.raises(ValueError, match="client_auth=True"):
        TLSConnection(server_side=True, context=server, validators=[pin_of(server_identity)]).accept()
    with pytest.raises(ValueError, match="CERT_REQUIRED"):
        TLSConnection(server_side=True, context=server, client_auth=True).accept()


def test_a_cache_that_is_attached_and_a_wish_to_have_none(client, server):
    ClientSessionCache().attach(client)
    ServerSessionCache().attach(server)
    for settings in ({"resume": False}, {"cache_size": 0}, {"cache_size": 5}):
        with pytest.raises(ValueError, match="attached"):
            TLSConnection("localhost", context=client, **settings).connect()
        with pytest.raises(ValueError, match="attached"):
            TLSConnection(server_side=True, context=server, **settings).accept()


def test_what_init_callbacks_set_stands(ca, server_identity):
    """A context of its own that they changed keeps what they set, and a setting that they made is used."""

    def init(conn):
        assert conn.context is conn.context
        ca.trust(conn.context)
        conn.context.maximum_version = ssl.TLSVersion.TLSv1_2
        conn.max_buffer_size = MaxBufferSize.K1

    conn = TLSConnection("localhost", on_init=init)
    join(conn, serving(server_identity))
    assert conn.connection.version() == "TLSv1.2"
    assert conn.max_buffer_size is MaxBufferSize.K1

    def serve(conn):
        conn.certificate = server_identity.cert_pem_path, server_identity.key_path

    server = TLSConnection(server_side=True, on_init=serve)
    for _ in range(2):
        join(TLSConnection("localhost", context=client_context(ca)), server.another())
    server = TLSConnection(server_side=True, on_init=lambda conn: server_identity.load(conn.context))
    join(TLSConnection("localhost", context=client_context(ca)), server)


def test_an_init_callback_begins_nothing_and_changes_nothing_later(client):
    conn = TLSConnection("localhost", context=client, on_init=lambda conn: conn.connect())
    with pytest.raises(SessionError, match="begins nothing"):
        conn.connect()
    with pytest.raises(TypeError, match="callable"):
        TLSConnection.register_init(None)
    with pytest.raises(ValueError, match="not registered"):
        TLSConnection.unregister_init(print)


def test_a_connection_that_has_begun_has_its_settings(client, server_identity):
    conn = TLSConnection("localhost", context=client, validators=[pin_of(server_identity)])
    conn.connect()
    for name in WRONG_KINDS:
        with pytest.raises(SessionError, match=f"{name} is of a connection that has begun"):
            setattr(conn, name, getattr(conn, name))
    assert isinstance(conn.validators, tuple)
    with pytest.raises(SessionError, match=r"close\(\) it"):
        conn.connect()
    with pytest.raises(AttributeError):
        conn.verify_latter = True


def test_a_password_is_used_and_never_shown(server_identity, tmp_path, client, capfd):
    key, secret = tmp_path / "key.pem", "correct horse"
    subprocess.run(
        [
            "openssl",
            "pkcs8",
            "-topk8",
            "-in",
            server_identity.key_path,
            "-out",
            key,
            "-passout",
            f"pass:{secret}",
        ],
        check=True,
    )
    chain = server_identity.cert_pem_path
    server = TLSConnection(certificate=(chain, key, secret), server_side=True)
    join(conn := TLSConnection("localhost", context=client), server)
    part(conn, server)
    wrong = TLSConnection(certificate=(chain, key, "wrong"), server_side=True)
    with pytest.raises(ssl.SSLError, match="cannot be used") as caught:
        wrong.accept()
    with pytest.raises(ValueError, match="is encrypted"):
        TLSConnection(certificate=(chain, key), server_side=True).accept()
    shown = f"{server}{server!r}{server.certificate!r}{wrong!r}{caught.value}{server.another()}"
    assert str(chain) in str(server)
    assert str(chain) in str(server.another())
    assert secret not in shown
    assert "wrong" not in shown
    assert str(key) not in str(server)
    assert capfd.readouterr() == ("", "")


def test_a_key_of_another_certificate(server_identity, client_identity):
    server = TLSConnection(
        certificate=(server_identity.cert_pem_path, client_identity.key_path), server_side=True
    )
    with pytest.raises(ssl.SSLError, match="the key is the leaf's"):
        server.accept()


def test_begins_by_itself(client, server_identity):
    conn, server = TLSConnection("localhost", context=client), serving(server_identity)
    carry(conn, server)
    assert conn.is_connected
    assert server.is_connected


def test_repr_tells_side_and_state(client):
    conn = TLSConnection("localhost", context=client)
    assert repr(conn) == "<TLSConnection client of 'localhost', not begun>"
    conn.connect()
    conn.close()
    assert repr(conn) == "<TLSConnection client of 'localhost', closed>"


def test_print_to(client, server_identity):
    server = serving(server_identity)
    conn = TLSConnection(
        "localhost", context=client, validators=[pin_of(server_identity)], max_buffer_size=MaxBufferSize.K4
    )
    join(conn, server)
    text = str(conn)
    assert text == conn.describe()
    shown = dict(line.split(":", 1) for line in text.splitlines())
    assert {name: value.strip() for name, value in shown.items()} == {
        "side": "client",
        "host": "localhost",
        "options": "resume",
        "certificate": "the context's, if it has one",
        "validators": repr(pin_of(server_identity)),
        "max buffer size": "K4 (4096 bytes)",
        "cipher suites": "the context's",
        "cache size": "default",
        "connected": "yes",
        "version": conn.connection.version(),
        "cipher": conn.connection.cipher()[0],
        "resumed": "no",
        "session id": conn.session_id.hex(),
    }
    assert exchange(conn, server) == (b"pong", b"ping")
