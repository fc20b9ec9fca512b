"""Where sessions and tickets are kept: bytes under keys until a time, each handed out once. Nothing here knows TLS.

`MemoryStore` lives in one process, `SQLiteStore` in a file that many processes share, `RedisStore` and
`MemcachedStore` on a server that many hosts share; `EncryptedStore` seals what another store keeps. `open_store` makes
any of them from a URL. All but `Store`, `Entry` and `MemoryStore` are imported when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sslsession.stores.base import Entry, Store
from sslsession.stores.memory import MemoryStore

if TYPE_CHECKING:
    from sslsession.stores.encrypted import EncryptedStore
    from sslsession.stores.memcached import MemcachedStore
    from sslsession.stores.redis import RedisStore
    from sslsession.stores.sqlite import SQLiteStore
    from sslsession.stores.urls import open_store

__all__ = [
    "EncryptedStore",
    "Entry",
    "MemcachedStore",
    "MemoryStore",
    "RedisStore",
    "SQLiteStore",
    "Store",
    "open_store",
]

_LATER = {
    "EncryptedStore": "encrypted",
    "MemcachedStore": "memcached",
    "RedisStore": "redis",
    "SQLiteStore": "sqlite",
    "open_store": "urls",
}


def __getattr__(name: str) -> Any:
    """What is imported when it is first asked for (PEP 562)."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
