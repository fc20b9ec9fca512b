"""`sslsession cache`: what is in a store, less of it, and its way elsewhere; never a secret, never a ticket twice."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner

from helpers.certs import Authority, Identity
from helpers.children import run_python
from helpers.clients import Home, entries, refill
from helpers.command import TERMINAL, sslsession
from helpers.peers import client_context, server_context
from helpers.processes import free_port
from helpers.stores import OTHER_SECRET, SECRET, Server, memcached, new_prefix, redis_server
from sslsession import Session, StoreError, _envelope, _peers
from sslsession._peers import Peer
from sslsession.cli import _cache_text, cache as module, cli
from sslsession.stores import Entry, MemoryStore, SQLiteStore, open_store

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


@pytest.fixture(scope="module")
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
def command(secrets: list[bytes]) -> Command:
    return Command(secrets)


@pytest.fixture
def url(tmp_path: Path, kept: list[Entry]) -> str:
    """A file store with `kept` in it."""
    found = f"sqlite:{tmp_path}/store.db"
    with open_store(found) as store:
        refill(store, kept)
    return found


@pytest.fixture(scope="module")
def redis(kept: list[Entry]) -> Iterator[Server]:
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
    with open_store(where, timeout=20) as store:
        return sorted(entries(store))


def tickets(found: list[Entry]) -> list[Entry]:
    return sorted(entry for entry in found if b"/tickets/" in entry.key)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


class TestList:
    def test_in_a_pipe(self, command: Command, url: str) -> None:
        head, *rows, count = command("list", url).splitlines()
        assert head.split() == ["peer", "kind", "TLS", "expires", "in", "partition"]
        assert [row.split()[:3] for row in rows] == [
            *[["a.example", "ticket", "1.3"]] * 2,
            *[["b.example", "ticket", "1.3"]] * 2,
            ["localhost", "session", "1.2"],
        ]
        assert all(re.search(r"  1 h 59 min  -$|  2 h  -$", row) for row in rows)
        assert count == "5 entries: 4 tickets, 1 session"
        assert len({row.index(word) for row, word in zip(rows, ["ticket"] * 4 + ["session"])}) == 1

    def test_as_a_program(self, command: Command, url: str) -> None:
        said, errors = command.program("list", url)
        assert said.endswith("\n5 entries: 4 tickets, 1 session\n")
        assert "\x1b" not in said
        assert errors == ""

    def test_on_a_terminal_of_80_columns(self, command: Command, url: str, kept: list[Entry]) -> None:
        long = ".".join(["a-part-of-a-name"] * 8)
        with open_store(url) as store:
            key = _peers.stored_key(_peers.StoredKey("tickets", Peer(long, "443"), "f" * 32, "0" * 64))
            store.add(key, b"damaged", expires_at=LATER)
        said = command("list", url, terminal=True)
        assert "\x1b[" in said
        seen = plain(said)
        assert max(map(len, seen.splitlines())) <= 80
        assert "│ ticket " in seen
        assert "│ ffffffff " in seen
        folded = "".join(re.findall(r"^│ (\S+)", seen, re.M))
        assert f"{long}:443" in folded

    def test_json(self, command: Command, url: str, kept: list[Entry]) -> None:
        said = json.loads(command("list", url, "--json"))
        assert (said["count"], said["kinds"]) == (5, {"ticket": 4, "session": 1})
        assert said["entries"][0] == {
            "kind": "ticket",
            "host": "a.example",
            "address": None,
            "port": None,
            "tls": "1.3",
            "expires_at": min(entry.expires_at for entry in kept if b"/a.example/" in entry.key),
            "partition": None,
        }

    def test_takes_nothing(self, command: Command, url: str, kept: list[Entry]) -> None:
        for _ in range(2):
            command("list", url)
        assert there(url) == sorted(kept)

    def test_an_empty_store(self, command: Command, url: str) -> None:
        with open_store(url) as store:
            store.clear()
        assert command("list", url) == command("list", url, terminal=True) == "no entries\n"
        assert json.loads(command("list", url, "--json")) == {"entries": [], "count": 0, "kinds": {}}

    def test_what_is_none_of_ours_or_damaged(self, command: Command, url: str, kept: list[Entry]) -> None:
        ticket, session = tickets(kept)[0], next(entry for entry in kept if b"/session/" in entry.key)
        envelope = _peers.unpack(ticket.key, ticket.value)
        newer = envelope[:4] + b"\x02" + envelope[5:]
        body = _envelope.unpack(envelope)
        body["der"] = b"\x30\x03\x02\x01\x01"
        expected = {
            b"of another program": ("foreign", b"anything"),
            b"server/1/x": ("foreign", b""),
            b"client/2/tickets/a": ("incompatible", ticket.value),
            bytes(32): ("sealed", b"\x01" + bytes(60)),
            _key("c"): ("damaged", b""),
            _key("d"): ("incompatible", b"SSE2" + ticket.value[4:]),
            _key("e"): ("moved", ticket.value),
            _key("f"): ("incompatible", _peers.pack(_key("f"), newer)),
            _key("g"): ("damaged", _peers.pack(_key("g"), envelope[:-1])),
            _key("h"): ("damaged", _peers.pack(_key("h"), envelope[:-1] + b"?")),
            _key("i"): ("damaged", _peers.pack(_key("i"), _envelope.pack(body))),
            _key("j"): ("damaged", _peers.pack(_key("j"), _envelope.pack({}))),
            _key("k"): ("damaged", _peers.pack(_key("k"), _peers.unpack(session.key, session.value))),
            _key("l"): ("moved", _peers.pack(_key("l"), envelope)),
        }
        with open_store(url) as store:
            refill(store, [Entry(key, value, LATER) for key, (_, value) in expected.items()])
            store.add(ticket.key, ticket.value, expires_at=LATER)
        rows = command.rows(url)
        assert rows[0]["kind"] == "ticket"
        assert sorted(str(row["kind"]) for row in rows[1:]) == sorted(kind for kind, _ in expected.values())
        by_host = {str(row["host"]): row["kind"] for row in rows[1:] if row["host"]}
        assert by_host == {
            key.split(b"/")[3].decode(): expected[key][0] for key in expected if key.count(b"/") == 6
        }
        for terminal in (False, True):
            *_, count, foreign, sealed, incompatible, moved, damaged = command(
                "list", url, terminal=terminal
            ).splitlines()
            assert count == "15 entries: 1 ticket, 2 foreign, 1 sealed, 3 incompatible, 2 moved, 6 damaged"
            assert [line.split(":")[0] for line in (foreign, sealed, incompatible, moved, damaged)] == list(
                _cache_text.MEANINGS
            )

    def test_names_that_a_terminal_would_obey(self, command: Command, url: str) -> None:
        with open_store(url) as store:
            store.add(_key("a\x1b[2Jb"), b"", expires_at=LATER)
        for terminal in (False, True):
            said = command("list", url, terminal=terminal)
            assert "\x1b[2J" not in said
            assert "a\\x1b[2Jb" in said

    def test_redis(self, command: Command, redis_url: str, kept: list[Entry]) -> None:
        assert "5 entries: 4 tickets, 1 session" in command("list", redis_url)
        assert there(redis_url) == sorted(kept)


def _key(host: str) -> bytes:
    return _peers.stored_key(_peers.StoredKey("tickets", Peer(host, ""), "", "0" * 64))


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        (Peer("a.example", ""), "a.example"),
        (Peer("a.example", "443"), "a.example:443"),
        (Peer("@192.0.2.1", "443"), "192.0.2.1:443"),
        (Peer("@2001:db8::1", "443"), "[2001:db8::1]:443"),
        (Peer("@unix:/run/x", ""), "unix:/run/x"),
        (Peer("a.example", "unix:/run/x"), "a.example (unix:/run/x)"),
        (None, "-"),
    ],
)
def test_peers_as_people_write_them(peer: Peer | None, told: str) -> None:
    assert _cache_text.named(peer) == told


def test_addresses_and_ports_in_json() -> None:
    row = _cache_text.Row("ticket", Peer("@192.0.2.1", "443"), "1.3", "", 1.0)
    assert {name: row.plain()[name] for name in ("host", "address", "port")} == {
        "host": None,
        "address": "192.0.2.1",
        "port": 443,
    }


def test_lifetimes_as_people_say_them() -> None:
    told = {
        -5: "0 s",
        0.5: "0 s",
        59: "59 s",
        60: "1 min",
        3599: "59 min 59 s",
        7200: "2 h",
        86_400: "1 d",
        90_060: "1 d 1 h",
        86_460: "1 d",
        604_799: "6 d 23 h",
    }
    assert {seconds: _cache_text.duration(seconds) for seconds in told} == told


class TestPurge:
    @pytest.fixture
    def url_of_old(self, tmp_path: Path, kept: list[Entry]) -> str:
        """A file store with two entries that have expired, and `kept`."""
        path = tmp_path / "old.db"
        with SQLiteStore(path, clock=lambda: LATER - 10_000) as store:
            refill(store, kept)
            for number in range(2):
                store.add(_key(f"old{number}"), b"x", expires_at=LATER - 5_000)
        return f"sqlite:{path}"

    def test_what_has_expired(self, command: Command, url_of_old: str, kept: list[Entry]) -> None:
        assert command("purge", url_of_old) == "removed 2 entries that had expired\n"
        assert command("purge", url_of_old) == "removed 0 entries that had expired\n"
        assert there(url_of_old) == sorted(kept)

    def test_one_host(self, command: Command, url: str) -> None:
        assert command("purge", url, "--host", "A.example.") == "removed 2 entries of A.example.\n"
        assert json.loads(command("purge", url, "--host", "localhost", "--json")) == {"removed": 1}
        assert command("purge", url, "--host", "nobody.example") == "removed 0 entries of nobody.example\n"
        assert {row["host"] for row in command.rows(url)} == {"b.example"}

    def test_an_address(self, command: Command, url: str) -> None:
        with open_store(url) as store:
            store.add(_key("@2001:db8::1"), b"x", expires_at=LATER)
        assert command("purge", url, "--host", "[2001:DB8::1]").startswith("removed 1 entry of ")

    def test_everything_in_a_pipe(self, command: Command, url: str, kept: list[Entry]) -> None:
        said = command("purge", url, "--all", status=2, answer="y\n")
        assert "say --yes where there is no terminal" in said
        assert there(url) == sorted(kept)
        assert command("purge", url, "--all", "--yes") == "removed 5 entries\n"
        assert there(url) == []

    def test_everything_on_a_terminal(
        self, command: Command, url: str, kept: list[Entry], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
        said = command("purge", url, "--all", status=1, answer="n\n")
        assert said.startswith("Remove 5 entries? [y/N]: ")
        assert there(url) == sorted(kept)
        assert "removed 5 entries\n" in command("purge", url, "--all", answer="y\n")
        assert there(url) == []

    def test_everything_or_one(self, command: Command, url: str) -> None:
        assert "take one of the options" in command("purge", url, "--all", "--host", "a", status=2)

    def test_redis(self, command: Command, redis_url: str) -> None:
        assert command("purge", redis_url) == "removed 0 entries that had expired\n"
        assert command("purge", redis_url, "--host", "a.example") == "removed 2 entries of a.example\n"
        other = redis_url.replace("CACHE_SECRET", "CACHE_OTHER_SECRET")
        assert command("purge", other, "--all", "--yes") == "removed all entries\n"
        assert there(redis_url) == []


class TestExportAndImport:
    def test_there_and_back(
        self,
        command: Command,
        url: str,
        kept: list[Entry],
        tmp_path: Path,
        ca: Authority,
        server_identity: Identity,
    ) -> None:
        file = tmp_path / "out.db"
        said, errors = command.program("export", url, file)
        assert said == f"moved 4 tickets, copied 1 session to {file}\n"
        assert errors.startswith(f"Warning: {file} holds secrets: ")
        assert errors.count("\n") == 1
        assert os.name == "nt" or stat.S_IMODE(file.stat().st_mode) == 0o600
        assert there(f"sqlite:{file}") == sorted(kept)
        assert tickets(there(url)) == []
        assert len(there(url)) == 1
        target = f"sqlite:{tmp_path}/new/store.db"
        assert command.program("import", file, target) == (
            "moved 4 tickets, copied 1 session to the store\n",
            "",
        )
        assert tickets(there(f"sqlite:{file}")) == []
        with open_store(target) as store:
            assert list(store.entries()) != []
            assert [store.take(entry.key) for entry in tickets(kept)[:2]] == _newest_first(
                kept, tickets(kept)[0].key
            )

    def test_what_arrived_resumes(
        self, command: Command, ca: Authority, server_identity: Identity, tmp_path: Path, tls_version: str
    ) -> None:
        client, server = client_context(ca, version=tls_version), server_context(server_identity)
        first, second = f"sqlite:{tmp_path}/first.db", f"sqlite:{tmp_path}/second.db"
        home = Home(open_store(first))
        home.visit(client, server)
        home.close()
        home.store.close()
        command("export", first, tmp_path / "file")
        command("import", tmp_path / "file", second)
        home = Home(open_store(second))
        assert home.visit(client, server).reused
        home.close()
        home.store.close()

    def test_json(self, command: Command, url: str, tmp_path: Path) -> None:
        said, _ = command.program("export", url, tmp_path / "out.db", "--json")
        assert json.loads(said) == {"tickets": 4, "sessions": 1, "left": {}}
        said, errors = command.program("import", tmp_path / "out.db", url, "--json")
        assert json.loads(said) == {"tickets": 4, "sessions": 0, "left": {}, "expired": 0, "already_there": 1}
        assert errors == ""

    def test_a_store_s_own_session_stays(self, command: Command, url: str, tmp_path: Path) -> None:
        command("export", url, tmp_path / "out.db")
        said = command("import", tmp_path / "out.db", url)
        assert said == (
            "moved 4 tickets, copied 0 sessions to the store\n1 session stayed: the store has one for that peer\n"
        )

    def test_what_has_expired_does_not_arrive(
        self, command: Command, url: str, kept: list[Entry], tmp_path: Path
    ) -> None:
        file = tmp_path / "out.db"
        with SQLiteStore(file, clock=lambda: LATER - 10_000) as store:
            for entry in kept[:2]:
                store.add(entry.key, entry.value, expires_at=LATER - 5_000, keep=9)
        assert command("import", file, url) == (
            "moved 0 tickets, copied 0 sessions to the store\n2 entries had expired, and went\n"
        )
        assert there(url) == sorted(kept)

    def test_what_is_none_of_ours_stays(
        self, command: Command, url: str, kept: list[Entry], tmp_path: Path
    ) -> None:
        damaged = Entry(tickets(kept)[0].key, b"SSE1damaged", LATER)
        with open_store(url) as store:
            store.add(b"other", b"x", expires_at=LATER)
            store.add(damaged.key, damaged.value, expires_at=LATER, keep=9)
        said = command("export", url, tmp_path / "out.db")
        assert "moved 4 tickets, copied 1 session to " in said
        assert said.endswith("2 entries stayed: 1 foreign, 1 moved\n")
        assert there(f"sqlite:{tmp_path}/out.db") == sorted(kept)
        left = {(entry.key, entry.value) for entry in there(url)}
        assert {(b"other", b"x"), damaged[:2]} < left
        assert len(left) == 3

    def test_redis_to_a_file_and_back(
        self, command: Command, redis_url: str, kept: list[Entry], tmp_path: Path
    ) -> None:
        file = tmp_path / "out.db"
        command("export", redis_url, file)
        assert there(f"sqlite:{file}") == sorted(kept)
        assert tickets(there(redis_url)) == []
        command("import", file, redis_url)
        assert there(redis_url) == sorted(kept)

    def test_a_file_to_memcached(self, command: Command, url: str, kept: list[Entry], tmp_path: Path) -> None:
        pytest.importorskip("pymemcache")
        pytest.importorskip("cryptography")
        file = tmp_path / "out.db"
        command("export", url, file)
        with memcached() as server:
            where = f"memcached://{server.address}?secret=env:CACHE_SECRET"
            assert "moved 4 tickets, copied 1 session" in command("import", file, where)
            with open_store(where, timeout=20) as store:
                assert [store.take(entry.key) for entry in tickets(kept)[:2]] == _newest_first(
                    kept, tickets(kept)[0].key
                )
            assert command("purge", where) == "removed 0 entries that had expired\n"
            for words in (
                ["list", where],
                ["export", where, str(tmp_path / "more.db")],
                ["purge", where, "--host", "a"],
                ["purge", where, "--all", "--yes"],
            ):
                assert "memcached does not list its keys" in command.error(*words)
        assert not (tmp_path / "more.db").exists()

    def test_a_file_is_not_overwritten_unasked(self, command: Command, url: str, tmp_path: Path) -> None:
        file = tmp_path / "out.db"
        file.write_bytes(b"precious")
        file.chmod(0o644)
        assert "--force overwrites it" in command.error("export", url, file)
        assert file.read_bytes() == b"precious"
        assert "moved 4 tickets" in command("export", url, file, "--force")
        assert os.name == "nt" or stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_a_store_onto_itself(self, command: Command, url: str, kept: list[Entry], tmp_path: Path) -> None:
        for name in (url, url.replace("sqlite:", "SQLite:")):
            assert "itself" in command.error("export", name, tmp_path / "store.db", "--force")
        assert "itself" in command.error("import", tmp_path / "store.db", url)
        assert there(url) == sorted(kept)

    def test_a_bar_for_many_on_a_terminal(
        self, command: Command, url: str, kept: list[Entry], tmp_path: Path
    ) -> None:
        ticket = tickets(kept)[0]
        envelope = _peers.unpack(ticket.key, ticket.value)
        with open_store(url) as store:
            for number in range(60):
                key = _key(f"@192.0.2.{number}")
                store.add(key, _peers.pack(key, envelope), expires_at=LATER)
        said = command("export", url, tmp_path / "out.db", terminal=True)
        assert "/65" in plain(said)
        assert "moved 64 tickets, copied 1 session" in plain(said)


def _newest_first(kept: list[Entry], key: bytes) -> list[bytes]:
    return [entry.value for entry in kept if entry.key == key]


class Failing(MemoryStore):
    """Takes `good` values, then fails; with `late`, after it has taken one more."""

    def __init__(self, good: int, error: type[BaseException] = StoreError, *, late: bool = False) -> None:
        super().__init__()
        self.good = good
        self._error = error
        self._late = late

    def add(self, key: str | bytes, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        self.good -= 1
        if self.good >= 0 or (self._late and self.good == -1):
            super().add(key, value, expires_at=expires_at, keep=keep)
        if self.good < 0:
            raise self._error("the disk is full")


class TestFailuresInTheMiddle:
    @pytest.fixture
    def source(self, kept: list[Entry]) -> MemoryStore:
        store = MemoryStore()
        refill(store, [entry for entry in kept if b"/tickets/" in entry.key])
        return store

    @pytest.mark.parametrize("good", range(4))
    @pytest.mark.parametrize("error", [StoreError, KeyboardInterrupt])
    @pytest.mark.parametrize("late", [False, True])
    def test_nothing_is_lost_or_twice(
        self, kept: list[Entry], source: MemoryStore, good: int, error: type[BaseException], late: bool
    ) -> None:
        target, before = Failing(good, error, late=late), entries(source)
        with pytest.raises(error) as caught:
            module.Transfer(source).run(target, quiet=True)
        assert sorted([*tickets(entries(source)), *tickets(entries(target))]) == tickets(kept)
        for key in {entry.key for entry in tickets(kept)}:
            both = [*entries(source), *entries(target)]
            assert [each for each in both if each.key == key] == [each for each in before if each.key == key]
        if error is StoreError:
            arrived = len(tickets(entries(target)))
            told = f"{arrived} ticket{'s' if arrived > 1 else ''}" if arrived else "nothing"
            assert str(caught.value).startswith(f"the disk is full; {told}")
            assert "had arrived by then" in str(caught.value)

    def test_a_source_that_fails(self, kept: list[Entry], source: MemoryStore) -> None:
        target, transfer = MemoryStore(), module.Transfer(source)
        taking, calls = source.take, iter(range(9))

        def take(key: str | bytes) -> bytes | None:
            if next(calls) == 1:
                raise StoreError("gone")
            return taking(key)

        source.take = take  # type: ignore[method-assign]
        with pytest.raises(StoreError, match="gone; 1 ticket had arrived by then"):
            transfer.run(target, quiet=True)
        assert sorted([*tickets(entries(source)), *tickets(entries(target))]) == tickets(kept)

    def test_a_target_that_says_nothing_any_more(
        self, kept: list[Entry], source: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target, transfer = Failing(1), module.Transfer(source)
        before = target.peek

        def peek(key: str | bytes) -> bytes | None:
            if target.good < 0:
                raise StoreError("down")
            return before(key)

        monkeypatch.setattr(target, "peek", peek)
        with pytest.raises(StoreError, match="the disk is full; 1 ticket had arrived by then"):
            transfer.run(target, quiet=True)
        assert sorted([*entries(source), *entries(target)]) == tickets(kept)

    def test_both_fail(self, source: MemoryStore) -> None:
        def add(*_: object, **__: object) -> None:
            raise StoreError("down")

        transfer = module.Transfer(source)
        source.add = add  # type: ignore[method-assign]
        with pytest.raises(StoreError, match="2 tickets could not be put back"):
            transfer.run(Failing(0), quiet=True)

    def test_what_came_meanwhile(self, kept: list[Entry], source: MemoryStore) -> None:
        transfer, target = module.Transfer(source), MemoryStore()
        ticket = tickets(kept)[0]
        envelope = _envelope.unpack(_peers.unpack(ticket.key, ticket.value))
        new = _peers.pack(ticket.key, _envelope.pack({**envelope, "last_activity": 1}))
        source.add(ticket.key, new, expires_at=LATER, keep=9)
        source.add(ticket.key, b"damaged", expires_at=LATER, keep=9)
        transfer.run(target, quiet=True)
        session = Session.from_bytes(_peers.unpack(ticket.key, new))
        assert (ticket.key, new, session.expires_at) in entries(target)
        assert len(tickets(entries(target))) == 4
        left = {entry.value for entry in entries(source) if entry.key == ticket.key}
        assert left == {b"damaged", _newest_first(kept, ticket.key)[1]}


class TestBadInput:
    @pytest.mark.parametrize(
        ("where", "told"),
        [
            ("foo:x", "a store's URL begins with one of"),
            ("sessions.db", "a store's URL begins with one of"),
            ("memory:", "in one process alone"),
            ("sqlite:no-such.db", "there is no file no-such.db"),
            ("sqlite:", "is followed by a path"),
            ("sqlite:x?timeout=soon", "there is no file x"),
            (f"redis://:{PASSWORD}@127.0.0.1", "secret="),
            (f"redis://:{PASSWORD}@127.0.0.1?no=1", "has no parameter no"),
            (f"redis://[:{PASSWORD}@x", "no URL of a store"),
            (f"redis://:{PASSWORD}@127.0.0.1:x?insecure=1", "no Redis URL"),
            (f"redis://127.0.0.1?secret={PASSWORD}", "says where the secret is"),
            ("redis://127.0.0.1?secret=env:NO_SUCH_VARIABLE", "which is not set"),
            ("redis://127.0.0.1?secret=file:no-such", "cannot be read"),
        ],
    )
    def test_urls(self, command: Command, where: str, told: str, tmp_path: Path) -> None:
        pytest.importorskip("redis")
        pytest.importorskip("cryptography")
        for words in (["list", where], ["purge", where], ["export", where, str(tmp_path / "x")]):
            assert told in command.error(*words)
        assert not (tmp_path / "x").exists()

    def test_a_server_that_is_down(
        self, command: Command, url: str, kept: list[Entry], tmp_path: Path
    ) -> None:
        pytest.importorskip("redis")
        where = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}?insecure=1"
        assert "cannot be reached" in command.error("list", where)
        command("export", url, tmp_path / "out.db")
        assert "cannot be reached" in command.error("import", tmp_path / "out.db", where)
        assert tickets(there(f"sqlite:{tmp_path}/out.db")) == tickets(kept)

    def test_a_wrong_password_or_secret(self, command: Command, redis_url: str, tmp_path: Path) -> None:
        wrong, file = redis_url.replace("CACHE_SECRET", "CACHE_OTHER_SECRET"), tmp_path / "out.db"
        for words in (["list", wrong], ["purge", wrong, "--host", "a"], ["export", wrong, file]):
            assert "made with another secret" in command.error(*words)
        assert not file.exists()
        assert "user and password" in command.error("list", redis_url.replace(PASSWORD, PASSWORD + "x"))

    def test_no_secret_where_one_is_needed(self, command: Command, tmp_path: Path, kept: list[Entry]) -> None:
        pytest.importorskip("cryptography")
        where = f"sqlite:{tmp_path}/sealed.db"
        with open_store(f"{where}?secret=env:CACHE_SECRET") as store:
            refill(store, kept)
        assert {row["kind"] for row in command.rows(where)} == {"sealed"}
        assert "5 entries: 5 sealed\nsealed: sealed, and no secret was given" in command("list", where)
        assert len(command.rows(f"{where}?secret=env:CACHE_SECRET")) == 5

    def test_files_of_others(self, command: Command, url: str, tmp_path: Path) -> None:
        import sqlite3

        file = tmp_path / "file"
        assert "there is no file" in command.error("import", file, url)
        file.write_bytes(b"no database at all, but of some length" * 99)
        file.chmod(0o600)
        assert "no SQLite database" in command.error("import", file, url)
        file.unlink()
        connection = sqlite3.connect(file)
        connection.execute("CREATE TABLE theirs (id)")
        connection.close()
        file.chmod(0o600)
        assert "another program's" in command.error("import", file, url)
        connection = sqlite3.connect(tmp_path / "store.db")
        connection.execute("PRAGMA user_version = 9")
        connection.close()
        assert "is of version 9" in command.error("list", url)

    def test_places_for_a_file(self, command: Command, url: str, kept: list[Entry], tmp_path: Path) -> None:
        assert "there is no directory" in command.error("export", url, tmp_path / "no" / "x.db")
        assert "is a directory" in command("export", url, tmp_path, status=2)
        if os.name == "posix":
            (tmp_path / "open").mkdir()
            (tmp_path / "open").chmod(0o777)
            assert "others can write to this directory" in command.error(
                "export", url, tmp_path / "open" / "x"
            )
        assert there(url) == sorted(kept)

    @pytest.mark.parametrize(
        ("absent", "told"),
        [
            ("click rich", "needs click and rich: pip install 'sslsession[cli]'"),
            ("redis", "'sslsession[redis]'"),
        ],
    )
    def test_extras_that_are_not_installed(self, absent: str, told: str) -> None:
        code = """
            import sys
            for name in sys.argv[1].split():
                sys.modules[name] = None
            from sslsession.__main__ import main
            sys.exit(main(["cache", "list", "redis://127.0.0.1?insecure=1"]))
        """
        done = run_python(code, args=[absent], expect=1)
        assert told in done.stderr
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)

    def test_as_a_program(self, command: Command) -> None:
        said, errors = command.program("list", "sqlite:no-such.db", status=1)
        assert (said, errors) == ("", "Error: there is no file no-such.db\n")


@pytest.mark.parametrize("name", ["list", "purge", "export", "import"])
def test_help(name: str) -> None:
    said = sslsession("cache", name, "--help").stdout
    assert f"  sslsession cache {name} " in said
    assert "--json" in said
    assert max(map(len, said.splitlines())) <= 80


def test_help_of_all() -> None:
    said = sslsession("cache", "--help").stdout
    assert max(map(len, said.splitlines())) <= 80
    assert "..." not in said.partition("Commands:")[2]
