"""Ticket keys that are the same in each run, and their files."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Iterable
from pathlib import Path

from sslsession._keyfiles import Material

KINDS = [("nginx", 16), ("nginx", 32), ("haproxy", 16), ("haproxy", 32), ("apache", 16)]
"""The layouts, and the sizes that a secret has in them."""


def made(count: int = 1, size: int = 32, seed: int = 7) -> list[Material]:
    """As many keys, of secrets of this size."""
    chance = random.Random(seed)
    return [
        Material(*(bytes(chance.randrange(256) for _ in range(length)) for length in (16, size, size)))
        for _ in range(count)
    ]


def some(layout: str, size: int, seed: int = 7) -> list[Material]:
    """As many keys as a file of this layout may have."""
    return made(4 if layout == "haproxy" else 1, size, seed)


def lines(raws: Iterable[bytes]) -> bytes:
    """What HAProxy's file makes of bytes."""
    return b"".join(base64.b64encode(each) + b"\n" for each in raws)


def in_order(*keys: Material) -> bytes:
    """HAProxy's file with these keys, good or bad, in the order of its lines."""
    return lines(b"".join(each) for each in keys)


def left(directory: Path) -> list[str]:
    """The names in a directory."""
    return sorted(os.listdir(directory))
