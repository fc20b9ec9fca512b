"""SQLiteStore's tables, and what SQLite's errors mean for who uses them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sslsession.errors import StoreError

# "ssls"; what `file` and we know the file by. The version changes whenever an older sslsession could not read it.
APPLICATION_ID = 0x73736C73
VERSION = 1

# The number of rows is kept, for counting them would read the whole index at each add.
SETUP = (
    "CREATE TABLE entry (id INTEGER PRIMARY KEY, key BLOB NOT NULL, expires_at REAL NOT NULL, value BLOB NOT NULL)",
    "CREATE INDEX entry_key ON entry (key)",
    "CREATE INDEX entry_expires_at ON entry (expires_at)",
    "CREATE TABLE state (entries INTEGER NOT NULL)",
    "INSERT INTO state VALUES (0)",
    "CREATE TRIGGER entry_added AFTER INSERT ON entry BEGIN UPDATE state SET entries = entries + 1; END",
    "CREATE TRIGGER entry_removed AFTER DELETE ON entry BEGIN UPDATE state SET entries = entries - 1; END",
    f"PRAGMA user_version = {VERSION}",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

# What SQLite says, in lower case, and what that means here.
MEANINGS = (
    ("locked", "another process wrote for longer than {timeout} s; try again, or give a longer timeout"),
    ("busy", "another process wrote for longer than {timeout} s; try again, or give a longer timeout"),
    (
        "readonly",
        "it cannot be written to; check the file, its directory and its file system, or use another path",
    ),
    ("full", "no space is left; free some, or use a smaller max_entries"),
    ("malformed", "it is damaged; remove it: what was in it can be earned again"),
    ("not a database", "it is no SQLite database, or damaged; remove it, or use another path"),
    ("no such", "its tables are not ours; remove it, or use another path"),
    ("unable to open", "it cannot be opened; check the path and who may use it"),
    ("disk i/o", "reading or writing failed; check the disk and its quota"),
    ("too big", "the value is larger than SQLite takes"),
)


def store_error(path: Path, error: sqlite3.Error, timeout: float) -> StoreError:
    """What to raise in place of `error`."""
    said = str(error)
    for part, meaning in MEANINGS:
        if part in said.lower():
            return StoreError(f"{path}: {meaning.format(timeout=timeout)} (SQLite: {said})")
    return StoreError(f"{path}: SQLite failed: {said}")
