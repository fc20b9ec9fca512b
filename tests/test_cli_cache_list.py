"""`sslsession cache list` and `purge`: what is in a store, as a table or as JSON, and less of it when asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from helpers import cache_command
from helpers.cache_command import LATER, Command, plain, there, ticket_key, tickets
from helpers.clients import refill
from sslsession import _envelope, _peers
from sslsession._peers import Peer
from sslsession.cli import _cache_text, cache as module
from sslsession.stores import Entry, SQLiteStore, open_store

environment, kept, command = cache_command.environment, cache_command.kept, cache_command.command
url, redis, redis_url = cache_command.url, cache_command.redis, cache_command.redis_url


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
            "holds": None,
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
            ticket_key("c"): ("damaged", b""),
            ticket_key("d"): ("incompatible", b"SSE2" + ticket.value[4:]),
            ticket_key("e"): ("moved", ticket.value),
            ticket_key("f"): ("incompatible", _peers.pack(ticket_key("f"), newer)),
            ticket_key("g"): ("damaged", _peers.pack(ticket_key("g"), envelope[:-1])),
            ticket_key("h"): ("damaged", _peers.pack(ticket_key("h"), envelope[:-1] + b"?")),
            ticket_key("i"): ("damaged", _peers.pack(ticket_key("i"), _envelope.pack(body))),
            ticket_key("j"): ("damaged", _peers.pack(ticket_key("j"), _envelope.pack({}))),
            ticket_key("k"): (
                "damaged",
                _peers.pack(ticket_key("k"), _peers.unpack(session.key, session.value)),
            ),
            ticket_key("l"): ("moved", _peers.pack(ticket_key("l"), envelope)),
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
            store.add(ticket_key("a\x1b[2Jb"), b"", expires_at=LATER)
        for terminal in (False, True):
            said = command("list", url, terminal=terminal)
            assert "\x1b[2J" not in said
            assert "a\\x1b[2Jb" in said

    def test_redis(self, command: Command, redis_url: str, kept: list[Entry]) -> None:
        assert "5 entries: 4 tickets, 1 session" in command("list", redis_url)
        assert there(redis_url) == sorted(kept)


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
                store.add(ticket_key(f"old{number}"), b"x", expires_at=LATER - 5_000)
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
            store.add(ticket_key("@2001:db8::1"), b"x", expires_at=LATER)
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
        assert "another secret" in command.error("purge", other, "--all", "--yes")
        assert command("purge", other, "--all", "--with-keys", "--yes") == "removed all entries\n"
        assert there(redis_url) == []
