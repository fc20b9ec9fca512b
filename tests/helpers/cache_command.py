"""What tests of `sslsession cache` share: the command, searched for secrets, and stores for it to work on.

The fixtures here are assigned by the files that use them. Needs click and rich.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.certs import Authority, Identity
from helpers.clients import Home, entries, refill
from helpers.command import TERMINAL, sslsession
from helpers.peers import client_context, server_context
from helpers.stores import OTHER_SECRET, SECRET, Server, new_prefix, redis_server
from sslsession import Session, _peers
from sslsession._peers import Peer
from sslsession.cli import cli
from sslsession.stores import Entry, MemoryStore, open_store

HOSTS = {"a.example": "1.3", "b.example": "1.3", "localhost": "1.2"}
LATER = time.time() + 1000
PASSWORD = "hunter2-of-the-tests"


@pytest.fixture(scope="module")
def kept(ca: Authority, server_identity: Identity) -> list[Entry]:
    """What a client's cache keeps: two tickets each of two hosts, and a TLS 1.2 session."""
    store = MemoryStore()
    for host, version in HOSTS.items():
        home = Home(store)
        home.visit(client_context(ca, version=version), server_context(server_identity), host)
        home.close()
    found = entries(store)
    assert len(found) == 5
    return found


def secrets(kept: list[Entry]) -> list[bytes]:
    """The master secrets and tickets of `kept`, in each form that somebody might print."""
    forms = []
    for entry in kept:
        session = Session.from_bytes(_peers.unpack(entry.key, entry.value))
        for secret in (session.master_secret, session.ticket):
            assert secret
            forms += [
                secret,
                secret.hex().encode(),
                base64.b64encode(secret)[:40],
                repr(secret)[2:-1].encode(),
            ]
    return [*forms, PASSWORD.encode(), SECRET.encode(), OTHER_SECRET.encode()]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the URLs of sealed stores find their secrets."""
    monkeypatch.setenv("CACHE_SECRET", SECRET)
    monkeypatch.setenv("CACHE_OTHER_SECRET", OTHER_SECRET)


class Command:
    """`sslsession cache` in this process, or as a program; what it says is searched for secrets."""

    def __init__(self, secrets: list[bytes]) -> None:
        self._secrets = secrets

    def __call__(
        self, *arguments: object, status: int = 0, terminal: bool = False, answer: str | None = None
    ) -> str:
        words = ["cache", *map(str, arguments)]
        done = CliRunner().invoke(cli, words, env=TERMINAL if terminal else None, input=answer)
        assert done.exit_code == status, done.output
        self._search(done.output)
        return done.output

    def program(self, *arguments: str | Path, status: int = 0) -> tuple[str, str]:
        """Standard output and standard error."""
        done = sslsession("cache", *arguments, expect=status)
        self._search(done.stdout + done.stderr)
        return done.stdout, done.stderr

    def error(self, *arguments: object, status: int = 1) -> str:
        """The one line that it fails with."""
        said = self(*arguments, status=status)
        assert said.startswith("Error: ")
        assert said.count("\n") == 1
        return said

    def rows(self, url: str) -> list[dict[str, object]]:
        """What `list --json` says."""
        found: list[dict[str, object]] = json.loads(self("list", url, "--json"))["entries"]
        return found

    def _search(self, said: str) -> None:
        data = said.encode(errors="surrogateescape")
        assert not [secret for secret in self._secrets if secret in data]


@pytest.fixture
def command(kept: list[Entry]) -> Command:
    """The command, which shows no secret of `kept`."""
    return Command(secrets(kept))


@pytest.fixture
def url(tmp_path: Path, kept: list[Entry]) -> str:
    """A file store with `kept` in it."""
    found = f"sqlite:{tmp_path}/store.db"
    with open_store(found) as store:
        refill(store, kept)
    return found


@pytest.fixture(scope="module")
def redis(kept: list[Entry]) -> Iterator[Server]:
    """redis-server with a password."""
    pytest.importorskip("redis")
    pytest.importorskip("cryptography")
    with redis_server("--requirepass", PASSWORD) as server:
        yield server


@pytest.fixture
def redis_url(redis: Server, kept: list[Entry]) -> str:
    """A sealed store with `kept` in it, on a server with a password."""
    where = f"redis://:{PASSWORD}@{redis.address}?secret=env:CACHE_SECRET&prefix={new_prefix()}"
    with open_store(where, timeout=20) as store:
        refill(store, kept)
    return where


def there(where: str) -> list[Entry]:
    """What is in the store of a URL, in one order."""
    with open_store(where, timeout=20) as store:
        return sorted(entries(store))


def tickets(found: list[Entry]) -> list[Entry]:
    """The tickets alone, in that order."""
    return sorted(entry for entry in found if b"/tickets/" in entry.key)


def plain(text: str) -> str:
    """What a terminal shows, without its colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def ticket_key(host: str) -> bytes:
    """The key of a ticket of this host, of no kept one."""
    return _peers.stored_key(_peers.StoredKey("tickets", Peer(host, ""), "", "0" * 64))
