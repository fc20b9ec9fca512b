"""What a server must not resume, each beside its honest twin: by ClientHellos that are malformed or come twice.

After a HelloRetryRequest there is a second ClientHello on the connection. sni_callback may be asked again, and OpenSSL
calls the client-hello callback of the context that it chose before, which need not be ours.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.memory import Pair
from helpers.peers import client_context, server_context
from helpers.servers import (
    BARE13,
    FAILED,
    FULL,
    RESUMED,
    STATEFUL,
    TICKETS13,
    Hosts,
    Serving,
    Way,
    earn,
    host,
    offer,
    params,
    rename,
    renew,
    step,
)

pytestmark = pytest.mark.binding
RETRY_MOST = 200
"""Bytes: a HelloRetryRequest has no more, and what follows a ServerHello has."""


class TestHelloRetryRequest:
    """The client guesses a group that the server does not have, at each of its connections."""

    @pytest.fixture(params=params(STATEFUL, TICKETS13, BARE13))
    def way(self, request: pytest.FixtureRequest) -> Way:
        return request.param

    @pytest.fixture
    def client(self, way: Way, ca: Authority, client_identity: Identity) -> ssl.SSLContext:
        return way.client(ca, client_identity)

    @pytest.fixture
    def choosy(self, server_identity: Identity) -> Callable[..., ssl.SSLContext]:
        def make(*trusted: Authority) -> ssl.SSLContext:
            server = host(server_identity, *trusted)
            server.set_ecdh_curve("prime256v1")
            return server

        return make

    @pytest.fixture
    def hosts(
        self, choosy: Callable[..., ssl.SSLContext], ca: Authority, other_ca: Authority, serving: Serving
    ) -> Hosts:
        hosts = Hosts(choosy(ca, other_ca), a=choosy(ca), b=choosy(other_ca))
        serving.attach(hosts.home)
        return hosts

    def between(self, pair: Pair, change: Callable[[Any], object]) -> Pair:
        """Changes the client between its two ClientHellos."""
        step(pair.client, pair.server)
        change(pair.client)
        return pair

    @pytest.mark.parametrize("attached", [False, True])
    def test_it_resumes(self, client: ssl.SSLContext, hosts: Hosts, serving: Serving, attached: bool) -> None:
        """A ticket that is used once is proposed twice by its client."""
        if attached:
            serving.attach(hosts.of["a"], hosts.of["b"])
        session = earn(client, hosts.home, "a.example")
        pair = Pair(client, hosts.home, "a.example")
        step(pair.client, pair.server)
        assert pair.to_client.pending < RETRY_MOST, "the server asks for another ClientHello"
        for _ in range(3):
            outcome, session = renew(client, hosts.home, session, "a.example")
            assert outcome == RESUMED
        if serving.way.cache:
            assert serving.cache.stats()["resumed"] == 3

    def test_once(self, way: Way, client: ssl.SSLContext, hosts: Hosts) -> None:
        """Between the two, nobody else can have it."""
        session = earn(client, hosts.home, None)
        first, second = (Pair(client, hosts.home, None, session) for _ in range(2))
        for pair in (first, second):
            step(pair.client, pair.server)
        for pair in (first, second):
            pair.handshake().exchange()
        assert [pair.server.session_reused for pair in (first, second)] == [True, not way.once]

    @pytest.mark.parametrize("attached", [False, True])
    @pytest.mark.parametrize("name", ["b.example", "c.example"])
    def test_the_second_asks_for_another_name(
        self, client: ssl.SSLContext, hosts: Hosts, serving: Serving, attached: bool, name: str
    ) -> None:
        """RFC 8446 4.1.2 forbids it, and OpenSSL does not look: the session of one host would resume at another."""
        if attached:
            serving.attach(hosts.of["a"], hosts.of["b"])
        hosts.of["c"] = hosts.of["a"]
        session = earn(client, hosts.home, "a.example")
        pair = self.between(Pair(client, hosts.home, "a.example", session), rename(name))
        try:
            pair.handshake().exchange()
        except ssl.SSLError:
            pass
        else:
            assert not pair.server.session_reused
        assert offer(client, hosts.home, earn(client, hosts.home, "a.example"), "a.example") == RESUMED

    def test_what_such_a_client_earns_is_for_no_other_host(
        self, way: Way, ca: Authority, other_ca: Authority, hosts: Hosts
    ) -> None:
        """It begins at host a, is let in at host b with a certificate of b's, and proposes that at host a."""
        stranger = way.client(ca, other_ca.issue("stranger.example", client=True))
        pair = self.between(Pair(stranger, hosts.home, "a.example"), rename("b.example"))
        try:
            pair.handshake().exchange()
        except ssl.SSLCertVerificationError:
            assert hosts.asked == ["a.example"], (
                "newer OpenSSLs ask for one name of a connection, and it stays host a"
            )
            return
        session = pair.client.session
        pair.close()
        assert session is not None
        assert [offer(stranger, hosts.home, session, "a.example") for _ in range(3)] == [FAILED] * 3


