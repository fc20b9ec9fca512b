"""Values on memcached servers, which any number of hosts share.

Under each key is one item with all its values, the newest first, each with its expiry. memcached cannot remove an item
on a condition, but it can replace one if nobody else did since it was read (`cas`), also by one that expires at once:
whose `cas` it confirms has taken the value. Each key lives on one of the servers, chosen by hash; a server that is
down is not replaced by another.

Source: https://github.com/memcached/memcached/blob/master/doc/protocol.txt.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import select
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sslsession.errors import StoreError, UnsupportedError
from sslsession.stores._network import NetworkStore, Record, check_secret, pack, unpack
from sslsession.stores.base import Entry, Key, Store, as_key, checked, closed, positive

try:
    from pymemcache import (
        Client,
        MemcacheClientError,
        MemcacheError,
        MemcacheServerError,
        MemcacheUnexpectedCloseError,
    )
except ImportError as _error:
    raise ImportError(
        "MemcachedStore needs pymemcache: pip install 'sslsession[memcached]'", name=_error.name
    ) from _error

if TYPE_CHECKING:
    from sslsession.stores.encrypted import Secrets

PORT = 11211
PREFIX = "sslsession:"
# What is longer is taken for a time since the epoch.
RELATIVE_AT_MOST = 30 * 24 * 3600
LATEST = 2**31 - 1
# How often an item may be changed by others between our reading and writing it. Of n who try at once one succeeds.
ATTEMPTS = 100
_LENGTH = struct.Struct(">I")


class MemcachedStore(NetworkStore):
    """Values on `servers`: "host:port", several in a sequence or joined by commas, or `memcached://host:port,host:port`.

    Each host must be given the same servers. InsecureStoreError without `secret` (see `EncryptedStore`), unless
    `insecure=True`: memcached knows no users. All values of a key together, with some 30 bytes each for what goes with
    them, must fit into the server's largest item (1 MB, its option -I). Needs the extra `memcached`.

    memcached does not list its keys: `entries` and `clear` raise UnsupportedError. It expires by itself: `purge` does
    nothing and returns 0. `timeout` is for connecting and for each answer, not for looking up names.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        secret: Secrets | None = None,
        insecure: bool = False,
        prefix: str = PREFIX,
        timeout: float = 0.05,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_secret("MemcachedStore", secret, insecure)
        positive("timeout", timeout)
        if not re.fullmatch(r"[!-~]{0,100}", prefix):
            raise ValueError("the prefix of a MemcachedStore is at most 100 visible ASCII characters")
        super().__init__(_Items(_addresses(servers), prefix, timeout, clock), secret, clock)


