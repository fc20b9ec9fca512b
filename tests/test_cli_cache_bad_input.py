"""`sslsession cache` with URLs, files and servers that are no good: one line says why; and what `--help` says.

That no secret is shown is looked for in whatever the command says, here and in the files beside this one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from helpers import cache_command
from helpers.cache_command import PASSWORD, Command, there, tickets
from helpers.children import run_python
from helpers.clients import refill
from helpers.command import sslsession
from helpers.processes import free_port
from sslsession.stores import Entry, open_store

environment, kept, command = cache_command.environment, cache_command.kept, cache_command.command
url, redis, redis_url = cache_command.url, cache_command.redis, cache_command.redis_url


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
