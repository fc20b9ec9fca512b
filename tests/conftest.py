"""Fixtures that every test may use."""

from __future__ import annotations

import ssl

import pytest

from helpers.certs import Authority, Identity


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
