"""Where revocation is looked at, nothing is offered that a list of today names: near, stored, or elsewhere."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Home
from helpers.peers import client_context, server_context
from helpers.revocation import revocation_list


@pytest.fixture
def doomed(ca: Authority) -> Identity:
    return ca.issue("localhost")


def looking(ca: Authority, version: str, *lists: Path) -> ssl.SSLContext:
    """A client that looks at these lists."""
    context = client_context(ca, version=version)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    for each in lists:
        context.load_verify_locations(each)
    return context


@pytest.mark.parametrize("where", ["the same context", "another context"])
def test_a_certificate_that_was_revoked_since(
    home: Home, ca: Authority, doomed: Identity, tmp_path: Path, tls_version: str, where: str
) -> None:
    old = revocation_list(ca, tmp_path / "old.crl", age=3)
    new = revocation_list(ca, tmp_path / "new.crl", doomed, age=1)
    server, client = server_context(doomed), looking(ca, tls_version, old)
    home.earn(client, server)
    if where == "the same context":
        client.load_verify_locations(new)
    else:
        client = looking(ca, tls_version, new)
    for _ in range(3):
        with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
            home.visit(client, server)


def test_a_list_that_goes_past_the_context_s_methods(
    home: Home, ca: Authority, doomed: Identity, tmp_path: Path, tls_version: str
) -> None:
    """By the class's method, or by OpenSSL itself: nothing was seen, so that each time is verified."""
    old = revocation_list(ca, tmp_path / "old.crl", age=3)
    new = revocation_list(ca, tmp_path / "new.crl", doomed, age=1)
    server, client = server_context(doomed), looking(ca, tls_version, old)
    home.earn(client, server)
    ssl.SSLContext.load_verify_locations(client, new)
    for _ in range(3):
        with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
            home.visit(client, server)
