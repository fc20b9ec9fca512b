"""Drivers: the I/O that a ``TLSConnection`` leaves out, for blocking sockets, asyncio and selectors.

Each drives one ``TLSConnection`` over one TCP connection after another, and none decides anything about TLS. The one
for asyncio is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sslsession.drivers.blocking import BlockingConnection
from sslsession.drivers.selecting import SelectorConnection

if TYPE_CHECKING:
    from sslsession.drivers.streams import AsyncConnection

__all__ = ["AsyncConnection", "BlockingConnection", "SelectorConnection"]


def __getattr__(name: str) -> Any:
    if name != "AsyncConnection":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sslsession.drivers.streams import AsyncConnection

    return AsyncConnection
