"""What the drivers are given, checked where they are given it: a mistake there shows far away otherwise."""

from __future__ import annotations

from typing import Any

from sslsession._opening import State
from sslsession.connection import TLSConnection
from sslsession.errors import SessionError


def checked(tls: Any) -> TLSConnection:
    """It, if it is a ``TLSConnection``. Errors: ``TypeError``."""
    if not isinstance(tls, TLSConnection):
        raise TypeError(
            f"a driver takes a TLSConnection, such as TLSConnection('www.python.org'), not {type(tls).__name__}"
        )
    return tls


def require_size(size: int) -> None:
    """Errors: ``ValueError``, for ``b""`` says that nothing more comes."""
    if size < 1:
        raise ValueError(f"size is 1 or more, not {size!r}")


def require_open(tls: TLSConnection) -> None:
    """Errors: :class:`SessionError` where it was closed, perhaps by a callback: it drops what comes, the end too."""
    if tls._state is State.CLOSED:
        raise SessionError(
            "the TLSConnection was closed, so nothing more comes: close() this, and begin again"
        )
