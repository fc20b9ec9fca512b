"""What servers have in a store: sessions, rings of ticket keys, lists of what was withdrawn, tokens that let a ticket's
early data in once. No content is told."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from sslsession._gossip import Gossip, _unpack, forget
from sslsession._revocations import join
from sslsession.errors import StoreError
from sslsession.stores import Entry, Store

SERVER, TOKEN, RING, WITHDRAWALS = "server session", "early data token", "key ring", "withdrawal list"
SHARED = (RING, WITHDRAWALS)
"""What all servers of a store have in common: without it tickets open no more, and what was withdrawn comes back."""
VERSION = b"1"
KEY = re.compile(rb"sslsession-(server|early|keys|revoked)-([0-9]+):(.*)", re.S)
KINDS = {b"server": SERVER, b"early": TOKEN, b"keys": RING, b"revoked": WITHDRAWALS}


class Found(NamedTuple):
    """What a key and its value tell."""

    kind: str
    current: bool
    """Whether it is of this version."""
    name: str = ""
    """The ring's name, or the ``context_id`` of the servers."""
    holds: int | None = None
    """How many keys or withdrawals there are; None of all else, and of what cannot be read."""


def read(entry: Entry, now: float | None = None) -> Found | None:
    """What an entry is; None where it is no server's."""
    match = KEY.fullmatch(entry.key)
    if match is None:
        return None
    kind, current = KINDS[match[1]], match[2] == VERSION
    if kind not in SHARED or not current:
        return Found(kind, current)
    return Found(kind, current, match[3].decode(errors="backslashreplace"), _count(kind, entry.value, now))


def merge(entry: Entry, target: Store, now: float) -> None:
    """Adds what a ring or a list has to the target's own. Errors: :class:`StoreError`."""
    ours = Gossip(entry.key, join if KEY.match(entry.key)[1] == b"revoked" else forget)  # type: ignore[index]
    ours.merge(entry.value, now)
    ours.sync(target, now)


def _count(kind: str, value: bytes, now: float | None) -> int | None:
    try:
        entries = _unpack(value)
    except StoreError:
        return None
    present = time.time() if now is None else now
    left = {each for each, until in entries.items() if until > present}
    if kind == WITHDRAWALS:
        return len(left)
    gone = {each[1:] for each in left if each[:1] == b"X"}
    return sum(each[:1] == b"K" and each[9:25] not in gone for each in left)
