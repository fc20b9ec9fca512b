"""International names are known to the cache by what connections call them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from helpers.bad_days import FakeStore
from helpers.certs import Authority
from helpers.clients import Home, visit
from helpers.peers import client_context, server_context
from helpers.sessions import take
from sslsession import ClientSessionCache

pytestmark = pytest.mark.binding


def fetched(cache: ClientSessionCache, *arguments: Any) -> bool:
    return asyncio.run(cache.prefetch(*arguments))


def test_an_international_name(ca: Authority, tls_version: str) -> None:
    """As connections are given it: `ssl` encodes it."""
    server = server_context(ca.issue("xn--bcher-kva.example"))
    client, store = client_context(ca, version=tls_version), FakeStore()
    home = Home(store)
    home.visit(client, server, "bücher.example")
    home.restart()
    assert fetched(home.cache, "bücher.example")
    assert home.visit(client, server, "bücher.example").reused
    home.close()


def test_a_session_that_is_added(ca: Authority, tls_version: str) -> None:
    server = server_context(ca.issue("xn--bcher-kva.example"))
    client, cache = client_context(ca, version=tls_version), ClientSessionCache()
    cache.add(take(client, server, "bücher.example"), "bücher.example")
    cache.attach(client)
    assert visit(client, server, "bücher.example").reused
    cache.close()
