"""Whose session it is: client certificates and keys that a context has several of, and peers that are hard to name."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from typing import Any

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Home, not_offered, visit
from helpers.peers import client_context, server_context
from sslsession import ClientSessionCache

pytestmark = pytest.mark.binding

RSA_PSK = "RSA-PSK-AES128-GCM-SHA256:@SECLEVEL=1"


def test_of_several_client_certificates_each_counts(ca: Authority, tls_version: str) -> None:
    """Which one is shown is chosen in the handshake; the last one loaded is the same in both contexts."""
    server = server_context(ca.issue("localhost"), client_ca=ca)
    shared = ca.issue("shared.example", client=True)
    contexts = []
    for name in ("alice.example", "bob.example"):
        context = client_context(ca, version=tls_version)
        ca.issue(name, client=True, rsa=True).load(context)
        shared.load(context)
        contexts.append(context)
    home = Home()
    home.attach(*contexts)
    home.earn(contexts[0], server)
    assert not_offered(home.visit(contexts[1], server))
    assert home.visit(contexts[0], server).reused
    home.close()


@pytest.mark.skipif(not hasattr(ssl.SSLContext, "set_psk_client_callback"), reason="came with Python 3.13")
def test_rsa_psk_has_a_certificate_and_is_kept_by_nobody(ca: Authority) -> None:
    server = server_context(ca.issue("localhost", rsa=True), version="1.2", ciphers=RSA_PSK)
    server.set_psk_server_callback(lambda identity: identity.encode() * 8, "hint")
    client = client_context(ca, version="1.2", ciphers=RSA_PSK)
    client.set_psk_client_callback(lambda hint: ("alice", b"alice" * 8))
    home = Home()
    for _ in range(2):
        assert not_offered(home.visit(client, server))
    assert home.holds == 0
    home.close()


def test_a_name_that_only_the_socket_s_owner_says_is_not_believed(ca: Authority, tls_version: str) -> None:
    class Renamed(ssl.SSLObject):
        alias: Any = None

        @property
        def server_hostname(self) -> Any:
            return self.alias or self._sslobj.server_hostname  # type: ignore[attr-defined]

    server = server_context(ca.issue("127.0.0.1"))
    client = client_context(ca, version=tls_version)
    client.sslobject_class = Renamed
    home = Home()
    Renamed.alias = "127.0.0.2"
    home.visit(client, server, "127.0.0.1")
    Renamed.alias = None
    assert home.visit(client, server, "127.0.0.1").reused
    with pytest.raises(ssl.SSLCertVerificationError):
        home.visit(client, server, "127.0.0.2")
    home.close()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
@pytest.mark.parametrize("name", ["localhost", None])
def test_sockets_of_abstract_names_are_not_one(
    ca: Authority, server_identity: Identity, tls_version: str, name: str | None
) -> None:
    client = client_context(ca, version=tls_version, check_hostname=name is not None)
    with ClientSessionCache() as cache, Abstract(server_identity, 2) as servers:
        cache.attach(client)
        assert [servers.dial(client, name, number) for number in (0, 0, 1, 1)] == [False, True, False, True]


class Abstract:
    """Servers on sockets of abstract names, which begin with NUL; they share their tickets."""

    def __init__(self, identity: Identity, count: int) -> None:
        self._context = server_context(identity)
        self._listeners = []
        for _ in range(count):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind("")  # the kernel chooses an abstract name
            listener.listen()
            self._listeners.append(listener)
        self._threads = [threading.Thread(target=self._serve, args=[each]) for each in self._listeners]

    def _serve(self, listener: socket.socket) -> None:
        while True:
            raw, _ = listener.accept()
            with raw:
                try:
                    with self._context.wrap_socket(raw, server_side=True) as conn:
                        conn.sendall(conn.recv(1))
                        conn.unwrap()
                except OSError:
                    return

    def dial(self, client: ssl.SSLContext, name: str | None, number: int) -> bool:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(self._listeners[number].getsockname())
            with client.wrap_socket(raw, server_hostname=name) as conn:
                conn.sendall(b"x")
                assert conn.recv(1) == b"x"
                reused = bool(conn.session_reused)
                conn.unwrap()
                return reused

    def __enter__(self) -> Abstract:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for listener, thread in zip(self._listeners, self._threads):
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(listener.getsockname())
            thread.join()
            listener.close()


def test_functions_that_are_gone_lend_their_settings_to_no_other(
    ca: Authority, server_identity: Identity, tls_version: str
) -> None:
    """What is given as a generator or a function is known by its call, not by an address that comes again."""
    server, client = (
        server_context(server_identity, alpn=["h2", "http/1.1"]),
        client_context(ca, version=tls_version),
    )
    home = Home()
    home.attach(client)
    client.set_alpn_protocols(each for each in ["h2"])
    home.visit(client, server)
    client.set_alpn_protocols(each for each in ["http/1.1"])
    assert not_offered(home.visit(client, server))
    home.close()


def test_two_threads_that_attach_at_once_attach_once(ca: Authority, server_identity: Identity) -> None:
    server, client = server_context(server_identity), client_context(ca, version="1.3")
    with ClientSessionCache() as cache:
        ready = threading.Barrier(4)

        def attach() -> None:
            ready.wait()
            cache.attach(client)

        threads = [threading.Thread(target=attach) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        visit(client, server)
        assert cache.stats()["kept"] == 2
        cache.detach(client)
        visit(client, server)
        assert cache.stats()["kept"] == 2
