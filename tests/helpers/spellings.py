"""The ways in which text can hold a secret, to look for them where it must not be."""

from __future__ import annotations

import base64

PIECE = 8


def spellings(secret: bytes) -> set[str]:
    """Each piece of a secret, in the ways that text can hold it."""
    found = set()
    for at in range(len(secret) - PIECE + 1):
        piece = secret[at : at + PIECE]
        found.add(piece.hex())
        found.add(piece.hex(":"))
        found.add(repr(piece)[2:-1])
        found.add(repr(list(piece))[1:-1])
        found.add(piece.decode("latin-1"))
    for shift in range(3):
        text = base64.b64encode(secret[shift:]).decode().rstrip("=")
        found |= {text[at : at + 10] for at in range(0, len(text) - 10, 2)}
        text = base64.urlsafe_b64encode(secret[shift:]).decode().rstrip("=")
        found |= {text[at : at + 10] for at in range(0, len(text) - 10, 2)}
    return found
