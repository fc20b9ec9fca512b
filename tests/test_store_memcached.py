"""MemcachedStore: takes that are won by `cas`, several servers, expiry, and a server that is down or restarted."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from helpers.children import run_python
from helpers.processes import free_port
from helpers.stores import PATIENT, SECRET, memcached, new_prefix
from sslsession import stores
from sslsession.errors import InsecureStoreError, StoreError, UnsupportedError
from sslsession.stores.contract import Clock

pymemcache = pytest.importorskip("pymemcache")
MemcachedStore = stores.MemcachedStore

LATER = time.time() + 1000


@pytest.fixture(scope="module")
def server():
    with memcached() as server:
        yield server


@pytest.fixture
def client(server):
    """A client of pymemcache, to look at what the store does."""
    client = pymemcache.Client(("127.0.0.1", server.port))
    client.flush_all(noreply=False)
    yield client
    client.close()


def opened(*servers, **settings):
    settings = {"insecure": True, "timeout": PATIENT, "prefix": new_prefix(), **settings}
    return MemcachedStore([server.address for server in servers], **settings)


def names(server):
    """The names of all items, as the server tells its administrator."""
    with socket.create_connection(("127.0.0.1", server.port)) as conn, conn.makefile("rb") as answer:
        conn.sendall(b"lru_crawler metadump all\r\n")
        lines = iter(answer.readline, b"END\r\n")
        return [line.split()[0].partition(b"=")[2].decode() for line in lines]


def test_without_a_secret_it_is_refused_and_the_ways_out_are_named():
    with pytest.raises(InsecureStoreError) as caught:
        MemcachedStore("127.0.0.1:11211")
    for way in ("secret=", "SQLiteStore", "insecure=True"):
        assert way in str(caught.value)


def test_what_it_says_of_itself(server):
    with (
        opened(server, prefix="p:") as store,
        opened(server, insecure=False, secret=SECRET, prefix="p:") as sealed,
    ):
        assert (store.is_remote, store.sealed, store.timeout) == (True, False, PATIENT)
        assert (sealed.is_remote, sealed.sealed, sealed.timeout) == (False, True, PATIENT)
        assert repr(store) == f"<MemcachedStore at {server.address}, prefix b'p:', insecure>"


def test_listing_is_unsupported_and_the_error_says_why(server):
    with opened(server) as store:
        for call in (store.clear, store.entries):
            with pytest.raises(UnsupportedError, match="does not list its keys"):
                call()


def test_keys_are_hashed_whatever_they_are(server, client):
    with opened(server, prefix="p:") as store:
        for key in (b"a key", b"x" * 1000, b"short", b"\r\nflush_all\r\n"):
            store.add(key, b"value", expires_at=LATER)
        found = names(server)
        assert len(found) == 4
        assert all(name.startswith(("p%3A", "p:")) for name in found), found
        assert all(len(name) < 60 for name in found)


def test_of_many_who_take_the_same_only_those_get_one_whom_the_server_confirms(server, monkeypatch):
    with opened(server) as one, opened(server) as two:
        two._plain._prefix = one._plain._prefix
        one.add(b"key", b"1", expires_at=LATER, keep=2)
        one.add(b"key", b"2", expires_at=LATER, keep=2)
        read = one._plain._read
        stolen = []

        def late(client, name):
            found = read(client, name)
            if not stolen:
                stolen.append(two.take(b"key"))
            return found

        monkeypatch.setattr(one._plain, "_read", late)
        assert one.take(b"key") == b"1"
        assert stolen == [b"2"]


@pytest.mark.parametrize(
    "call",
    [lambda store: store.add(b"key", b"value", expires_at=LATER, keep=2), lambda store: store.take(b"key")],
)
def test_what_others_change_all_the_time_is_an_error_in_the_end(server, monkeypatch, call):
    with opened(server) as one, opened(server) as two:
        two._plain._prefix = one._plain._prefix
        one.add(b"key", b"value", expires_at=LATER)
        read = one._plain._read

        def late(client, name):
            found = read(client, name)
            two.add(b"key", b"value", expires_at=LATER)
            return found

        monkeypatch.setattr(one._plain, "_read", late)
        with pytest.raises(StoreError, match="others changed one key"):
            call(one)


def test_adding_at_once_loses_nothing(server):
    with opened(server) as store:

        def add(number):
            for each in range(20):
                store.add(b"key", b"%d %d" % (number, each), expires_at=LATER, keep=100)

        threads = [threading.Thread(target=add, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = set()
        while (value := store.take(b"key")) is not None:
            taken.add(value)
        assert len(taken) == 80


DAY = 24 * 3600


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [
        (-5, -1),
        (0, -1),
        (0.5, 1),
        (60, 60),
        (30 * DAY, 30 * DAY),
        (31 * DAY, 1_700_000_000 + 31 * DAY),
        (100 * 365 * DAY, 2**31 - 1),
    ],
)
def test_expiry_is_said_as_memcached_takes_it(lifetime, expected):
    clock = Clock()
    clock.now = 1_700_000_000.0
    store = MemcachedStore("127.0.0.1", insecure=True, clock=clock)
    from sslsession.stores._network import Record

    assert (
        store._plain._packed([Record(clock() + lifetime, b"value"), Record(clock() - 9, b"value")])[1]
        == expected
    )


def test_a_value_that_is_too_large_is_an_error_that_says_so(server):
    with opened(server) as store:
        with pytest.raises(StoreError, match="larger than it takes"):
            store.add(b"key", bytes(1 << 20), expires_at=LATER)
        store.add(b"key", b"value", expires_at=LATER)
        assert store.take(b"key") == b"value"


@pytest.mark.parametrize("what", [b"", b"garbage", b"\0\0\0\x05abc", b"\0\0\0\x09\x02123456781"])
def test_something_else_under_our_prefix_is_an_error(server, client, what):
    with opened(server, prefix="p:") as store:
        store.add(b"key", b"value", expires_at=LATER)
        with store._plain._client(b"key") as (_, name):
            client.set(name, what, noreply=False)
        if what:
            with pytest.raises(StoreError, match="use another prefix"):
                store.take(b"key")
        else:
            assert store.take(b"key") is None


def test_each_key_is_on_one_of_several_servers(server):
    with memcached() as other, opened(server, other, prefix="two:") as store:
        keys = [b"%d" % number for number in range(60)]
        for key in keys:
            store.add(key, key, expires_at=LATER)
        counts = [sum("two" in name for name in names(each)) for each in (server, other)]
        assert sum(counts) == 60
        assert min(counts) > 10
        with opened(other, server, prefix="two:") as same:
            assert [same.take(key) for key in keys] == keys


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ("host", [("host", 11211)]),
        ("memcached://a:1,b", [("a", 1), ("b", 11211)]),
        ("memcached://[::1]:5/", [("::1", 5)]),
        (["a", "b:2"], [("a", 11211), ("b", 2)]),
    ],
)
def test_servers_are_host_and_port(servers, expected):
    store = MemcachedStore(servers, insecure=True)
    assert [server._address for server in store._plain._servers] == expected


@pytest.mark.parametrize(
    "servers",
    [
        "",
        [],
        "a b",
        "memcached://user:hunter2@host",
        "host:0",
        "host:99999",
        "host:x",
        "a,,b",
        "memcached://",
    ],
)
def test_wrong_servers_are_an_error_that_does_not_show_them(servers):
    with pytest.raises(ValueError, match="memcached") as caught:
        MemcachedStore(servers, insecure=True)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["with space", "x" * 101, "käse", "\n"])
def test_a_prefix_is_what_memcached_takes(prefix):
    with pytest.raises(ValueError, match="prefix"):
        MemcachedStore("host", insecure=True, prefix=prefix)


# What goes wrong


def test_a_server_that_is_down_is_an_error_at_once():
    store = MemcachedStore(f"127.0.0.1:{free_port()}", insecure=True)
    for call in (store.peek, store.take, store.discard):
        with pytest.raises(StoreError, match="cannot be reached; check that it runs"):
            call(b"key")
    for keep in (1, 2):
        with pytest.raises(StoreError, match="cannot be reached"):
            store.add(b"key", b"value", expires_at=LATER, keep=keep)


def test_a_server_that_does_not_answer_is_an_error_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with MemcachedStore(f"127.0.0.1:{silent.getsockname()[1]}", insecure=True, timeout=0.02) as store:
            start = time.monotonic()
            with pytest.raises(StoreError, match="did not answer in time"):
                store.take(b"key")
            assert time.monotonic() - start < 5


def test_after_a_restart_it_connects_again():
    with memcached() as first:
        store = opened(first)
        store.add(b"key", b"value", expires_at=LATER)
    with pytest.raises(StoreError, match="cannot be reached"):
        store.take(b"key")
    for _ in range(2):
        with memcached(port=first.port):
            assert store.take(b"key") is None
            store.add(b"key", b"value", expires_at=LATER)
            assert store.take(b"key") == b"value"
    store.close()


def test_a_server_that_speaks_something_else_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            conn, _ = listener.accept()
            with conn:
                conn.recv(1000)
                conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with MemcachedStore(
            f"127.0.0.1:{listener.getsockname()[1]}", insecure=True, timeout=PATIENT
        ) as store:
            with pytest.raises(StoreError, match="memcached at"):
                store.take(b"key")
        thread.join()


def test_connections_are_used_again_and_closed_in_the_end(server):
    store = opened(server)
    for _ in range(3):
        store.peek(b"key")
    (idle,) = store._plain._servers[0]._idle
    with store._plain._client(b"key") as (used, _):
        assert used is idle
        store.close()
        assert used.sock is not None
    assert used.sock is None


def test_where_there_is_no_poll_select_will_do(server, monkeypatch):
    import select

    monkeypatch.delattr(select, "poll", raising=False)
    with opened(server) as store:
        for number in range(3):
            store.add(b"key", b"%d" % number, expires_at=LATER)
        assert store.take(b"key") == b"2"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_parent_and_child_do_not_share_a_connection(server):
    run_python(
        """
        import os, sys, time
        from sslsession.stores import MemcachedStore
        store = MemcachedStore(sys.argv[1], insecure=True, prefix="fork:", timeout=60)
        for number in range(200):
            store.add(b"%d" % number, b"%d" % number, expires_at=time.time() + 100)
        pid = os.fork()
        for number in range(0 if pid else 1, 200, 2):
            assert store.take(b"%d" % number) == b"%d" % number
        if not pid:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        store.close()
        """,
        args=[server.address],
    )


def test_without_pymemcache_the_error_says_what_to_install():
    run_python(
        """
        import sys
        sys.modules["pymemcache"] = None
        import sslsession.stores
        try:
            sslsession.stores.MemcachedStore
        except ImportError as error:
            assert "pip install 'sslsession[memcached]'" in str(error), error
        else:
            raise AssertionError
        """
    )
