"""Ticket key files on the disk: no half file is left or read, none that others could read, none that was planted."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading

import pytest

from helpers.key_files import KINDS, left, made, some
from sslsession import _keyfiles
from sslsession._keyfiles import read, write
from sslsession.errors import KeyFileError

posix = pytest.mark.skipif(os.name != "posix", reason="modes mean nothing here")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ticket.key"
    write(path, made(), "nginx")
    return path


@pytest.mark.parametrize(("layout", "size"), KINDS)
def test_a_file_is_written_and_read(layout, size, tmp_path):
    path, keys = tmp_path / "key", some(layout, size)
    write(path, keys, layout)
    assert read(path, layout) == read(os.fspath(path), layout) == keys
    assert path.read_bytes() == _keyfiles.format(keys, layout)
    assert left(tmp_path) == ["key"]
    if (layout, size) == ("haproxy", 16) or size == 32:
        assert read(path) == keys
    else:
        with pytest.raises(KeyFileError, match=f"{path}: 48 bytes .*say which layout"):
            read(path)


def test_a_file_that_cannot_be_read_or_tells_nothing(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere", "nginx")
    path.write_bytes(b"some text")
    with pytest.raises(KeyFileError, match=f"{path}: 9 bytes of no layout"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(KeyFileError, match=f"{path}: empty"):
        read(path)
    path.write_bytes(b"k" * 80 + b"\n" * (1 << 16))
    with pytest.raises(KeyFileError, match=f"{path}: more than 65536 bytes"):
        read(path, "nginx")


@posix
def test_no_more_is_read_than_ticket_keys_can_need(path):
    os.truncate(path, 1 << 40)
    with pytest.raises(KeyFileError, match="more than 65536 bytes"):
        read(path, "nginx")


@posix
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o444])
def test_a_file_that_others_can_read_or_write_is_refused(path, bits):
    path.chmod(bits)
    with pytest.raises(
        KeyFileError, match=rf"others can .*mode {bits:04o}.*chmod 600 {path}.*allow_shared=True"
    ):
        read(path, "nginx")
    assert read(path, "nginx", allow_shared=True) == made()


@posix
@pytest.mark.parametrize("bits", [0o600, 0o400, 0o700, 0o711])
def test_a_file_of_its_owners_alone_is_read(path, bits):
    path.chmod(bits)
    assert read(path, "nginx") == made()


@posix
@pytest.mark.parametrize(("file", "user", "good"), [(5, 5, True), (0, 5, True), (6, 5, False), (5, 0, False)])
def test_a_file_is_this_users_or_roots(path, file, user, good, monkeypatch):
    real = os.fstat

    def owned(handle):
        found = list(real(handle))
        found[stat.ST_UID] = file
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", owned)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if good:
        assert read(path, "nginx") == made()
    else:
        with pytest.raises(
            KeyFileError, match=rf"another user \(uid {file}\).*chown it and chmod 600 {path}"
        ):
            read(path, "nginx")
    assert read(path, "nginx", allow_shared=True) == made()


@posix
def test_it_is_the_open_file_that_is_checked_not_who_has_its_name_now(path, tmp_path, monkeypatch):
    other = tmp_path / "other"
    write(other, made(seed=8), "nginx")
    real = os.open

    def swapped(*args, **kwargs):
        handle = real(*args, **kwargs)
        os.replace(other, path)
        return handle

    path.chmod(0o644)
    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(KeyFileError, match="others can read"):
        read(path, "nginx")
    monkeypatch.undo()
    assert read(path, "nginx") == made(seed=8)


@posix
def test_a_link_is_followed_and_what_it_leads_to_is_checked(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read(link, "nginx") == made()
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read(link, "nginx")


@posix
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path has a hundred bytes at most
    os.mkfifo("pipe", 0o600)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for each in ("pipe", "socket", ".", "/dev/zero"):
            with pytest.raises(KeyFileError, match="no regular file"):
                read(each, "nginx", allow_shared=True)


@posix
def test_a_file_is_written_for_its_owner_alone_over_whatever_was_there(path, tmp_path):
    path.chmod(0o666)
    before = os.umask(0)
    try:
        write(path, made(seed=8), "nginx")
        write(tmp_path / "new", made(seed=8), "nginx", replace=False)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, tmp_path / "new")] == [0o600] * 2
    assert read(path, "nginx") == made(seed=8)


def test_what_is_there_stays_if_it_is_not_to_be_replaced(path, tmp_path):
    with pytest.raises(FileExistsError, match="replace=True") as caught:
        write(path, made(seed=8), "nginx", replace=False)
    assert (caught.value.filename, caught.value.errno) == (str(path), errno.EEXIST)
    assert read(path, "nginx") == made()
    assert left(tmp_path) == ["ticket.key"]


@posix
@pytest.mark.parametrize("replace", [True, False])
def test_a_link_in_the_files_place_is_never_followed(path, tmp_path, replace):
    link = tmp_path / "link"
    for leads in (path, tmp_path / "nowhere"):
        link.symlink_to(leads)
        if replace:
            write(link, made(seed=8), "nginx")
            assert not link.is_symlink()
        else:
            with pytest.raises(FileExistsError):
                write(link, made(seed=8), "nginx", replace=False)
        link.unlink()
    assert read(path, "nginx") == made()
    assert left(tmp_path) == ["ticket.key"]


@posix
def test_what_was_planted_for_the_temporary_file_is_neither_followed_nor_removed(path, tmp_path, monkeypatch):
    victim, opened, real = tmp_path / "victim", [], os.open
    victim.write_bytes(b"as it was")

    def raced(name, flags, *args, **kwargs):
        if flags & os.O_CREAT and not opened:
            os.symlink(victim, name)
        opened.append((os.fspath(name), flags, args))
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", raced)
    write(path, made(seed=8), "nginx")
    monkeypatch.undo()
    (planted, _, _), (fresh, flags, modes) = opened[:2]
    assert os.path.dirname(fresh) == os.fspath(tmp_path)
    assert (flags & os.O_EXCL, flags & os.O_NOFOLLOW, modes) == (os.O_EXCL, os.O_NOFOLLOW, (0o600,))
    assert victim.read_bytes() == b"as it was"
    assert read(path, "nginx") == made(seed=8)
    assert left(tmp_path) == sorted([os.path.basename(planted), "ticket.key", "victim"])


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()])
def test_where_writing_fails_the_old_file_stays_and_nothing_else(path, tmp_path, failing, error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(type(error)):
        write(path, made(seed=8), "nginx")
    monkeypatch.undo()
    assert read(path, "nginx") == made()
    assert left(tmp_path) == ["ticket.key"]


def test_the_bytes_are_on_the_disk_before_the_name_is(path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (done.append(name), real(*args)))
    write(path, made(seed=8), "nginx")
    assert done == ["fsync", "replace"]


@posix
def test_a_file_cannot_be_where_there_is_a_directory_or_none(tmp_path):
    (tmp_path / "directory").mkdir()
    for each in (tmp_path / "directory", tmp_path / "none" / "key"):
        with pytest.raises(OSError, match="direct"):
            write(each, made(), "nginx")
    assert left(tmp_path) == ["directory"]
    assert left(tmp_path / "directory") == []


@posix
def test_a_reader_never_sees_half_a_file(tmp_path):
    path, kept, over = tmp_path / "keys", [made(40, seed=seed) for seed in range(2)], threading.Event()
    write(path, kept[0], "haproxy")
    seen = []

    def watch():
        while not over.is_set():
            try:
                seen.append(read(path) in kept)
            except BaseException as error:
                seen.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for turn in range(100):
            write(path, kept[turn % 2], "haproxy")
    finally:
        over.set()
        watcher.join()
    assert set(seen) == {True}


class Windows:
    """The module ``os`` where modes mean nothing and a rename replaces nothing."""

    name = "nt"

    def __getattr__(self, name):
        if name in ("geteuid", "link", "O_NONBLOCK", "O_NOCTTY"):
            raise AttributeError(name)
        return getattr(os, name)

    def rename(self, old, new):
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, "there already", old)
        os.rename(old, new)


def test_on_windows_no_mode_is_asked_for_and_a_rename_makes_the_file(path, tmp_path, monkeypatch):
    path.chmod(0o644)
    monkeypatch.setattr(_keyfiles, "os", Windows())
    assert read(path, "nginx") == made()
    write(tmp_path / "new", made(seed=8), "nginx", replace=False)
    with pytest.raises(FileExistsError, match="replace=True"):
        write(path, made(seed=8), "nginx", replace=False)
    assert read(path, "nginx") == made()
    assert left(tmp_path) == ["new", "ticket.key"]
