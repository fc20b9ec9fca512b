"""The memory BIOs of an ``SSLObject`` that somebody else made, which ``ssl`` does not give back."""

from __future__ import annotations

from typing import Any

from sslsession import _borrow
from sslsession._libssl import ffi, lib
from sslsession.errors import SessionError

MEMORY = 0x0401
"""``BIO_TYPE_MEM``"""
PENDING = 10
PIECE = 1 << 30


class BorrowedBIO:
    """What :class:`ssl.MemoryBIO` can do, for a BIO of OpenSSL's; the ``SSLObject`` keeps it alive."""

    def __init__(self, bio: Any, keeper: Any) -> None:
        self._bio, self._keeper = bio, keeper
        if bio == ffi.NULL or lib.BIO_method_type(bio) != MEMORY:
            raise SessionError(
                "adopt() takes an SSLObject over memory BIOs (SSLContext.wrap_bio), no socket's"
            )

    @property
    def pending(self) -> int:
        """Bytes that wait to be read."""
        return int(lib.BIO_ctrl(self._bio, PENDING, 0, ffi.NULL))

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; all there are where it is negative."""
        wanted = self.pending if size < 0 else min(size, self.pending)
        if not wanted:
            return b""
        buffer = ffi.new("unsigned char[]", wanted)
        return bytes(ffi.buffer(buffer, max(0, lib.BIO_read(self._bio, buffer, wanted))))

    def write(self, data: Any) -> int:
        """Appends all of it."""
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PIECE):
            piece = view[at : at + PIECE]
            if lib.BIO_write(self._bio, ffi.from_buffer(piece), len(piece)) != len(piece):
                raise MemoryError("OpenSSL has no memory left for what was received")
        return len(view)


def bios_of(sslobject: Any) -> tuple[BorrowedBIO, BorrowedBIO]:
    """What it reads from and what it writes to. Errors: :class:`SessionError` for what is no memory BIO."""
    borrowed = _borrow.borrow(sslobject)
    return (
        BorrowedBIO(lib.SSL_get_rbio(borrowed.ssl), borrowed.keeper),
        BorrowedBIO(lib.SSL_get_wbio(borrowed.ssl), borrowed.keeper),
    )
