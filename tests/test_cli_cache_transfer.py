"""`sslsession cache export` and `import`: what arrives resumes; whatever fails, no ticket is lost or in two places."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from helpers import cache_command
from helpers.cache_command import LATER, Command, plain, there, ticket_key, tickets
from helpers.certs import Authority, Identity
from helpers.clients import Home, entries, refill
from helpers.peers import client_context, server_context
from helpers.stores import memcached
from sslsession import Session, StoreError, _envelope, _peers
from sslsession.cli import cache as module
from sslsession.stores import Entry, MemoryStore, SQLiteStore, open_store

environment, kept, command = cache_command.environment, cache_command.kept, cache_command.command
url, redis, redis_url = cache_command.url, cache_command.redis, cache_command.redis_url


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
                key = ticket_key(f"@192.0.2.{number}")
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
