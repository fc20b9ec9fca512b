"""Values on a Redis or Valkey server, which any number of hosts share.

Under each key is a list, the newest value first, each value with its expiry. LPOP hands a value to exactly one
client, in one round trip; one that has expired is dropped by who popped it.

Sources: https://redis.io/docs/latest/commands/lpop/, https://redis.io/docs/latest/commands/expireat/.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from sslsession.errors import StoreError
from sslsession.stores._network import NetworkStore, check_secret, pack, unpack
from sslsession.stores.base import Entry, Key, Store, as_key, checked, closed, positive

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as _error:
    raise ImportError("RedisStore needs redis: pip install 'sslsession[redis]'", name=_error.name) from _error

if TYPE_CHECKING:
    from sslsession.stores.encrypted import Secrets

SCHEMES = ("redis", "rediss", "unix")
# What a URL may say. What would switch verification off must be said in a client of one's own.
PARAMETERS = "client_name db password ssl_ca_certs ssl_ca_path ssl_certfile ssl_keyfile username".split()
SLICE = 200


class RedisStore(NetworkStore):
    """Values on the Redis or Valkey server at `url_or_client`, under keys that begin with `prefix`.

    A URL as redis-py takes it: `redis://user:password@host:port/db`, `rediss://` (TLS, verified; `?ssl_ca_certs=FILE`
    for an authority of one's own), `unix:///path`; or a `redis.Redis` of one's own with its own timeouts and retries,
    which `close` leaves open. From a URL nothing is retried, and a connection that was lost is made anew. A write is
    never repeated, not by a client of one's own either: what others took meanwhile would be there once more.
    InsecureStoreError without `secret` (see `EncryptedStore`), unless `insecure=True`. Needs the extra `redis`.

    The server removes what has expired. Where the host's clock and the server's differ, a value lives until the
    earlier one says that it has expired. `timeout` is for connecting and for each answer, not for looking up names.
    """

    def __init__(
        self,
        url_or_client: str | redis.Redis,
        *,
        secret: Secrets | None = None,
        insecure: bool = False,
        prefix: Key = "sslsession:",
        timeout: float = 0.05,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_secret("RedisStore", secret, insecure)
        positive("timeout", timeout)
        super().__init__(_Lists(url_or_client, as_key(prefix), timeout, clock), secret, clock)


class _Lists(Store):
    """The store as such, in the clear."""

    is_remote = True

    def __init__(
        self,
        url_or_client: str | redis.Redis,
        prefix: bytes,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._is_ours = isinstance(url_or_client, str)
        self._client: Any = (
            _connected(url_or_client, timeout) if isinstance(url_or_client, str) else url_or_client
        )
        settings = self._client.connection_pool.connection_kwargs
        if settings.get("decode_responses"):
            raise ValueError("RedisStore keeps bytes: make the client with decode_responses=False")
        self.timeout = timeout if self._is_ours else settings.get("socket_timeout") or math.inf
        # Without user and password, which may be in the URL.
        self._server = settings.get("path") or f"{settings.get('host')}:{settings.get('port')}"
        self._prefix = prefix
        self._clock = clock
        self._is_closed = False
        # Redis before 7 cannot keep the later of two expiries.
        self._can_extend = True

    def __repr__(self) -> str:
        return f"at {self._server}, prefix {self._prefix!r}"

    def add(self, key: Key, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        name = self._prefix + checked(key, value, expires_at, keep)
        kept = pack(value, expires_at)
        # A value that has expired already must not take the list with it.
        end = math.ceil(max(expires_at, 1))
        with self._errors():
            if self._can_extend:
                try:
                    self._add(
                        name, kept, keep, [("EXPIREAT", name, end, "NX"), ("EXPIREAT", name, end, "GT")]
                    )
                    return
                except redis.ResponseError as error:
                    if "number of arguments" not in _said(error):
                        raise
                    self._can_extend = False
            self._add(name, kept, keep, [("EXPIREAT", name, end)])

    def peek(self, key: Key) -> bytes | None:
        name = self._prefix + as_key(key)
        with self._errors():
            for kept in self._client.execute_command("LRANGE", name, 0, -1):
                expires_at, value = unpack(kept)
                if expires_at > self._clock():
                    return value
            return None

    def take(self, key: Key) -> bytes | None:
        name = self._prefix + as_key(key)
        if self._is_closed:
            closed(self)
        try:
            while (kept := self._client.execute_command("LPOP", name)) is not None:
                expires_at, value = unpack(kept)
                if expires_at > self._clock():
                    return value
            return None
        except (redis.RedisError, OSError) as error:
            raise self._error(error) from None

    def discard(self, key: Key) -> None:
        with self._errors():
            self._client.execute_command("DEL", self._prefix + as_key(key))

    def purge(self, now: float | None = None) -> int:
        """What the server has removed by itself does not count; this removes what it keeps for others in its list."""
        now = self._clock() if now is None else now
        with self._errors():
            gone = 0
            for name, lists in self._lists():
                for kept in lists:
                    if unpack(kept).expires_at <= now:
                        gone += self._client.execute_command("LREM", name, 1, kept)
            return gone

    def clear(self) -> None:
        with self._errors():
            for names in self._names():
                self._client.execute_command("UNLINK", *names)

    def entries(self) -> Iterator[Entry]:
        if self._is_closed:
            closed(self)
        return self._entries()

    def _entries(self) -> Iterator[Entry]:
        with self._errors():
            for name, lists in self._lists():
                for kept in lists:
                    expires_at, value = unpack(kept)
                    if expires_at > self._clock():
                        yield Entry(name[len(self._prefix) :], value, expires_at)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            if self._is_ours:
                self._client.close()

    def _add(self, name: bytes, kept: bytes, keep: int, expiry: list[tuple[Any, ...]]) -> None:
        # A transaction: a list that lost its expiry to a broken connection would stay for ever.
        with self._client.pipeline(transaction=True) as pipe:
            if not self._is_ours:
                # redis-py repeats by itself what failed, but never where something is watched.
                pipe.watch(self._prefix)
                pipe.multi()
            pipe.execute_command("LPUSH", name, kept)
            pipe.execute_command("LTRIM", name, 0, keep - 1)
            for command in expiry:
                pipe.execute_command(*command)
            pipe.execute()

    def _names(self) -> Iterator[list[bytes]]:
        pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", self._prefix) + b"*"
        cursor: Any = 0
        while True:
            cursor, names = self._client.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", SLICE)
            if names:
                yield list(names)
            if not int(cursor):
                return

    def _lists(self) -> Iterator[tuple[bytes, list[bytes]]]:
        seen: set[bytes] = set()
        for names in self._names():
            # SCAN may name a key twice.
            new = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(new)
            with self._client.pipeline(transaction=False) as pipe:
                for name in new:
                    pipe.execute_command("LRANGE", name, 0, -1)
                yield from zip(new, pipe.execute())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._is_closed:
            closed(self)
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        return StoreError(f"Redis at {self._server}: {_meaning(error)}")


def _connected(url: str, timeout: float) -> redis.Redis:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"a Redis URL begins with one of {', '.join(each + '://' for each in SCHEMES)}")
    unknown = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - set(PARAMETERS)
    if unknown:
        raise ValueError(
            f"a Redis URL has no parameter {', '.join(sorted(unknown))}; it has {', '.join(PARAMETERS)}"
        )
    settings: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # RESP3 would cost a round trip more for each connection, as CLIENT SETINFO would
    }
    settings.update(
        {"driver_info": None} if hasattr(redis, "DriverInfo") else {"lib_name": None, "lib_version": None}
    )
    if parts.scheme == "rediss":
        settings.update(ssl_cert_reqs="required", ssl_check_hostname=True)
    try:
        return redis.Redis.from_url(url, **settings)
    except ValueError:
        # redis-py would print the URL.
        raise ValueError("this is no Redis URL: redis://[user:password@]host[:port][/database]") from None


def _said(error: Exception) -> str:
    """What the server said. redis-py puts the command before it, in which the value is."""
    return re.sub(r"\ACommand # .* of pipeline caused error: ", "", str(error), flags=re.DOTALL)


def _meaning(error: Exception) -> str:
    """What happened and what to do, without what redis-py knows of the URL."""
    said = _said(error)
    if isinstance(error, redis.AuthenticationError):
        return "it does not accept this user and password; check both"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return f"the user may not do that; allow it in the server's ACL ({said})"
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        return "it did not answer in time; check its load and the network, or give a longer timeout"
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return "it is still loading its data; try again"
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return "it is a read-only replica; give the address of the primary"
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return "it is full; raise its maxmemory, or let it evict"
    if isinstance(error, (redis.ConnectionError, OSError)):
        return f"it cannot be reached; check that it runs, and its address ({said})"
    if "WRONGTYPE" in said:
        return "another program has something else under our prefix; use another prefix"
    return f"it refused: {said}"
