"""Large pieces of ciphertext are read where they lie.

``MemoryBIO.write`` clears the memory that it is to use, copies the piece there, and OpenSSL copies it out again: for
pieces of 64 kB and more that is a good part of what receiving costs. So while such a piece is read, OpenSSL's memory
BIO over the piece itself stands in the place of the connection's own, which is back before anybody else looks. A lock
sees to that: a second thread gets an error, and never a BIO that goes away under it.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any

from sslsession._libssl import ffi, lib
from sslsession.errors import SessionError

SET_EOF_RETURN = 130
TRY_AGAIN = -1
WORTH_IT = 65536
"""Bytes from which on it pays."""
RECORD = 16384
"""The most plaintext that a record has (RFC 8446 5.1), and that a read of OpenSSL's returns."""


class Bulk:
    """Reads for one connection of a memory BIO that is empty. Errors: ``MemoryError``."""

    def __init__(self, borrowed: Any) -> None:
        self._handle, self._keeper = borrowed.ssl, borrowed.keeper
        self._own = lib.SSL_get_rbio(borrowed.ssl)
        self._read = borrowed.keeper.read
        self._lock = threading.Lock()

    def read(self, data: Any, parts: list[bytes]) -> bool:
        """Appends all plaintext to ``parts``; whether close_notify came. What of ``data`` is behind that is dropped.

        Errors: ``ssl.SSLError``; :class:`SessionError` for a second thread; ``MemoryError``.
        """
        if not self._lock.acquire(blocking=False):
            raise SessionError("two threads receive on one TLSConnection at once: use a lock")
        try:
            view = ffi.from_buffer(data)
            piece = lib.BIO_new_mem_buf(view, len(view))
            if piece == ffi.NULL:
                raise MemoryError("OpenSSL has no memory left for what was received")
            lib.BIO_ctrl(piece, SET_EOF_RETURN, TRY_AGAIN, ffi.NULL)
            lib.BIO_up_ref(self._own)
            lib.SSL_set0_rbio(self._handle, piece)
            try:
                return self._read_all(parts)
            finally:
                lib.SSL_set0_rbio(self._handle, self._own)
        finally:
            self._lock.release()

    def _read_all(self, parts: list[bytes]) -> bool:
        read = self._read
        try:
            while True:
                part = read(RECORD)
                if not part:
                    return True
                parts.append(part)
        except ssl.SSLWantReadError:
            return False
