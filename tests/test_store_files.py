"""Files that others than this user could read, write or replace are refused, with what to do."""

from __future__ import annotations

import os
import stat

import pytest

from sslsession.errors import StoreError
from sslsession.stores import SQLiteStore
from sslsession.stores._files import private_text

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes mean nothing here")
LATER = 9e9


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path):
    """A directory of the user's alone."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def refused(path, match):
    with pytest.raises(StoreError, match=match):
        SQLiteStore(path)


def made(path):
    SQLiteStore(path).close()
    return path


def test_file_and_directories_are_made_for_their_owner_alone(home):
    path = home / "a" / "b" / "store.db"
    with SQLiteStore(path) as store:
        store.add(b"key", b"value", expires_at=LATER)
        assert {each.name for each in path.parent.iterdir()} == {"store.db", "store.db-wal", "store.db-shm"}
        assert [mode(each) for each in path.parent.iterdir()] == [0o600] * 3
    assert (mode(home / "a"), mode(home / "a" / "b")) == (0o700, 0o700)


def test_a_directory_that_is_there_keeps_its_mode(home):
    home.chmod(0o755)
    made(home / "store.db")
    assert mode(home) == 0o755


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_can_read_or_write_is_refused(home, bits):
    path = made(home / "store.db")
    path.chmod(bits)
    refused(path, f"others can read or write it .*chmod 600 {path}")


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_so_is_one_of_its_side_files(home, suffix):
    path = made(home / "store.db")
    side = home / f"store.db{suffix}"
    side.touch()
    side.chmod(0o644)
    refused(path, f"chmod 600 {side}")


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_file_of_another_user_is_refused(home, suffix, monkeypatch):
    path = made(home / "store.db")
    other = home / f"store.db{suffix}"
    other.touch(mode=0o600)
    lstat = os.lstat

    def another(file, *args, **kwargs):
        found = list(lstat(file, *args, **kwargs))
        if os.fspath(file) == os.fspath(other):
            found[stat.ST_UID] = os.geteuid() + 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "lstat", another)
    refused(path, "belongs to another user")


def test_a_directory_of_another_user_is_refused(home, monkeypatch):
    real = os.stat

    def another(file, *args, **kwargs):
        found = list(real(file, *args, **kwargs))
        if os.fspath(file) == os.fspath(home):
            found[stat.ST_UID] = os.geteuid() + 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", another)
    refused(home / "sub" / "store.db", "belongs to another user .*who could replace the store")


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused_sticky_or_not(home, bits):
    home.chmod(bits)
    refused(home / "store.db", f"others can write to this directory.*chmod go-w {home}")
    assert not (home / "store.db").exists()


def test_so_is_one_above_it_unless_it_is_sticky(home):
    path = made(home / "sub" / "store.db")
    home.chmod(0o777)
    refused(path, f"could replace {home / 'sub'}")
    home.chmod(0o1777)
    made(path)


def test_a_link_is_as_good_as_what_it_leads_to_and_where_it_is(home):
    path = made(home / "store.db")
    link = home / "link.db"
    link.symlink_to(path)
    made(link)
    path.chmod(0o644)
    refused(link, f"chmod 600 {path}")
    path.chmod(0o600)
    (home / "open").mkdir()
    (home / "open").chmod(0o777)
    outside = home / "open" / "link.db"
    outside.symlink_to(path)
    refused(outside, "others can write to this directory")
    inside = home / "inside.db"
    inside.symlink_to(home / "open" / "store.db")
    refused(inside, "others can write to this directory")


def test_a_link_to_itself_is_an_error(home):
    link = home / "link.db"
    link.symlink_to(link)
    refused(link, "link.db")


def test_a_linked_directory_is_the_real_one(home):
    (home / "real").mkdir(mode=0o700)
    (home / "link").symlink_to(home / "real")
    made(home / "link" / "store.db")
    assert (home / "real" / "store.db").exists()


def test_what_is_no_file_is_refused(home):
    (home / "directory").mkdir()
    refused(home / "directory", "no regular file")
    os.mkfifo(home / "pipe", 0o600)
    refused(home / "pipe", "no regular file")
    made(home / "store.db")
    refused(home / "store.db" / "below", "choose another path")


def test_a_secrets_file_is_its_owners_alone(home):
    path = home / "secret"
    path.write_text("what is in it")
    path.chmod(0o600)
    assert private_text(path) == b"what is in it"
    path.chmod(0o640)
    with pytest.raises(StoreError, match=f"chmod 600 {path}") as caught:
        private_text(path)
    assert "what is in it" not in str(caught.value)
    with pytest.raises(StoreError, match="cannot be read"):
        private_text(home / "nowhere")
