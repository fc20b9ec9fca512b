"""`sslsession cache` on a store that servers use: told as what it is, and never lost by accident."""

from __future__ import annotations

import gc
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from helpers import cache_command
from helpers.cache_command import LATER, Command, plain, secrets, there
from helpers.certs import Authority, Identity
from helpers.clients import refill
from helpers.peers import client_context, server_context
from helpers.rings import needs_ring
from helpers.servers import FULL, RESUMED, earn, offer
from sslsession import ServerSessionCache, Session, TicketKeyRing
from sslsession._accepting import PREFIX as EARLY
from sslsession._gossip import _unpack
from sslsession.server import PREFIX
from sslsession.stores import Entry, open_store

environment, kept = cache_command.environment, cache_command.kept
pytestmark = needs_ring


class Server:
    """A cache and a ring on one store, and what its client has."""

    def __init__(self, url: str, ca: Authority, context: ssl.SSLContext) -> None:
        self.url, self.context = url, context
        self.cache = ServerSessionCache(url)
        self.ring = TicketKeyRing.shared(url, name="web")
        self.cache.attach(context)
        self.clients = {version: client_context(ca, version=version) for version in ("1.2", "1.3")}
        self.stateful = [earn(client, context) for client in self.clients.values()]
        self.ring.attach(context)
        self.ticket = earn(self.clients["1.3"], context)
        self.withdrawn = earn(self.clients["1.3"], context, "a.example")
        self.cache.revoke(server_name="a.example")
        self.cache.flush()

    def close(self) -> None:
        """End it: nothing is put back any more."""
        self.ring.detach(self.context)
        self.cache.close()
        del self.ring
        gc.collect()

    def secrets(self) -> list[bytes]:
        """What it has in the store and nobody may read, as bytes, in hex, and as Python shows them."""
        found: list[bytes] = []
        for entry in of_servers(self.url):
            if entry.key.startswith(PREFIX):
                secret = Session.from_der(entry.value).master_secret
                assert secret
                found += [secret, entry.key[len(PREFIX) + 1 :], entry.value]
            elif entry.key.startswith(EARLY):
                found.append(entry.key[len(EARLY) :])
            else:
                found += [piece for each in _unpack(entry.value) for piece in (each, each[9:25], each[25:57])]
        found = [each for each in found if len(each) >= 16]
        return found + [each.hex().encode() for each in found] + [repr(each)[2:-1].encode() for each in found]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/own/store.db"


@pytest.fixture
def running(url: str, ca: Authority, server: ssl.SSLContext, kept: list[Entry]) -> Iterator[Server]:
    """It is on one store with a client's cache."""
    running = Server(url, ca, server)
    with open_store(url) as store:
        for entry in reversed(kept):
            store.add(entry.key, entry.value, expires_at=entry.expires_at, keep=9)
    yield running
    if hasattr(running, "ring"):
        running.close()


@pytest.fixture
def command(running: Server, kept: list[Entry]) -> Command:
    return Command(secrets(kept) + running.secrets())


def of_servers(url: str) -> list[Entry]:
    return [each for each in there(url) if each.key.startswith(b"sslsession-")]


def shared(url: str) -> list[Entry]:
    return [each for each in of_servers(url) if not each.key.startswith(PREFIX)]


