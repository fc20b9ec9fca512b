"""What the entries of a store are, told without their secrets, and as lines or a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sslsession import _envelope, _peers
from sslsession._peers import Peer, StoredKey
from sslsession.cli import _cache_servers
from sslsession.cli._cache_servers import RING, SERVER, SHARED, TOKEN
from sslsession.errors import InvalidSession
from sslsession.probing.failures import printable
from sslsession.resumption import TLS1_3, canonical_name
from sslsession.stores import Entry

TICKET, SESSION = "ticket", "session"
FOREIGN, SEALED, INCOMPATIBLE, MOVED, DAMAGED = "foreign", "sealed", "incompatible", "moved", "damaged"
OURS = (TICKET, SESSION)
"""A client's, which can be moved."""
KNOWN = (*OURS, SERVER, TOKEN, *SHARED)
MEANINGS = {
    FOREIGN: "none of this library's",
    SEALED: "sealed, and no secret was given",
    INCOMPATIBLE: "another version of sslsession's",
    MOVED: "made for another peer",
    DAMAGED: "cannot be read",
}
VERSIONS = {0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", TLS1_3: "1.3"}
DER = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..|\x83...)\x02\x01\x01\x02\x02(..)", re.S)
"""How an ``SSL_SESSION`` begins in DER: its own version, 1, and the protocol's."""
SEALED_NAME = 32
"""Bytes; ``EncryptedStore`` keeps values under HMAC-SHA-256."""
HEADS = ("peer", "kind", "TLS", "expires in", "partition")
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


class Row(NamedTuple):
    """What may be told of one entry."""

    kind: str
    """``ticket`` or ``session``, or what is wrong with it, a key of ``MEANINGS``."""
    peer: Peer | None
    version: str | None
    partition: str
    """Also a key ring's name, and the ``context_id`` of servers."""
    expires_at: float
    holds: int | None = None
    """How many keys are in a ring, or withdrawals in a list."""

    @property
    def order(self) -> tuple[Any, ...]:
        """By peer; what cannot be used comes last."""
        host, port = self.peer or Peer("", "")
        number = int(port) if port.isdecimal() else 0
        return (
            self.kind not in KNOWN,
            self.kind not in OURS,
            host.lstrip("@"),
            number,
            port,
            self.kind,
            self.expires_at,
            self.partition,
        )

    def plain(self) -> dict[str, Any]:
        """For JSON; times in epoch seconds."""
        host, port = self.peer or Peer("", "")
        is_address = host.startswith("@")
        return {
            "kind": self.kind,
            "host": None if is_address else host or None,
            "address": host[1:] if is_address else None,
            "port": int(port) if port.isdecimal() else port or None,
            "tls": self.version,
            "expires_at": self.expires_at,
            "partition": self.partition or None,
            "holds": self.holds,
        }


def read(entry: Entry) -> Row:
    """What an entry is. Checksums and heads tell it; to have OpenSSL parse it takes six times as long."""
    key = _peers.parse_key(entry.key)
    if key is None:
        return _of_servers(entry) or Row(_unknown(entry), None, None, "", entry.expires_at)
    kind, version = _kind(entry, key)
    return Row(kind, key.peer, version, key.partition, entry.expires_at)


def _of_servers(entry: Entry) -> Row | None:
    found = _cache_servers.read(entry)
    if found is None:
        return None
    version = None
    kind = found.kind if found.current else INCOMPATIBLE
    if kind == SERVER:
        begin = DER.match(entry.value)
        version = VERSIONS.get(int.from_bytes(begin[1], "big")) if begin is not None else None
    if (kind == SERVER and version is None) or (kind in SHARED and found.holds is None):
        kind = DAMAGED
    return Row(kind, None, version, found.name, entry.expires_at, found.holds)


def _unknown(entry: Entry) -> str:
    if len(entry.key) == SEALED_NAME and entry.value[:1] == b"\x01":
        return SEALED
    of_clients = _peers.PREFIX.partition("/")[0].encode() + b"/"
    return INCOMPATIBLE if entry.key.startswith(of_clients) else FOREIGN


