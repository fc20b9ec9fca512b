"""Whether a file is this user's alone: who could read it has the sessions, who could replace it could plant some.

It is in a directory that only this user (or root) can write to, and so is each directory above, or else it is sticky
as /tmp is: there nobody can rename what is ours. The file's own directory must not even be sticky: somebody could
leave a `-journal` or `-wal` file there just before SQLite looks for one.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sslsession.errors import StoreError

SIDE_FILES = ("-wal", "-shm", "-journal")


def private_file(path: Path) -> Path:
    """Where the file at `path` really is; it is made (0600) if it is not there, and so is its directory (0700).

    StoreError if others than this user could read, write or replace it. Windows, where modes mean nothing, has
    access lists that a user's own directories inherit; there nothing is checked.
    """
    try:
        directory = path.parent.resolve()
        _make_directory(directory)
        file = directory / path.name
        if os.name == "posix":
            _check_directory(directory)
            if file.is_symlink():
                file = file.resolve()
                _check_directory(file.parent)
            for suffix in SIDE_FILES:
                _check_file(file.with_name(file.name + suffix))
        if not _check_file(file):
            _make_file(file)
    except (OSError, RuntimeError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"{path}: {getattr(error, 'strerror', None) or error}; choose another path"
        ) from error
    return file


def private_text(path: Path) -> bytes:
    """What a file with a secret says; StoreError if it cannot be read, or others than its owner can read it."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            mode = status.st_mode
            if os.name == "posix" and status.st_uid not in (0, os.geteuid()):
                raise StoreError(f"{path}: a file with a secret must be this user's own, or root's")
            if os.name == "posix" and mode & 0o077:
                raise StoreError(
                    f"{path}: a file with a secret must be its owner's alone, and its mode is"
                    f" {stat.S_IMODE(mode):04o}; chmod 600 {path}"
                )
            return file.read()
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: the secret cannot be read: {error.strerror}") from error


def _make_file(file: Path) -> None:
    # SQLite gives its other files the mode of this one.
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600))
    except FileExistsError:
        _check_file(file)  # another process made it just now


def _make_directory(directory: Path) -> None:
    missing = []
    while not directory.is_dir() and directory != directory.parent:
        missing.append(directory)
        directory = directory.parent
    for each in reversed(missing):
        try:
            os.mkdir(each, 0o700)
        except FileExistsError:
            if not each.is_dir():
                raise


def _check_directory(directory: Path) -> None:
    for each in (directory, *directory.parents):
        status = os.stat(each)
        if status.st_uid not in (0, os.geteuid()):
            raise StoreError(
                f"{each} belongs to another user (uid {status.st_uid}), who could replace the store;"
                " choose a directory of your own"
            )
        if not status.st_mode & 0o022:
            continue
        if each is directory:
            raise StoreError(
                f"{each}: others can write to this directory, and could replace the store (mode"
                f" {stat.S_IMODE(status.st_mode):04o}); chmod go-w {each}, or choose a directory of your own in it"
            )
        if not status.st_mode & stat.S_ISVTX:
            raise StoreError(
                f"{each}: others can write to this directory, and could replace {directory} (mode"
                f" {stat.S_IMODE(status.st_mode):04o}); chmod go-w {each}, or choose another directory"
            )


def _check_file(file: Path) -> bool:
    """Whether `file` is there; StoreError if it is not a file of this user's alone."""
    # Never opened here: closing it would drop the locks that this process has on it by another connection.
    try:
        status = os.lstat(file)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{file} is no regular file; choose another path")
    if os.name != "posix":
        return True
    if status.st_uid != os.geteuid():
        raise StoreError(
            f"{file} belongs to another user (uid {status.st_uid}), who could plant sessions in it;"
            " choose a file of your own, or chown it"
        )
    if status.st_mode & 0o077:
        raise StoreError(
            f"{file}: others can read or write it (mode {stat.S_IMODE(status.st_mode):04o});"
            f" if you trust what is in it: chmod 600 {file}"
        )
    return True