class TestMalformedNames:
    """An extension of this content in place of the right one, in the ClientHello of a client that offers a session."""

    @pytest.mark.parametrize(
        ("what", "extension"),
        [
            ("empty", b""),
            ("an empty list", b"\0\0"),
            ("a list that is too long for the extension", b"\xff\xff\0\0\x09localhost"),
            ("a name that is too long for the list", b"\0\x0c\0\xff\xfflocalhost"),
            ("a name that is cut", b"\0\x0c\0\0\x0alocalhost"),
            ("bytes after the name", b"\0\x0d\0\0\x09localhostx"),
            ("another type of name", b"\0\x0c\x01\0\x09localhost"),
            ("a zero byte", b"\0\x0c\0\0\x09local\0ost"),
            ("a zero byte at the end", b"\0\x0d\0\0\x0alocalhost\0"),
            ("of 256 bytes", b"\x01\x03\0\x01\0" + b"x" * 256),
            ("of 20,000 bytes", b"\x4e\x23\0\x4e\x20" + b"x" * 20_000),
        ],
    )
    def test_no_crash_and_no_resumption(
        self, way: Way, serving: Serving, ca: Authority, server: ssl.SSLContext, what: str, extension: bytes
    ) -> None:
        """Nor anything about it in the next connection."""
        client = way.client(ca)
        serving.attach(server)
        session = earn(client, server)
        pair = Pair(client, server, session=session)
        step(pair.client)
        pair.to_server.write(with_name(pair.to_server.read(), extension))
        with pytest.raises(ssl.SSLError):
            pair.server.do_handshake()
        pair.drop()
        assert offer(client, server, earn(client, server)) == RESUMED

    def test_a_name_of_255_bytes(
        self, way: Way, serving: Serving, ca: Authority, server: ssl.SSLContext
    ) -> None:
        """The longest there is is bound as any other."""
        client, name = way.client(ca), ".".join(["x" * 50] * 5)
        assert len(name) == 254
        serving.attach(server)
        assert offer(client, server, earn(client, server, name), name) == RESUMED
        assert offer(client, server, earn(client, server, name), name[:-1]) == FULL


def with_name(hello: bytes, extension: bytes) -> bytes:
    """A ClientHello, in one record, with other content in its server_name extension."""
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    head, rest, found = hello[9:at], hello[at + 2 :], b""
    while rest:
        kind, size = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        data = extension if kind == 0 else rest[4 : 4 + size]
        found += rest[:2] + len(data).to_bytes(2, "big") + data
        rest = rest[4 + size :]
    body = head + len(found).to_bytes(2, "big") + found
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    pieces = [message[i : i + 16384] for i in range(0, len(message), 16384)]
    return b"".join(hello[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_tls_1_3_sessions_are_nothing_to_a_tls_1_2_client(ca: Authority, server_identity: Identity) -> None:
    """And the other way round: an id in the store is of one version."""
    serving = Serving(STATEFUL)
    server = serving.attach(server_context(server_identity))
    both = client_context(ca, check_hostname=False)
    session = earn(both, server)
    both.maximum_version = ssl.TLSVersion.TLSv1_2
    assert offer(both, server, session) == FULL
    session = earn(both, server)
    both.maximum_version = ssl.TLSVersion.TLSv1_3
    both.minimum_version = ssl.TLSVersion.TLSv1_3
    assert offer(both, server, session) == FULL
    serving.close()
