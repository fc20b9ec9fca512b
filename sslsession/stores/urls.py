"""Stores from URLs, as they stand in settings files and environment variables."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from sslsession.errors import StoreError
from sslsession.stores._files import private_text
from sslsession.stores.base import Store

if TYPE_CHECKING:
    from sslsession.stores.encrypted import Secrets

# What each scheme takes, in a URL as text and in a call as it is.
NETWORK = ("insecure", "prefix", "timeout")
TAKEN = {
    "memory": ("max_bytes", "max_entries"),
    "sqlite": ("max_entries", "timeout"),
    "redis": NETWORK,
    "rediss": NETWORK,
    "unix": NETWORK,
    "memcached": NETWORK,
}
KINDS: dict[str, Callable[[str], Any]] = {
    "insecure": lambda text: {"0": False, "1": True}[text],
    "max_bytes": int,
    "max_entries": int,
    "prefix": str,
    "timeout": float,
}


def open_store(
    url: str,
    *,
    secret: Secrets | None = None,
    insecure: bool = False,
    timeout: float | None = None,
    **options: Any,
) -> Store:
    """The store that `url` names.

    `memory:`               `MemoryStore`
    `sqlite:name.db`        `SQLiteStore`, relative to the working directory
    `sqlite:///var/x.db`    the same, absolute; so is `sqlite:/var/x.db`; `sqlite:///C:/x.db` on Windows
    `redis://host`          `RedisStore`; `rediss://` with TLS, `unix:///path` by a socket; the URL is redis-py's
    `memcached://a:1,b:2`   `MemcachedStore`, on one server or several

    After `?`, joined by `&`, and `%` escapes meaning what they do in URLs: `max_entries` (memory, sqlite),
    `max_bytes` (memory), `timeout` in seconds (all but memory), `prefix` and `insecure=1` (on a network), and
    `secret=env:NAME`, the value of that environment variable, or `secret=file:PATH`, what that file says but for
    white space around it. The first of several secrets seals and all open (see `EncryptedStore`).
    `secret`, `insecure` and `timeout` can be given here instead, as can `options` of the store, `clock` among them.

    ValueError for an unknown scheme or parameter; StoreError if a secret cannot be had; what the store raises.
    No error shows the URL, for a password may be in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in TAKEN:
        raise ValueError(
            f"a store's URL begins with one of {' '.join(f'{each}:' for each in TAKEN)}; not with this"
        )
    taken = TAKEN[parts.scheme]
    given, sources, rest = _parameters(parts.scheme, parts.query)
    if secret is not None and sources:
        raise ValueError("the secret is both in the URL and an argument; give it once")
    if sources:
        secret = [_secret(each) for each in sources]
    for name, value in {"insecure": insecure or None, "timeout": timeout, **options}.items():
        if value is None:
            continue
        if name not in (*taken, "clock"):
            raise ValueError(f"{parts.scheme}: has no option {name}; it has {', '.join((*taken, 'clock'))}")
        given[name] = value
    if parts.scheme in ("memory", "sqlite"):
        return _local(parts.scheme, _path(url) if parts.scheme == "sqlite" else _nothing(url), secret, given)
    from sslsession import stores

    bare = url.partition("?")[0] + (f"?{urlencode(rest)}" if rest else "")
    kind = stores.MemcachedStore if parts.scheme == "memcached" else stores.RedisStore
    return kind(bare, secret=secret, **given)


def _local(scheme: str, place: str, secret: Secrets | None, given: dict[str, Any]) -> Store:
    from sslsession import stores

    # Before a file is made for nothing.
    seal = None if secret is None else importlib.import_module("sslsession.stores.encrypted").EncryptedStore
    store: Store = stores.SQLiteStore(place, **given) if scheme == "sqlite" else stores.MemoryStore(**given)
    if seal is None:
        return store
    clock = {"clock": given["clock"]} if "clock" in given else {}
    try:
        sealed: Store = seal(store, secret, **clock)
    except BaseException:
        store.close()
        raise
    return sealed


def _parameters(scheme: str, query: str) -> tuple[dict[str, Any], list[str], list[tuple[str, str]]]:
    """What the query says: of the store's options, where the secrets are, and what is left for redis-py."""
    given: dict[str, Any] = {}
    sources = []
    rest = []
    theirs: list[str] = []
    if scheme in ("redis", "rediss", "unix"):
        from sslsession.stores.redis import PARAMETERS

        theirs = PARAMETERS
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name == "secret":
            sources.append(text)
        elif name in TAKEN[scheme]:
            try:
                given[name] = KINDS[name](text)
            except (ValueError, KeyError):
                raise ValueError(f"{scheme}: what {name}= says in the URL is not what it can be") from None
        elif name in theirs:
            rest.append((name, text))
        else:
            known = ", ".join((*TAKEN[scheme], "secret", *theirs))
            raise ValueError(f"{scheme}: has no parameter {name} in its URL; it has {known}")
    return given, sources, rest


def _secret(source: str) -> bytes | str:
    kind, colon, name = source.partition(":")
    if not colon or kind not in ("env", "file"):
        raise ValueError(
            "secret= in a URL says where the secret is, env:NAME or file:PATH, not what it is: URLs end up in logs,"
            " process lists and version control"
        )
    if kind == "file":
        return private_text(Path(name)).strip()
    found = os.environ.get(name)
    if not found:
        raise StoreError(f"the secret is to be in the environment variable {name}, which is not set")
    return found


def _nothing(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc or parts.path or parts.fragment:
        raise ValueError("memory: has no path or host, and nothing to share: write memory:")
    return ""


def _path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc or parts.fragment or not parts.path or parts.path == "/":
        raise ValueError(
            "sqlite: is followed by a path: sqlite:relative.db, sqlite:///absolute/path.db or, on Windows,"
            " sqlite:///C:/path.db; # and ? in it are %23 and %3F"
        )
    path = unquote(parts.path)
    if os.name == "nt" and path[:1] == "/" and path[2:3] == ":":
        return path[1:]
    return path


def opened(store: Any) -> Any:
    """A store, or the one of a URL. Errors: ``TypeError`` for anything else."""
    if isinstance(store, str):
        return open_store(store)
    if isinstance(store, type):
        raise TypeError(f"a store is needed, and {store.__name__} is a class: make one of it")
    lacking = [
        name for name in ("add", "peek", "take", "discard") if not callable(getattr(store, name, None))
    ]
    if lacking:
        raise TypeError(
            f"a store of sslsession.stores, or its URL, is needed; {type(store).__name__} has no {lacking[0]}()"
        )
    return store
