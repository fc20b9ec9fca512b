"""nginx and HAProxy beside a ring of the same key file: each opens the other's tickets, as docs/ticket-keys.md says."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.haproxy import haproxy
from helpers.key_files import some
from helpers.peers import EchoServer, client_context, dial, server_context
from helpers.programs import nginx
from helpers.sessions import _element, _encoded, offering, session_of, with_der
from sslsession import Session, TicketKeyRing, _keyfiles
from sslsession._keyfiles import Material

ID_CONTEXT, TICKET = 0xA4, 0xAA
"""Their tags in a session's DER; each is an OCTET STRING."""
NAME, IV, MAC = 16, 16, 32
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
NGINX_OPENED = r'ssl session ticket decrypt, key: "{}"'
each_size = pytest.mark.parametrize(
    ("layout", "size"), [("nginx", 16), ("nginx", 32), ("haproxy", 16), ("haproxy", 32)]
)


@dataclass(frozen=True)
class Two:
    """A neighbour and a server of Python with the same keys, and a client of both."""

    neighbour: int
    ours: int
    ring: TicketKeyRing
    key: Material
    visit: Callable[..., tuple[bool, Session]]
    log: Callable[[], str]


@pytest.fixture
def keys(tmp_path: Path, layout: str, size: int) -> Path:
    """A file that both read."""
    path = tmp_path / "ticket.keys"
    _keyfiles.write(path, some(layout, size), layout)
    return path


@contextmanager
def neighbours(
    ca: Authority, identity: Identity, version: str, layout: str, keys: Path, ring: TicketKeyRing
) -> Iterator[Two]:
    """Both, on ports of their own. `visit(port, session)` is one connection: whether it resumed, and its session."""
    ctx = client_context(ca, version=version)

    def visit(port: int, session: Session | None = None) -> tuple[bool, Session]:
        prepare = offering(session) if session is not None else None
        with dial(port, ctx, prepare=prepare) as conn:
            conn.sendall(REQUEST)
            assert conn.recv(65536)
            return bool(conn.session_reused), session_of(conn)

    mine = server_context(identity)
    ring.attach(mine)
    debug = f"ssl_session_ticket_key {keys}; error_log error.log debug;"
    daemon = (
        nginx(identity, tls=version, cache=False, extra=debug)
        if layout == "nginx"
        else haproxy(identity, keys, version=version)
    )
    with daemon as other, EchoServer(mine) as server:
        key = _keyfiles.read(keys, layout)[0]
        yield Two(other.port, server.port, ring, key, visit, lambda: other.log)


@pytest.fixture
def two(ca: Authority, server_identity: Identity, tls_version: str, layout: str, keys: Path) -> Iterator[Two]:
    """Both have read a file that was there before."""
    ring = TicketKeyRing.from_file(keys, layout)
    with neighbours(ca, server_identity, tls_version, layout, keys, ring) as found:
        yield found


@each_size
def test_a_ring_opens_their_tickets(two: Two):
    session = ticket_of_the_neighbour(two)
    assert session.ticket[:NAME] == two.key.name
    resumed, _ = two.visit(two.ours, session)
    assert two.ring.stats()["opened"] == 1
    assert two.ring.stats()["unknown"] == 0
    assert not resumed, "its id context is another one"


@each_size
def test_they_open_a_rings_tickets(two: Two, layout: str):
    _, session = two.visit(two.ours)
    resumed, session = two.visit(two.ours, session)
    assert resumed
    resumed, _ = two.visit(two.neighbour, session)
    assert not resumed, "its id context is another one"
    if layout == "nginx":
        assert re.search(NGINX_OPENED.format(two.key.name.hex()), two.log())


@each_size
def test_what_keeps_them_apart_is_the_id_context(two: Two):
    """Written over in the ticket, with the key, it makes the neighbour resume a session of ours."""
    _, theirs = two.visit(two.neighbour)
    _, ours = two.visit(two.ours)
    foreign = octets(unsealed(two.key, theirs.ticket), ID_CONTEXT)
    state = unsealed(two.key, ours.ticket)
    assert octets(state, ID_CONTEXT) != foreign
    ticket = sealed(two.key, with_octets(state, ID_CONTEXT, foreign))
    resumed, _ = two.visit(two.neighbour, with_der(ours, lambda der: with_octets(der, TICKET, ticket)))
    assert resumed


@pytest.mark.parametrize("layout", ["nginx", "haproxy"])
def test_a_file_that_a_ring_saved(
    ca: Authority, server_identity: Identity, tls_version: str, tmp_path: Path, layout: str
):
    keys = tmp_path / "saved.keys"
    ring = TicketKeyRing.random()
    ring.save(keys, layout)
    with neighbours(ca, server_identity, tls_version, layout, keys, ring) as two:
        session = ticket_of_the_neighbour(two)
        assert session.ticket[:NAME] == ring.key_info()[0].name
        two.visit(two.ours, session)
        assert ring.stats()["opened"] == 1


def ticket_of_the_neighbour(two: Two) -> Session:
    """An unused one; others of the kind resume there."""
    _, session = two.visit(two.neighbour)
    resumed, _ = two.visit(two.neighbour, session)
    assert resumed
    return two.visit(two.neighbour)[1]


def unsealed(key: Material, ticket: bytes) -> bytes:
    """The session in a ticket (RFC 5077 4): name, IV, AES-CBC, HMAC-SHA256 over all before."""
    cipher = aes(key, ticket[NAME : NAME + IV]).decryptor()
    body, mac = ticket[:-MAC], ticket[-MAC:]
    assert hmac.compare_digest(mac, hmac.new(key.mac_key, body, hashlib.sha256).digest())
    padded = cipher.update(body[NAME + IV :]) + cipher.finalize()
    return padded[: -padded[-1]]


def sealed(key: Material, state: bytes) -> bytes:
    """A ticket with this session."""
    iv, padding = os.urandom(IV), 16 - len(state) % 16
    cipher = aes(key, iv).encryptor()
    body = key.name + iv + cipher.update(state + bytes([padding]) * padding) + cipher.finalize()
    return body + hmac.new(key.mac_key, body, hashlib.sha256).digest()


def aes(key: Material, iv: bytes):
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
    return ciphers.Cipher(ciphers.algorithms.AES(key.cipher_key), ciphers.modes.CBC(iv))


def octets(der: bytes, tag: int) -> bytes:
    """The OCTET STRING of a session's DER under this tag."""
    (found,) = [content for kind, content, _ in fields(der) if kind == tag]
    return _element(found, 0)[1]


def with_octets(der: bytes, tag: int, value: bytes) -> bytes:
    """The same DER with another."""
    changed = _encoded(tag, _encoded(0x04, value))
    return _encoded(0x30, b"".join(changed if kind == tag else whole for kind, _, whole in fields(der)))


def fields(der: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Of each field of a session's DER its tag, content, and both as they are there."""
    _, content, _ = _element(der, 0)
    at = 0
    while at < len(content):
        kind, inner, end = _element(content, at)
        yield kind, inner, content[at:end]
        at = end