class _Items(Store):
    """The store as such, in the clear."""

    is_remote = True

    def __init__(
        self, addresses: list[tuple[str, int]], prefix: str, timeout: float, clock: Callable[[], float]
    ) -> None:
        self.timeout: float = timeout
        self._servers = [_Server(address, timeout) for address in addresses]
        self._prefix = prefix.encode()
        self._clock = clock
        self._is_closed = False

    def __repr__(self) -> str:
        return f"at {', '.join(server.name for server in self._servers)}, prefix {self._prefix!r}"

    def add(self, key: Key, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        new = Record(expires_at, value)
        with self._client(checked(key, value, expires_at, keep)) as (client, name):
            if keep == 1:
                client.set(name, *self._packed([new]), noreply=False)
                return
            for _ in range(ATTEMPTS):
                records, version = self._read(client, name)
                packed, expiry = self._packed([new, *records][:keep])
                if version is None:
                    done = client.add(name, packed, expiry, noreply=False)
                else:
                    done = client.cas(name, packed, version, expiry, noreply=False)
                if done:
                    return
            raise StoreError(f"others changed one key {ATTEMPTS} times in a row; try again")

    def peek(self, key: Key) -> bytes | None:
        with self._client(as_key(key)) as (client, name):
            records, _ = self._read(client, name)
            return next((each.value for each in records if each.expires_at > self._clock()), None)

    def take(self, key: Key) -> bytes | None:
        with self._client(as_key(key)) as (client, name):
            for _ in range(ATTEMPTS):
                records, version = self._read(client, name)
                now = self._clock()
                live = [each for each in records if each.expires_at > now]
                if not live:
                    return None
                packed, expiry = self._packed(live[1:])
                if client.cas(name, packed, version, expiry, noreply=False):
                    return live[0].value
            raise StoreError(f"others changed one key {ATTEMPTS} times in a row; try again")

    def discard(self, key: Key) -> None:
        with self._client(as_key(key)) as (client, name):
            client.delete(name, noreply=False)

    def purge(self, now: float | None = None) -> int:  # noqa: ARG002
        if self._is_closed:
            closed(self)
        return 0

    def clear(self) -> None:
        if self._is_closed:
            closed(self)
        raise UnsupportedError(
            "memcached does not list its keys, so a store cannot remove its own alone; use another prefix, or flush_all"
        )

    def entries(self) -> Iterator[Entry]:
        if self._is_closed:
            closed(self)
        raise UnsupportedError(
            "memcached does not list its keys; use Redis or SQLite where entries are to be listed"
        )

    def close(self) -> None:
        self._is_closed = True
        for server in self._servers:
            server.close()

    def _read(self, client: Client, name: bytes) -> tuple[list[Record], bytes | None]:
        """The values, and what `cas` wants; None if there is no item."""
        packed, version = client.gets(name)
        if version is None:
            return [], None
        records, start = [], 0
        while start < len(packed):
            start += _LENGTH.size
            end = start + _LENGTH.unpack_from(packed.ljust(start, b"\0"), start - _LENGTH.size)[0]
            records.append(unpack(packed[start:end]))
            start = end
        return records, version

    def _packed(self, records: list[Record]) -> tuple[bytes, int]:
        """An item, and its expiry as memcached takes it; without values, one that expires at once."""
        now = self._clock()
        pieces = [pack(each.value, each.expires_at) for each in records]
        item = b"".join(_LENGTH.pack(len(piece)) + piece for piece in pieces)
        seconds = math.ceil(max((each.expires_at - now for each in records), default=-1))
        if seconds <= 0:
            return item, -1
        return item, seconds if seconds <= RELATIVE_AT_MOST else min(math.ceil(now) + seconds, LATEST)

    @contextmanager
    def _client(self, key: bytes) -> Iterator[tuple[Client, bytes]]:
        """A connection to the server that has `key`, all of an operation's commands being sent on it, and its name."""
        if self._is_closed:
            closed(self)
        digest = hashlib.sha256(key).digest()
        server = max(self._servers, key=lambda each: hashlib.sha256(each.name.encode() + digest).digest())
        with server.client() as client:
            yield client, self._prefix + base64.urlsafe_b64encode(digest).rstrip(b"=")


class _Server:
    """One memcached, and our idle connections to it."""

    def __init__(self, address: tuple[str, int], timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self.name = f"{address[0]}:{address[1]}"
        self._idle: list[Client] = []
        self._is_closed = False
        self._pid = os.getpid()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A connection that nobody else uses meanwhile; its errors are StoreErrors, and end it."""
        client = self._connection()
        try:
            yield client
        except (MemcacheError, OSError) as error:
            client.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"memcached at {self.name}: {_meaning(error)}") from None
        except BaseException:
            client.close()
            raise
        self._idle.append(client)
        if self._is_closed:
            self._close_idle()

    def close(self) -> None:
        """Close the connections, those in use as soon as they are not."""
        self._is_closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                return
            client.close()

    def _connection(self) -> Client:
        if self._pid != os.getpid():
            # A parent's connections; to close them here does not end them there.
            self._pid = os.getpid()
            self._close_idle()
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                break
            if not _is_readable(client.sock):
                return client
            client.close()  # the server has ended it, for nothing else is to be read
        return Client(self._address, connect_timeout=self._timeout, timeout=self._timeout, no_delay=True)


def _is_readable(sock: Any) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


def _addresses(servers: str | Sequence[str]) -> list[tuple[str, int]]:
    if isinstance(servers, str):
        servers = servers.partition("://")[2].rstrip("/") if servers.startswith("memcached://") else servers
        servers = servers.split(",")
    found = []
    for server in servers:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(?::(\d{1,5}))?", server)
        if not match or not 0 < int(match[2] or PORT) < 65536:
            raise ValueError(
                "memcached servers are host:port, joined by commas: memcached has no users or passwords"
            )
        found.append((match[1].strip("[]"), int(match[2] or PORT)))
    if not found:
        raise ValueError("no memcached server was given")
    return found


def _meaning(error: Exception) -> str:
    said = str(error)
    if isinstance(error, TimeoutError) or "timed out" in said:
        return "it did not answer in time; check its load and the network, or give a longer timeout"
    if "too large" in said:
        return "the value is larger than it takes; start it with a larger -I"
    if "out of memory" in said:
        return "it is full; give it more memory (-m), or let it evict"
    if isinstance(error, (OSError, MemcacheUnexpectedCloseError)):
        return f"it cannot be reached; check that it runs, and its address ({said or type(error).__name__})"
    if isinstance(error, (MemcacheClientError, MemcacheServerError)):
        return f"it refused: {said}"
    # What came instead of an answer may be a part of somebody's value.
    return f"it answered as memcached does not ({type(error).__name__}); check its address"
