"""Revocation comes unseen: where it is looked at, a session is verified again whenever it is offered."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.peers import client_context, connect, server_context
from helpers.processes import run
from helpers.revocation import revocation_list
from helpers.sessions import resumes, session_of, take
from sslsession import SessionMismatch


@pytest.fixture
def doomed(ca: Authority) -> Identity:
    return ca.issue("localhost")


@pytest.fixture
def client(ca: Authority, tmp_path: Path, tls_version: str) -> ssl.SSLContext:
    context = client_context(ca, version=tls_version)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    context.load_verify_locations(revocation_list(ca, tmp_path / "old.crl", age=3))
    return context


def test_its_honest_twin_resumes(client: ssl.SSLContext, doomed: Identity) -> None:
    server = server_context(doomed)
    assert resumes(client, server, take(client, server))


@pytest.mark.parametrize("when", ["before get_session", "after get_session"])
def test_a_list_that_is_loaded(
    ca: Authority, client: ssl.SSLContext, doomed: Identity, tmp_path: Path, when: str
) -> None:
    server = server_context(doomed)
    pair = connect(client, server)
    kept = session_of(pair.client)
    client.load_verify_locations(revocation_list(ca, tmp_path / "new.crl", doomed, age=1))
    session = kept if when == "after get_session" else session_of(pair.client)
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        connect(client, server)
    with pytest.raises(SessionMismatch, match="revoked"):
        resumes(client, server, session)


def test_a_list_that_appears_in_a_directory(
    ca: Authority, client: ssl.SSLContext, doomed: Identity, tmp_path: Path
) -> None:
    """A directory is read as needed, and the number of objects in the store tells nothing of it."""
    server = server_context(doomed)
    directory = tmp_path / "lists"
    directory.mkdir()
    client.load_verify_locations(capath=directory)
    session = take(client, server)
    new = revocation_list(ca, tmp_path / "new.crl", doomed, age=1)
    name = run("openssl", "crl", "-hash", "-noout", "-in", str(new)).strip()
    (directory / f"{name}.r0").write_bytes(new.read_bytes())
    with pytest.raises(SessionMismatch, match="revoked"):
        resumes(client, server, session)
