"""What a server must not resume, each beside its honest twin: sessions of clients whose certificates were revoked."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.processes import require, run
from helpers.revocation import revocation_list
from helpers.servers import FAILED, FULL, RESUMED, Hosts, Serving, Way, earn, host, offer, renew


@pytest.fixture
def client(way: Way, ca: Authority, client_identity: Identity) -> ssl.SSLContext:
    return way.client(ca, client_identity)


def list_in(directory: Path, crl: Path, number: int) -> None:
    """Put a revocation list where OpenSSL looks for it."""
    name = run(require("openssl"), "crl", "-hash", "-noout", "-in", crl).strip()
    (directory / f"{name}.r{number}").write_bytes(crl.read_bytes())


@pytest.fixture
def doomed(ca: Authority) -> Identity:
    return ca.issue("doomed.example", client=True)


@pytest.fixture
def server(ca: Authority, server_identity: Identity, tmp_path: Path) -> ssl.SSLContext:
    server = host(server_identity, ca)
    server.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    server.load_verify_locations(revocation_list(ca, tmp_path / "old.crl", age=3))
    server.load_verify_locations(capath=tmp_path / "lists")
    return server


@pytest.mark.parametrize("how", ["loaded", "put into a directory"])
def test_a_new_list(
    way: Way,
    serving: Serving,
    ca: Authority,
    doomed: Identity,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    tmp_path: Path,
    how: str,
) -> None:
    serving.attach(server)
    victim = way.client(ca, doomed)
    session, fine = earn(victim, server), earn(client, server)
    outcome, session = renew(victim, server, session)
    assert outcome == RESUMED, "the honest twin"
    new = revocation_list(ca, tmp_path / "new.crl", doomed, age=1)
    if how == "loaded":
        server.load_verify_locations(new)
    else:
        (tmp_path / "lists").mkdir()
        list_in(tmp_path / "lists", new, 0)
    assert [offer(victim, server, session) for _ in range(2)] == [FAILED, FAILED]
    assert offer(client, server, fine) == FULL
    assert offer(client, server, earn(client, server)) == RESUMED


def test_at_a_host_that_was_chosen(
    way: Way,
    serving: Serving,
    ca: Authority,
    doomed: Identity,
    server: ssl.SSLContext,
    server_identity: Identity,
    tmp_path: Path,
) -> None:
    home = host(server_identity, ca)
    home.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    home.load_verify_locations(revocation_list(ca, tmp_path / "home.crl", age=3))
    Hosts(home, a=server)
    serving.attach(home)
    victim = way.client(ca, doomed)
    outcome, session = renew(victim, home, earn(victim, home, "a.example"), "a.example")
    assert outcome == RESUMED
    (tmp_path / "lists").mkdir()
    list_in(tmp_path / "lists", revocation_list(ca, tmp_path / "new.crl", doomed, age=1), 0)
    assert [offer(victim, home, session, "a.example") for _ in range(2)] == [FAILED, FAILED]
