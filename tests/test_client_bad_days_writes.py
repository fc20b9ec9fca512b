"""Writing to a store that fails: what it will never take, what it took although it failed, and what is said of it."""

from __future__ import annotations

import ssl
import subprocess
import traceback
from pathlib import Path
from typing import Any

import pytest

import sslsession
from helpers.bad_days import FakeStore
from helpers.certs import Authority
from helpers.clients import entries, eventually, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import Pair, client_context, server_context
from helpers.processes import require
from sslsession import ClientSessionCache, StoreError
from sslsession.stores import MemoryStore

pytestmark = pytest.mark.binding


class Limited(MemoryStore):
    """Takes nothing of a.example."""

    def add(self, key: Any, value: bytes, **more: Any) -> None:
        if b"a.example" in key:
            raise StoreError("the value is larger than it takes")
        super().add(key, value, **more)


class Deaf(MemoryStore):
    """Stores, and then says that it did not."""

    def add(self, key: Any, value: bytes, **more: Any) -> None:
        super().add(key, value, **more)
        raise StoreError("no answer in time")


def test_what_a_store_never_takes_holds_up_nothing_else(
    ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    store, client = Limited(), client_context(ca, version=tls_version)
    with Unraisables(), ClientSessionCache(store) as cache:
        cache.attach(client)
        visit(client, server, "a.example")
        visit(client, server, "b.example")
        eventually(lambda: len(entries(store)) == 1)
        assert [b"b.example" in entry.key for entry in entries(store)] == [True]


def test_a_ticket_that_may_have_arrived_is_not_written_again(ca: Authority, server: ssl.SSLContext) -> None:
    store, client = Deaf(), client_context(ca, version="1.3")
    with Unraisables(), ClientSessionCache(store) as cache:
        cache.attach(client)
        visit(client, server)
        eventually(lambda: cache.stats()["dropped"] == 1)
        assert len(entries(store)) == 1
        cache.detach(client)
        assert cache.stats()["waiting"] == 0


def test_what_is_reported_leads_to_no_session(
    ca: Authority, server: ssl.SSLContext, tls_version: str
) -> None:
    """Whoever shows the local variables of a traceback's frames shows what was about to be written."""
    secrets: list[bytes] = []
    client = client_context(ca, version=tls_version)
    hooks = sslsession.SessionHooks(client, new=lambda _, session: secrets.append(session.master_secret))
    with Unraisables() as reported, hooks, ClientSessionCache(FakeStore("down")) as cache:
        cache.attach(client)
        visit(client, server)
        eventually(lambda: reported.errors)
    for error in reported.errors:
        assert error is not None
        shown = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True)
        assert "File " not in "".join(shown.format())
    assert secrets


def test_a_group_that_openssl_cannot_name_leaves_the_next_read_alone(ca: Authority, tmp_path: Path) -> None:
    """RFC 5114's parameters have a name to OpenSSL 3 that its own table of objects lacks."""
    parameters = tmp_path / "dh.pem"
    command = [require("openssl"), "genpkey", "-genparam", "-algorithm", "DHX", "-pkeyopt", "dh_rfc5114:3"]
    subprocess.run([*command, "-out", str(parameters)], check=True, capture_output=True)
    server = server_context(
        ca.issue("localhost", rsa=True), version="1.2", ciphers="DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0"
    )
    server.load_dh_params(str(parameters))
    client = client_context(ca, version="1.2", ciphers="DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0")
    with ClientSessionCache() as cache:
        cache.attach(client)
        pair = Pair(client, server)
        pair.handshake()
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.read(1)
        assert cache.stats()["kept"] == 1
        pair.exchange()
        pair.close()
