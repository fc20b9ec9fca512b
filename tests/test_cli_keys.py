"""`sslsession keys`: files made, rotated, shown and converted; whatever it says is searched for secrets."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner

from helpers.command import TERMINAL, sslsession
from helpers.key_files import KINDS, left, made, some
from sslsession import TicketKeyRing, _keyfiles
from sslsession._keyfiles import Material
from sslsession.cli import cli
from sslsession.cli.keys import RELOAD

posix = pytest.mark.skipif(os.name != "posix", reason="modes mean nothing here")


class Keys:
    """The command, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._secrets: set[bytes] = set()

    def __call__(self, *arguments: object, status: int = 0, terminal: bool = False) -> str:
        self._learn()
        done = CliRunner().invoke(cli, ["keys", *map(str, arguments)], env=TERMINAL if terminal else None)
        self._learn()
        assert done.exit_code == status, done.output
        said = done.output.encode(errors="surrogateescape")
        assert not [secret for secret in self._secrets if secret in said]
        return done.output

    def json(self, *arguments: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(*arguments, "--json"))
        return found

    def error(self, *arguments: object, status: int = 1) -> str:
        *before, said = self(*arguments, status=status).splitlines()
        assert said.startswith("Error: ")
        assert bool(before) == (status == 2)
        return said

    def put(self, name: str, layout: str, keys: list[Material]) -> Path:
        path = self.directory / name
        _keyfiles.write(path, keys, layout)
        return path

    def read(self, name: str, layout: str) -> list[Material]:
        path = self.directory / name
        if os.name == "posix":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        return _keyfiles.read(path, layout)

    def _learn(self) -> None:
        for path in filter(Path.is_file, self.directory.iterdir()):
            data = path.read_bytes()
            for layout in _keyfiles.SIZES:
                try:
                    found = _keyfiles.parse(data, layout)
                except ValueError:
                    continue
                for secret in (part for key in found for part in (key.cipher_key, key.mac_key)):
                    self._secrets |= {secret, secret.hex().encode(), base64.b64encode(secret)[:20]}


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """The command, its words being names in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return Keys(tmp_path)


def names(*keys: Material) -> list[str]:
    return [key.name.hex() for key in keys]


class TestNew:
    @pytest.mark.parametrize(("layout", "secret"), KINDS)
    def test_of_each_layout(self, keys: Keys, layout: str, secret: int) -> None:
        size = 16 + 2 * secret
        count = 3 if layout == "haproxy" else 1
        told = f"key: {count} key{'s' * (count > 1)} of {size} bytes for {layout}\n"
        assert keys("new", "key", "--format", layout, "--size", size) == told
        found = keys.read("key", layout)
        assert (len(found), len(found[0].cipher_key)) == (count, secret)
        assert len({part for key in found for part in key}) == 3 * count

    def test_the_largest_unless_told(self, keys: Keys) -> None:
        for layout, size in (("nginx", 80), ("haproxy", 80), ("apache", 48)):
            assert f" of {size} bytes " in keys("new", layout, "--format", layout)
        assert "a key of apache's has 48 bytes" in keys.error(
            "new", "x", "--format", "apache", "--size", 80, status=2
        )
        assert "Missing option '--format'" in keys("new", "x", status=2)
        assert left(keys.directory) == ["apache", "haproxy", "nginx"]

    def test_nothing_is_overwritten_unless_told(self, keys: Keys) -> None:
        keys("new", "key", "--format", "nginx")
        before = keys.read("key", "nginx")
        told = "Error: key is there already: name another, or --force overwrites it"
        assert keys.error("new", "key", "--format", "nginx") == told
        assert keys.read("key", "nginx") == before
        keys("new", "key", "--format", "nginx", "--force")
        assert keys.read("key", "nginx") != before

    def test_places_for_none(self, keys: Keys) -> None:
        told = "Error: no/key cannot be written: No such file or directory; make that directory first"
        assert keys.error("new", "no/key", "--format", "nginx") == told
        (keys.directory / "directory").mkdir()
        assert "cannot be written" in keys.error("new", "directory", "--format", "nginx", "--force")

    def test_json(self, keys: Keys) -> None:
        found = keys.json("new", "key", "--format", "nginx")
        (key,) = keys.read("key", "nginx")
        told = {"state": "current", "cipher": "AES-256", "secrets": "(64 bytes, hidden)"}
        assert found == {"file": "key", "format": "nginx", "keys": [{"name": key.name.hex(), **told}]}


class TestRotate:
    @pytest.mark.parametrize(("layout", "secret"), [kind for kind in KINDS if kind[0] != "haproxy"])
    def test_a_key_that_is_alone(self, keys: Keys, layout: str, secret: int) -> None:
        old = some(layout, secret)
        keys.put("key", layout, old)
        said = keys("rotate", "key", "--format", layout)
        lost = "key has a new key; older tickets are lost: --keep OLD would have kept their key"
        assert said == f"{lost}; {RELOAD}\n"
        (new,) = keys.read("key", layout)
        assert len(new.cipher_key) == secret
        assert not {*new} & {*old[0]}

    def test_old_files_move_on(self, keys: Keys) -> None:
        words = ["rotate", "a", "--keep", "b", "--keep", "c"]
        keys("new", "a", "--format", "nginx")
        seen = [keys.read("a", "nginx")]
        said = keys(*words)
        assert said == (
            f"a has a new key; the old one is in b, and decrypts where servers have that too; {RELOAD}\n"
        )
        assert left(keys.directory) == ["a", "b"]
        for kept in (["b", "c"], ["b", "c"]):
            seen.insert(0, keys.read("a", "nginx"))
            assert keys.json(*words)["kept"] == kept
        assert [keys.read(name, "nginx") for name in ("b", "c")] == seen[:2]
        ring = TicketKeyRing.from_file(["a", "b", "c"])
        assert [(info.name.hex(), info.state) for info in ring.key_info()] == [
            (names(*keys.read("a", "nginx"))[0], "current"),
            *((names(*each)[0], "retired") for each in seen[:2]),
        ]

    @pytest.mark.parametrize("size", [16, 32])
    @pytest.mark.parametrize("count", [3, 5])
    def test_haproxy(self, keys: Keys, size: int, count: int) -> None:
        present, oldest, *retired, coming = made(count, size)
        keys.put("key", "haproxy", [present, oldest, *retired, coming])
        lines = (keys.directory / "key").read_bytes().splitlines()
        said = keys("rotate", "key")
        assert said == (f"key: its next key encrypts from now on, and a new one comes after that; {RELOAD}\n")
        *before, new = keys.read("key", "haproxy")
        assert before == [coming, *retired, present]
        assert (keys.directory / "key").read_bytes().splitlines()[:-1] == lines[1:]
        assert len(new.cipher_key) == size
        assert "has its old keys in itself" in keys.error("rotate", "key", "--keep", "x", status=2)

    def test_what_is_no_key_is_left_alone(self, keys: Keys) -> None:
        keys("new", "key", "--format", "nginx")
        before = keys.read("key", "nginx")
        (keys.directory / "notes").write_text("what was there before")
        (keys.directory / "notes").chmod(0o600)
        assert "notes: 21 bytes, where nginx has" in keys.error("rotate", "key", "--keep", "notes")
        assert "21 bytes of no layout" in keys.error("rotate", "notes")
        assert "named once" in keys.error("rotate", "key", "--keep", "key", status=2)
        assert "named once" in keys.error("rotate", "key", "--keep", "x", "--keep", "./x", status=2)
        told = "Error: no-such cannot be read: No such file or directory; `sslsession keys new` makes one"
        assert keys.error("rotate", "no-such") == told
        assert keys.read("key", "nginx") == before
        assert left(keys.directory) == ["key", "notes"]


class TestShow:
    def test_which_encrypts(self, keys: Keys) -> None:
        found = some("haproxy", 16)
        keys.put("key", "haproxy", found)
        name = names(*found)
        assert keys("show", "key").splitlines() == [
            "key: 4 keys of 48 bytes for haproxy",
            "name                              state    cipher   secrets",
            f"{name[0]}  current  AES-128  (32 bytes, hidden)",
            f"{name[1]}  retired  AES-128  (32 bytes, hidden)",
            f"{name[2]}  retired  AES-128  (32 bytes, hidden)",
            f"{name[3]}  next     AES-128  (32 bytes, hidden)",
        ]
        found_states = [(key["name"], key["state"]) for key in keys.json("show", "key")["keys"]]
        assert found_states == list(zip(name, ["current", "retired", "retired", "next"]))

    def test_on_a_terminal(self, keys: Keys) -> None:
        (key,) = some("nginx", 32)
        keys.put("key", "nginx", [key])
        said = keys("show", "key", terminal=True)
        assert "\x1b[32m" in said
        assert key.name.hex() in said
        assert "key: 1 key of 80 bytes for nginx\n" in said

    def test_48_bytes_do_not_tell(self, keys: Keys) -> None:
        keys.put("key", "apache", some("apache", 16))
        told = "Error: key: 48 bytes are nginx's or Apache's, which differ; say which by {}"
        assert keys.error("show", "key") == told.format("--format")
        assert keys.error("convert", "key", "to", "--to", "nginx") == told.format("--from")
        assert keys.error("show", "key", "--format", "haproxy") == (
            "Error: key: line 1 is not base64; 48 bytes are nginx's or Apache's, which differ; say which by --format"
        )
        assert "for apache" in keys("show", "key", "--format", "apache")

    def test_a_file_of_another_layout(self, keys: Keys) -> None:
        keys.put("key", "haproxy", some("haproxy", 32))
        told = "it looks like haproxy's: say so by {}, or name another file"
        assert told.format("--format") in keys.error("show", "key", "--format", "nginx")
        assert told.format("--from") in keys.error("convert", "key", "to", "--from", "nginx", "--to", "nginx")

    def test_what_is_no_secret(self, keys: Keys) -> None:
        path = keys.directory / "key"
        path.write_bytes(bytes(80))
        path.chmod(0o600)
        assert "all zero, which everybody knows; make it anew, of random bytes: `sslsession keys new`" in (
            keys.error("show", "key")
        )
        path.write_bytes(b"")
        assert "empty" in keys.error("show", "key")

    @posix
    def test_files_of_others(self, keys: Keys) -> None:
        path = keys.put("key", "nginx", some("nginx", 32))
        keys.put("more", "nginx", made(1, seed=8))
        for mode in (0o640, 0o604, 0o620):
            path.chmod(mode)
            for words in (
                ["show", "key"],
                ["rotate", "key"],
                ["rotate", "more", "--keep", "key"],
                ["convert", "key", "new", "--to", "nginx"],
            ):
                said = keys.error(*words)
                assert f"others can read or write it (mode {mode:04o})" in said
                assert "read it with --allow-shared if they may" in said
        assert "80 bytes" in keys("show", "key", "--allow-shared")
        keys("rotate", "key", "--allow-shared")
        keys.read("key", "nginx")


class TestConvert:
    @pytest.mark.parametrize(("source", "secret"), KINDS)
    @pytest.mark.parametrize("target", ["nginx", "haproxy", "apache"])
    def test_the_key_that_encrypts_stays(self, keys: Keys, source: str, secret: int, target: str) -> None:
        given = some(source, secret)
        keys.put("from", source, given)
        words = ["convert", "from", "to", "--from", source, "--to", target]
        if (target, secret) == ("apache", 32):
            assert keys.error(*words) == (
                "Error: from has keys of 80 bytes, and apache's have 48; for both, make one by"
                " `sslsession keys new FILE --format nginx --size 48`, and convert that"
            )
            assert left(keys.directory) == ["from"]
            return
        said = keys(*words)
        found = keys.read("to", target)
        assert found[0] == given[0]
        if target == "haproxy":
            assert found[: len(given)] == given
            assert len(found) == max(3, len(given))
            assert ("; 2 keys added at random" in said) == (len(given) == 1)
        else:
            assert len(found) == 1
            assert ("; 3 keys left out" in said) == (len(given) > 1)

    def test_there_and_back(self, keys: Keys) -> None:
        keys("new", "nginx.key", "--format", "nginx")
        told = keys.json("convert", "nginx.key", "haproxy.key", "--to", "haproxy")
        assert (told["added"], told["left_out"]) == (2, 0)
        told = keys.json("convert", "haproxy.key", "back.key", "--to", "nginx")
        assert (told["added"], told["left_out"]) == (0, 2)
        assert keys.read("back.key", "nginx") == keys.read("nginx.key", "nginx")

    def test_nothing_is_overwritten_unless_told(self, keys: Keys) -> None:
        keys.put("key", "nginx", some("nginx", 16))
        words = ["convert", "key", "key", "--from", "nginx", "--to", "apache"]
        assert "key is there already" in keys.error(*words)
        keys(*words, "--force")
        assert keys.read("key", "apache") == some("nginx", 16)


@pytest.mark.parametrize("name", ["new", "rotate", "show", "convert"])
def test_help(name: str) -> None:
    said = sslsession("keys", name, "--help").stdout
    assert "--json" in said
    assert max(map(len, said.splitlines())) <= 80


def test_as_a_program(tmp_path: Path) -> None:
    sslsession("keys", "new", tmp_path / "key", "--format", "nginx")
    assert "state" in sslsession("keys", "show", tmp_path / "key").stdout
    failed = sslsession("keys", "new", tmp_path / "key", "--format", "nginx", expect=1)
    assert (failed.stdout, failed.stderr.count("\n")) == ("", 1)
    assert max(map(len, sslsession("keys", "--help").stdout.splitlines())) <= 80
