"""Sessions in files: read in any of the three formats, written as our envelope for nobody but their owner."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sslsession._envelope import is_envelope
from sslsession.errors import InvalidSession, SessionError
from sslsession.probing.failures import printable
from sslsession.session import Session

LARGEST = 1 << 20
"""Bytes; a session with a long chain has some ten thousand."""
STANDARD_INPUT = "-"


class Saved(NamedTuple):
    """A session out of a file, and the format that it was in: ``envelope``, ``PEM`` or ``DER``."""

    session: Session
    format: str


def load_session(path: str | Path) -> Saved:
    """Reads a session; the format is told by the bytes. path: ``-`` is standard input.

    Errors: :class:`InvalidSession` that names the file; :class:`SessionError` where it cannot be read.
    """
    name = "standard input" if str(path) == STANDARD_INPUT else printable(str(path))
    try:
        if str(path) == STANDARD_INPUT:
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(LARGEST + 1)
    except OSError as error:
        raise SessionError(f"{name} cannot be read: {error.strerror}") from error
    if not data or len(data) > LARGEST:
        raise InvalidSession(f"{name} is {'too large to be a session' if data else 'empty'}")
    try:
        return parse_session(data)
    except InvalidSession as error:
        raise InvalidSession(f"{name}: {error}") from error


def parse_session(data: bytes) -> Saved:
    """A session out of bytes of any format. Errors: :class:`InvalidSession`."""
    if is_envelope(data):
        return Saved(Session.from_bytes(data), "envelope")
    if b"-----BEGIN" in data:
        return Saved(Session.from_pem(data), "PEM")
    return Saved(Session.from_der(data), "DER")


def save_session(path: str | Path, session: Session) -> None:
    """Writes the session's envelope, whole or not at all, readable by its owner alone (0600), over what was there.

    Errors: :class:`SessionError` where it cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(session.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            os.unlink(temporary)
        raise SessionError(f"{printable(str(path))} cannot be written: {error.strerror}") from error