class TestList:
    def test_what_servers_keep(self, command: Command, url: str, running: Server) -> None:
        *_, count = command("list", url).splitlines()
        assert count == ("10 entries: 4 tickets, 1 session, 3 server sessions, 1 key ring, 1 withdrawal list")
        lines = [line.split("  ") for line in command("list", url).splitlines()[1:-1]]
        cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
        keys = len(running.ring.key_info())
        told = [(line[0], *line[1:3], line[-1]) for line in cells if line[1] not in ("ticket", "session")]
        assert told == [
            (f"({keys} keys)", "key ring", "-", "web"),
            ("-", "server session", "1.2", "-"),
            ("-", "server session", "1.3", "-"),
            ("-", "server session", "1.3", "-"),
            ("(1 withdrawal)", "withdrawal list", "-", "-"),
        ]

    def test_on_a_terminal_of_80_columns(self, command: Command, url: str) -> None:
        seen = plain(command("list", url, terminal=True)).splitlines()
        assert max(map(len, seen)) <= 80
        assert any("│ withdrawal list │" in line for line in seen)

    def test_json(self, command: Command, url: str, running: Server) -> None:
        said = json.loads(command("list", url, "--json"))
        assert said["kinds"]["server session"] == 3
        (ring,) = (each for each in said["entries"] if each["kind"] == "key ring")
        assert (ring["partition"], ring["holds"]) == ("web", len(running.ring.key_info()))
        assert (ring["host"], ring["address"], ring["port"], ring["tls"]) == (None,) * 4
        (withdrawn,) = (each for each in said["entries"] if each["kind"] == "withdrawal list")
        assert (withdrawn["partition"], withdrawn["holds"]) == (None, 1)

    def test_a_key_that_was_withdrawn_is_none(self, command: Command, url: str, running: Server) -> None:
        running.ring.revoke(running.ring.key_info()[0].name)
        (ring,) = (each for each in command.rows(url) if each["kind"] == "key ring")
        assert ring["holds"] == len(running.ring.key_info())

    def test_sessions_that_end_when_they_are_idle(
        self, command: Command, url: str, running: Server, ca: Authority
    ) -> None:
        """Something stands before them."""
        running.close()
        with ServerSessionCache(url, idle_lifetime=60) as cache:
            cache.attach(running.context)
            earn(running.clients["1.2"], running.context)
        assert [each["tls"] for each in command.rows(url) if each["kind"] == "server session"].count(
            "1.2"
        ) == 2

    def test_damaged_and_of_another_version(self, command: Command, url: str, running: Server) -> None:
        running.close()
        with open_store(url) as store:
            refill(
                store,
                [
                    Entry(b"sslsession-server-1:x", b"y", LATER),
                    Entry(b"sslsession-keys-1:", b"y", LATER),
                    Entry(b"sslsession-revoked-1:", shared(url)[0].value[:-1], LATER),
                    Entry(b"sslsession-keys-2:", b"y", LATER),
                ],
            )
        assert "4 entries: 1 incompatible, 3 damaged" in command("list", url)

    def test_names_that_a_terminal_would_obey(self, command: Command, url: str, running: Server) -> None:
        value = shared(url)[0].value
        with open_store(url) as store:
            store.add(b"sslsession-keys-1:\x1b[2J\xff", value, expires_at=LATER)
        for terminal in (False, True):
            assert "\x1b[2J" not in command("list", url, terminal=terminal)
        command("list", url, "--json")


class TestEarlyDataTokens:
    """What lets a ticket's early data in, once: never copied, for it would be let in once at each store."""

    @pytest.fixture(autouse=True)
    def one(self, url: str, running: Server, ca: Authority, server_identity: Identity) -> Iterator[None]:
        context, ring = server_context(server_identity, version="1.3"), TicketKeyRing.shared(url, name="web")
        with ServerSessionCache(url, max_early_data=1, tickets=1) as cache:
            cache.attach(context)
            ring.attach(context)
            earn(running.clients["1.3"], context)
            cache.flush()
            yield

    def test_listed(self, command: Command, url: str) -> None:
        assert "1 early data token, 1 key ring, 1 withdrawal list" in command("list", url)

    def test_purged(self, command: Command, url: str) -> None:
        assert "2 entries stayed: 1 key ring" in command("purge", url, "--all", "--yes")
        assert all("token" not in each["kind"] for each in command.rows(url))

    def test_not_moved(self, command: Command, url: str, tmp_path: Path) -> None:
        said = command("export", url, tmp_path / "out.db", "--with-keys")
        assert said.endswith("stayed: 3 server sessions, 1 early data token\n")


