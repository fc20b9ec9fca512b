"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Clock, Home
from helpers.contexts import client_context, server_context
from helpers.openssl_calls import Unraisables
from helpers.servers import Serving, Way, params
from sslsession.stores import MemoryStore


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that issued `server_identity` and `client_identity`."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has nothing to do with `ca`."""
    return Authority(tmp_path_factory.mktemp("other-ca"), name="other-ca")


@pytest.fixture(scope="session")
def server_identity(ca: Authority) -> Identity:
    """A server's: localhost, 127.0.0.1, a.example, b.example."""
    return ca.issue("localhost", "127.0.0.1", "a.example", "b.example")


@pytest.fixture(scope="session")
def client_identity(ca: Authority) -> Identity:
    """A client's: good for TLS clients only, named client.example."""
    return ca.issue("client.example", client=True)


@pytest.fixture(params=["1.2", "1.3"])
def tls_version(request: pytest.FixtureRequest) -> str:
    """Each TLS version in turn, as `client_context(version=...)` takes it."""
    version: str = request.param
    return version


@pytest.fixture(scope="session")
def openssl_version() -> tuple[int, int, int]:
    """The interpreter's OpenSSL, e.g. (3, 0, 19), to skip by."""
    major, minor, patch = ssl.OPENSSL_VERSION_INFO[:3]
    return major, minor, patch


@pytest.fixture
def client(ca: Authority, tls_version: str) -> ssl.SSLContext:
    """A client's context that verifies, of each TLS version in turn."""
    return client_context(ca, version=tls_version)


@pytest.fixture
def client12(ca: Authority) -> ssl.SSLContext:
    """The same, of TLS 1.2 alone."""
    return client_context(ca, version="1.2")


@pytest.fixture
def client13(ca: Authority) -> ssl.SSLContext:
    """The same, of TLS 1.3 alone."""
    return client_context(ca, version="1.3")


@pytest.fixture
def strict(client: ssl.SSLContext) -> ssl.SSLContext:
    """`client`, where one that verifies nothing is there as well."""
    return client


@pytest.fixture
def lax(ca: Authority, tls_version: str) -> ssl.SSLContext:
    """A client's context that verifies nothing."""
    return client_context(ca, version=tls_version, verify=False)


@pytest.fixture
def server(server_identity: Identity) -> ssl.SSLContext:
    """A server's context, of TLS 1.2 and 1.3."""
    return server_context(server_identity)


@pytest.fixture
def impostor(other_ca: Authority) -> ssl.SSLContext:
    """A server's context for localhost, of an authority that clients do not trust."""
    return server_context(other_ca.issue("localhost"))


@pytest.fixture
def clock() -> Clock | None:
    """The clock of `home`: None, the system's, unless a file has one of its own."""
    return None


@pytest.fixture(params=["near", "stored"])
def home(request: pytest.FixtureRequest, clock: Clock | None) -> Iterator[Home]:
    """A client's cache, its sessions in this process or in a store; nothing goes wrong unheard."""
    settings = {} if clock is None else {"clock": clock}
    home = Home(MemoryStore() if request.param == "stored" else None, **settings)
    with Unraisables() as unraisables:
        yield home
        home.close()
    assert unraisables.errors == []


@pytest.fixture
def unraisables() -> Iterator[Unraisables]:
    """What goes wrong unheard, none of which is due to the garbage of tests before."""
    gc.collect()
    with Unraisables() as caught:
        yield caught


@pytest.fixture(params=params())
def way(request: pytest.FixtureRequest) -> Way:
    """Each way in which a session can come back to a server."""
    way: Way = request.param
    return way


@pytest.fixture
def serving(way: Way, unraisables: Unraisables) -> Iterator[Serving]:
    """A server process of that way; nothing goes wrong unheard."""
    serving = Serving(way)
    yield serving
    serving.close()
    assert unraisables.errors == []