def _kind(entry: Entry, key: StoredKey) -> tuple[str, str | None]:
    """The kind and the TLS version of what is under one of our keys."""
    magic = _peers.MAGIC
    if not entry.value.startswith(magic):
        return (INCOMPATIBLE if entry.value.startswith(magic[:-1]) else DAMAGED), None
    try:
        envelope = _peers.unpack(entry.key, entry.value)
    except InvalidSession:
        return MOVED, None
    try:
        body = _envelope.unpack(envelope)
    except InvalidSession:
        newer = _envelope.is_envelope(envelope) and envelope[4:5] > bytes([_envelope.VERSION])
        return (INCOMPATIBLE if newer else DAMAGED), None
    der, facts = body.get("der"), body.get("facts")
    begin = DER.match(der) if isinstance(der, bytes) else None
    number = int.from_bytes(begin[1], "big") if begin is not None else 0
    if number not in VERSIONS or (number == TLS1_3) != (key.kind == _peers.TICKETS):
        return DAMAGED, None
    name = facts.get("server_name") if isinstance(facts, dict) else None
    here = _peers.name_of(key.peer)
    if isinstance(name, str) and here is not None and canonical_name(name) != canonical_name(here):
        return MOVED, VERSIONS[number]
    return (TICKET if number == TLS1_3 else SESSION), VERSIONS[number]


def named(peer: Peer | None) -> str:
    """The peer as people write it: ``host:port`` as far as it is known."""
    if peer is None:
        return "-"
    host = peer.host.lstrip("@")
    if not peer.port:
        return printable(host)
    if not peer.port.isdecimal():
        return printable(f"{host} ({peer.port})")
    return printable(f"[{host}]:{peer.port}" if ":" in host else f"{host}:{peer.port}")


def duration(seconds: float) -> str:
    """In its two largest units."""
    left = max(0, int(seconds))
    told: list[tuple[int, str]] = []
    for unit, size in UNITS:
        number, left = divmod(left, size)
        if number or told:
            told.append((number, unit))
    return " ".join(f"{number} {unit}" for number, unit in told[:2] if number) or "0 s"


def summary(kinds: Counter[str]) -> str:
    """``3 tickets, 1 session, 1 damaged``; empty for none."""
    parts = [plural(kinds[kind], kind) for kind in KNOWN if kinds[kind]]
    return ", ".join([*parts, *(f"{kinds[kind]} {kind}" for kind in MEANINGS if kinds[kind])])


def plural(number: int, what: str) -> str:
    """``1 entry``, ``2 entries``, ``2 keys``."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what[:-1]}ies" if what.endswith("ry") else f"{number} {what}s"


def count_line(rows: Sequence[Row]) -> str:
    """How many, and of which kinds."""
    told = summary(Counter(row.kind for row in rows))
    return f"{plural(len(rows), 'entry')}: {told}" if rows else "no entries"


def notes(kinds: Counter[str]) -> list[str]:
    """What the words for unusable entries mean."""
    return [f"{kind}: {meaning}" for kind, meaning in MEANINGS.items() if kinds[kind]]


def draw(rows: Sequence[Row], now: float, console: Console) -> None:
    """A table as wide as the terminal; long names are folded."""
    if not rows:
        return
    table = Table(box=box.ROUNDED)
    for head in HEADS:
        right = head == "expires in"
        table.add_column(head, justify="right" if right else "left", no_wrap=head != "peer", overflow="fold")
    for row in rows:
        style = None if row.kind in KNOWN else "yellow"
        table.add_row(*(Text(cell) for cell in _cells(row, now)), style=style)
    console.print(table)


def lines(rows: Sequence[Row], now: float) -> list[str]:
    """Aligned columns, for a pipe."""
    if not rows:
        return []
    cells = [HEADS, *(_cells(row, now) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _cells(row: Row, now: float) -> tuple[str, ...]:
    expires_in = duration(row.expires_at - now)
    return _whose(row), row.kind, row.version or "-", expires_in, _partition(row)


def _whose(row: Row) -> str:
    """A client's peer; of what servers share, how much there is."""
    if row.holds is None:
        return named(row.peer)
    return f"({plural(row.holds, 'key' if row.kind == RING else 'withdrawal')})"


def _partition(row: Row) -> str:
    return printable(row.partition[:8]) or "-"
