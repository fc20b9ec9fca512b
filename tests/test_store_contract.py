"""Every store passes the one suite, in the clear and sealed."""

from __future__ import annotations

import pytest

from helpers import stores as servers
from sslsession.stores import MemoryStore, SQLiteStore
from sslsession.stores.contract import StoreContract


@pytest.fixture(scope="module")
def redis():
    pytest.importorskip("redis")
    with servers.redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def memcached():
    pytest.importorskip("pymemcache")
    with servers.memcached() as server:
        yield server


class TestMemoryStore(StoreContract):
    def make_store(self, clock):
        return MemoryStore(clock=clock)


class TestMemoryStoreOfSoManyBytes(StoreContract):
    def make_store(self, clock):
        return MemoryStore(max_bytes=1_000_000, clock=clock)


class TestSQLiteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "store.db"

    def make_store(self, clock):
        return SQLiteStore(self.path, timeout=servers.PATIENT, clock=clock)


class TestSQLiteStoreWithoutReturning(TestSQLiteStore):
    @pytest.fixture(autouse=True)
    def older(self, monkeypatch):
        monkeypatch.setattr("sslsession.stores.sqlite.HAS_RETURNING", False)


class TestRedisStore(StoreContract):
    secret = None

    @pytest.fixture(autouse=True)
    def server(self, redis):
        self.url = f"redis://{redis.address}/3"

    def make_store(self, clock):
        from sslsession.stores import RedisStore

        return RedisStore(
            self.url,
            secret=self.secret,
            insecure=self.secret is None,
            prefix=servers.new_prefix(),
            timeout=servers.PATIENT,
            clock=clock,
        )


class TestSealedRedisStore(TestRedisStore):
    secret = servers.SECRET


class TestRedisStoreOverAClient(StoreContract):
    @pytest.fixture(autouse=True)
    def client(self, redis):
        from redis import Redis

        with Redis(port=redis.port) as self.redis:
            yield

    def make_store(self, clock):
        from sslsession.stores import RedisStore

        return RedisStore(self.redis, insecure=True, prefix=servers.new_prefix(), clock=clock)


class TestMemcachedStore(StoreContract):
    can_list = False
    can_purge = False
    secret = None

    @pytest.fixture(autouse=True)
    def server(self, memcached):
        self.server_address = memcached.address

    def make_store(self, clock):
        from sslsession.stores import MemcachedStore

        return MemcachedStore(
            self.server_address,
            secret=self.secret,
            insecure=self.secret is None,
            prefix=servers.new_prefix(),
            timeout=servers.PATIENT,
            clock=clock,
        )


class TestSealedMemcachedStore(TestMemcachedStore):
    secret = servers.SECRET


def sealed(store, clock):
    pytest.importorskip("cryptography")
    from sslsession.stores import EncryptedStore

    return EncryptedStore(store, [servers.SECRET, servers.OTHER_SECRET], clock=clock)


class TestEncryptedMemoryStore(StoreContract):
    def make_store(self, clock):
        return sealed(MemoryStore(clock=clock), clock)


class TestEncryptedSQLiteStore(TestSQLiteStore):
    def make_store(self, clock):
        return sealed(super().make_store(clock), clock)