class TestPurge:
    def test_all_sessions_and_not_what_servers_share(
        self, command: Command, url: str, running: Server
    ) -> None:
        before = shared(url)
        assert command("purge", url, "--all", "--yes") == (
            "removed 8 entries\n2 entries stayed: 1 key ring, 1 withdrawal list; see --with-keys\n"
        )
        assert there(url) == before
        assert offer(running.clients["1.3"], running.context, running.ticket) == RESUMED
        assert offer(running.clients["1.3"], running.context, running.withdrawn, "a.example") == FULL

    def test_a_server_that_is_started_anew_has_them(
        self, command: Command, url: str, running: Server, ca: Authority
    ) -> None:
        running.close()
        command("purge", url, "--all", "--yes")
        with ServerSessionCache(url) as cache:
            cache.attach(running.context)
            cache._poll()
            TicketKeyRing.shared(url, name="web").attach(running.context)
            assert offer(running.clients["1.3"], running.context, running.ticket) == RESUMED
            assert offer(running.clients["1.3"], running.context, running.withdrawn, "a.example") == FULL
            assert cache.stats()["revoked"] == 1

    def test_all_where_it_is_asked_for(self, command: Command, url: str, running: Server) -> None:
        running.close()
        assert command("purge", url, "--all", "--with-keys", "--yes") == "removed 10 entries\n"
        assert there(url) == []

    def test_a_server_that_is_running_puts_its_own_back(
        self, command: Command, url: str, running: Server
    ) -> None:
        command("purge", url, "--all", "--with-keys", "--yes")
        running.ring.refresh()
        running.cache._poll()
        assert [each.key for each in shared(url)] == [b"sslsession-keys-1:web", b"sslsession-revoked-1:"]

    def test_json(self, command: Command, url: str, running: Server) -> None:
        assert json.loads(command("purge", url, "--all", "--yes", "--json")) == {
            "removed": 8,
            "kept": {"key ring": 1, "withdrawal list": 1},
        }

    def test_of_a_host_or_what_has_expired(self, command: Command, url: str) -> None:
        before = of_servers(url)
        command("purge", url)
        command("purge", url, "--host", "a.example")
        assert of_servers(url) == before

    def test_alone_it_means_nothing(self, command: Command, url: str) -> None:
        assert "--with-keys is for --all" in command("purge", url, "--with-keys", status=2)

    def test_what_is_sealed_may_be_theirs(self, url: str, tmp_path: Path) -> None:
        pytest.importorskip("cryptography")
        command = Command([])
        sealed = f"{url}?secret=env:CACHE_SECRET"
        with open_store(sealed) as store:
            store.add("x", b"y", expires_at=LATER)
        assert command("purge", url, "--all", "--yes") == (
            "removed 0 entries\n1 entry stayed: 1 sealed; see --with-keys\n"
        )
        other = sealed.replace("CACHE_SECRET", "CACHE_OTHER_SECRET")
        assert "another secret" in command.error("purge", other, "--all", "--yes")
        assert len(there(sealed)) == 1
        assert command("purge", other, "--all", "--with-keys", "--yes") == "removed all entries\n"


class TestExportAndImport:
    def test_what_servers_keep_stays(self, command: Command, url: str, tmp_path: Path) -> None:
        before, file = of_servers(url), tmp_path / "out.db"
        said = command("export", url, file)
        assert said.endswith("5 entries stayed: 3 server sessions, 1 key ring, 1 withdrawal list\n")
        assert "moved 4 tickets, copied 1 session to" in said
        assert of_servers(url) == before
        assert of_servers(f"sqlite:{file}") == []
        command("import", file, url)
        assert of_servers(url) == before

    def test_copied_where_it_is_asked_for(
        self, command: Command, url: str, running: Server, tmp_path: Path
    ) -> None:
        """Servers of the other store have all keys then, their own and these; what was withdrawn here is there."""
        file, other = tmp_path / "out.db", f"sqlite:{tmp_path}/other/store.db"
        before = shared(url)
        with open_store(other) as store:
            ring = TicketKeyRing.shared(store, name="web")
            own = {each.name for each in ring.key_info()}
            said = command("export", url, file, "--with-keys")
            assert "moved 4 tickets, copied 1 session, 1 key ring, 1 withdrawal list to " in said
            assert shared(url) == before
            said = json.loads(command("import", file, other, "--with-keys", "--json"))
            assert (said["key_rings"], said["withdrawal_lists"]) == (1, 1)
            ring.refresh()
            assert {each.name for each in ring.key_info()} >= own | {
                each.name for each in running.ring.key_info() if each.state != "retired"
            }
            with ServerSessionCache(store) as cache:
                cache._poll()
                assert len(cache._withdrawn._set.entries) == 1
            del ring
            gc.collect()
