"""RedisStore: what each call sends, and a server that is down, restarted, slow or not ours to use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from helpers.children import run_python
from helpers.processes import free_port
from helpers.stores import PATIENT, SECRET, new_prefix, redis_server
from sslsession import stores
from sslsession.errors import InsecureStoreError, StoreError

redis = pytest.importorskip("redis")
RedisStore = stores.RedisStore

LATER = time.time() + 1000
PASSWORD = "hunter2-of-the-tests"


@pytest.fixture(scope="module")
def server():
    with redis_server() as server:
        yield server


@pytest.fixture
def client(server):
    """A client of redis-py, to look at what the store does."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
        yield client


def opened(server, **settings):
    settings = {"insecure": True, "timeout": PATIENT, "prefix": "p:", **settings}
    return RedisStore(f"redis://{server.address}", **settings)


def test_without_a_secret_it_is_refused_and_the_ways_out_are_named():
    with pytest.raises(InsecureStoreError) as caught:
        RedisStore("redis://127.0.0.1")
    for way in ("secret=", "SQLiteStore", "insecure=True"):
        assert way in str(caught.value)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ValueError, match="either"):
        RedisStore("redis://127.0.0.1", secret=SECRET, insecure=True)


def test_what_it_says_of_itself(server):
    with opened(server) as store, opened(server, insecure=False, secret=SECRET) as sealed:
        assert (store.is_remote, store.sealed, store.timeout) == (True, False, PATIENT)
        assert (sealed.is_remote, sealed.sealed, sealed.timeout) == (False, True, PATIENT)
        assert repr(store) == f"<RedisStore at {server.address}, prefix b'p:', insecure>"
        assert repr(sealed) == f"<RedisStore at {server.address}, prefix b'p:', sealed>"


def test_with_a_secret_the_server_sees_neither_keys_nor_values(server, client):
    with opened(server, insecure=False, secret=SECRET) as store:
        store.add(b"the key", b"the value", expires_at=LATER)
        (name,) = client.keys()
        kept = client.lindex(name, 0)
        assert b"the" not in name + kept
        assert store.take(b"the key") == b"the value"


def commands(client, call):
    """What the server is told meanwhile, without what is told in making a connection."""
    before = client.info("commandstats")
    call()
    after = client.info("commandstats")
    return {
        name.split("_", 1)[1]: stats["calls"] - before.get(name, {"calls": 0})["calls"]
        for name, stats in after.items()
        if name != "cmdstat_info" and stats["calls"] > before.get(name, {"calls": 0})["calls"]
    }


def test_a_take_is_one_lpop_and_an_add_one_transaction(server, client):
    with opened(server) as store:
        client.info("commandstats")
        added = commands(client, lambda: store.add(b"key", b"value", expires_at=LATER))
        assert added == {"multi": 1, "lpush": 1, "ltrim": 1, "expireat": 2, "exec": 1}
        assert commands(client, lambda: store.take(b"key")) == {"lpop": 1}


def test_the_server_removes_what_has_expired_when_the_last_of_a_list_has(server, client):
    with opened(server) as store:
        store.add(b"key", b"1", expires_at=LATER, keep=3)
        store.add(b"key", b"2", expires_at=LATER - 500, keep=3)
        store.add(b"key", b"3", expires_at=LATER + 500.5, keep=3)
        end = client.execute_command("EXPIRETIME", b"p:key")
        assert end == int(LATER + 501.5) or end == int(LATER + 500.5)
        store.add(b"dead", b"value", expires_at=1)
        assert client.exists(b"p:dead") == 0


def test_a_server_before_7_keeps_the_latest_that_was_added(server, client, monkeypatch):
    with opened(server) as store:
        lists = store._plain
        add, asked = lists._add, []

        def old(name, kept, keep, expiry):
            asked.append(expiry)
            if len(expiry) == 2:
                raise redis.ResponseError(
                    "Command # 3 (EXPIREAT key 1 NX) of pipeline caused error: wrong number of arguments"
                )
            add(name, kept, keep, expiry)

        monkeypatch.setattr(lists, "_add", old)
        store.add(b"key", b"1", expires_at=LATER)
        store.add(b"key", b"2", expires_at=LATER + 10)
        assert [len(each) for each in asked] == [2, 1, 1]
        assert client.execute_command("EXPIRETIME", b"p:key") > LATER


def test_clear_removes_what_has_the_prefix_and_nothing_else(server, client):
    client.set("other", "value")
    client.set("p*not ours", "value")
    with opened(server, prefix="p*:") as store, opened(server, prefix="px:") as near:
        store.add(b"key", b"value", expires_at=LATER)
        near.add(b"key", b"value", expires_at=LATER)
        assert [entry.key for entry in store.entries()] == [b"key"]
        store.clear()
        assert sorted(client.keys()) == [b"other", b"p*not ours", b"px:key"]


def test_something_else_under_our_prefix_is_an_error(server, client):
    client.set("p:string", "value")
    client.lpush("p:list", "value")
    client.lpush("p:empty", "")
    with opened(server) as store:
        with pytest.raises(StoreError, match="another program has something else under our prefix"):
            store.take(b"string")
        with pytest.raises(StoreError, match="another program has something else") as caught:
            store.add(b"string", b"the value of pipeline caused error: ", expires_at=LATER)
        assert "value" not in str(caught.value)
        for key in (b"list", b"empty"):
            with pytest.raises(StoreError, match="use another prefix"):
                store.peek(key)


def test_a_client_of_ones_own_stays_open(server, client):
    with RedisStore(client, insecure=True, prefix=new_prefix()) as store:
        store.add(b"key", b"value", expires_at=LATER)
        assert store.timeout == (
            client.connection_pool.connection_kwargs.get("socket_timeout") or float("inf")
        )
    assert client.ping()


def test_a_client_that_decodes_is_refused(server):
    with redis.Redis(port=server.port, decode_responses=True) as client:
        with pytest.raises(ValueError, match="decode_responses=False"):
            RedisStore(client, insecure=True)


def test_a_connection_says_no_more_than_it_must(server, client):
    said = commands(client, lambda: opened(server).take(b"key"))
    assert said == {"lpop": 1}


# What goes wrong


def test_a_server_that_is_down_is_an_error_at_once():
    store = RedisStore(f"redis://127.0.0.1:{free_port()}", insecure=True)
    for call in (store.peek, store.take, store.discard):
        with pytest.raises(StoreError, match="cannot be reached; check that it runs"):
            call(b"key")
    with pytest.raises(StoreError, match="cannot be reached"):
        store.add(b"key", b"value", expires_at=LATER)
    for call in (store.purge, store.clear, lambda: list(store.entries())):
        with pytest.raises(StoreError, match="cannot be reached"):
            call()


def test_a_server_that_does_not_answer_is_an_error_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}", insecure=True, timeout=0.02)
        start = time.monotonic()
        with pytest.raises(StoreError, match="did not answer in time"):
            store.take(b"key")
        assert time.monotonic() - start < 5
        store.close()


def test_after_a_restart_it_connects_again():
    with redis_server() as first:
        store = opened(first)
        store.add(b"key", b"value", expires_at=LATER)
    with pytest.raises(StoreError):
        store.take(b"key")
    with redis_server(port=first.port):
        assert store.take(b"key") is None
        store.add(b"key", b"value", expires_at=LATER)
        assert store.take(b"key") == b"value"
    with redis_server(port=first.port):
        assert store.take(b"key") is None
    store.close()


def test_a_wrong_password_is_an_error_that_does_not_show_it():
    with redis_server("--requirepass", PASSWORD) as server:
        with RedisStore(f"redis://:{PASSWORD}@{server.address}", insecure=True, timeout=PATIENT) as store:
            store.add(b"key", b"value", expires_at=LATER)
            assert store.take(b"key") == b"value"
            assert PASSWORD not in repr(store)
        for url in (
            f"redis://someone:x{PASSWORD}@{server.address}",
            f"redis://:x{PASSWORD}@{server.address}",
        ):
            with RedisStore(url, insecure=True, timeout=PATIENT) as store:
                with pytest.raises(StoreError, match="does not accept this user and password") as caught:
                    store.take(b"key")
                assert PASSWORD not in str(caught.value) + repr(store)
        with RedisStore(f"redis://{server.address}", insecure=True, timeout=PATIENT) as store:
            with pytest.raises(StoreError, match=r"password|refused"):
                store.take(b"key")


def test_a_user_who_may_not_is_an_error_that_says_so():
    with redis_server("--user", "reader", "on", f">{PASSWORD}", "~*", "+@read") as server:
        with RedisStore(
            f"redis://reader:{PASSWORD}@{server.address}", insecure=True, timeout=PATIENT
        ) as store:
            assert store.peek(b"key") is None
            with pytest.raises(StoreError, match="ACL"):
                store.take(b"key")
            with pytest.raises(StoreError):
                store.add(b"key", b"value", expires_at=LATER)


def test_a_server_that_is_full_is_an_error_that_says_so():
    with (
        redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as server,
        opened(server) as store,
    ):
        with pytest.raises(StoreError, match="is full") as caught:
            store.add(b"key", b"the value", expires_at=LATER)
        assert "the value" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://host", "redis://, rediss://, unix://"),
        ("rediss://host?ssl_cert_reqs=none", "no parameter ssl_cert_reqs"),
        ("redis://host?socket_timeout=100", "no parameter socket_timeout"),
        (f"redis://user:{PASSWORD}@host:port", "no Redis URL"),
    ],
)
def test_a_wrong_url_is_an_error_that_does_not_show_it(url, match):
    with pytest.raises(ValueError, match=match) as caught:
        RedisStore(url, insecure=True)
    assert PASSWORD not in str(caught.value)


def test_tls_is_verified_by_an_authority_of_ones_own(ca, server_identity):
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", server_identity.cert_pem_path]
    options += [
        "--tls-key-file",
        server_identity.key_path,
        "--tls-ca-cert-file",
        ca.pem_path,
        "--tls-auth-clients",
        "no",
    ]
    with redis_server(*options):
        url = f"rediss://localhost:{port}"
        with RedisStore(f"{url}?ssl_ca_certs={ca.pem_path}", secret=SECRET, timeout=PATIENT) as store:
            store.add(b"key", b"value", expires_at=LATER)
            assert store.take(b"key") == b"value"
        with RedisStore(url, secret=SECRET, timeout=PATIENT) as store:
            with pytest.raises(StoreError, match="verify failed"):
                store.take(b"key")


def test_a_unix_socket_will_do(tmp_path):
    path = tmp_path / "s"
    with redis_server("--unixsocket", path):
        with RedisStore(f"unix://{path}", secret=SECRET, timeout=PATIENT) as store:
            store.add(b"key", b"value", expires_at=LATER)
            assert store.take(b"key") == b"value"
            assert str(path) in repr(store)


# Processes


@pytest.mark.parametrize(
    ("processes", "tickets"), [(4, 200), pytest.param(32, 10_000, marks=pytest.mark.soak)]
)
def test_each_ticket_goes_to_exactly_one_of_many_processes(server, client, processes, tickets):
    code = """if True:
        import sys
        from sslsession.stores import RedisStore
        store = RedisStore(sys.argv[1], insecure=True, prefix="p:", timeout=60)
        store.peek(b"key")
        print("ready", flush=True)
        sys.stdin.readline()
        taken = []
        while (value := store.take(b"key")) is not None:
            taken.append(value.decode())
        print(" ".join(taken))
    """
    with opened(server) as store:
        for number in range(tickets):
            store.add(b"key", b"%d" % number, expires_at=LATER, keep=tickets)
    argv = [sys.executable, "-c", code, f"redis://{server.address}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(argv, **pipes) for _ in range(processes)]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        taken = [int(each) for child in children for each in child.stdout.read().split()]
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()
    assert sorted(taken) == list(range(tickets))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_parent_and_child_do_not_share_a_connection(server, client):
    run_python(FORKED, args=["RedisStore", f"redis://{server.address}"])


FORKED = """
    import os, sys, time
    import sslsession.stores
    store = getattr(sslsession.stores, sys.argv[1])(sys.argv[2], insecure=True, prefix="fork:", timeout=60)
    for number in range(200):
        store.add(b"%d" % number, b"%d" % number, expires_at=time.time() + 100)
    pid = os.fork()
    for number in range(0 if pid else 1, 200, 2):
        assert store.take(b"%d" % number) == b"%d" % number
    if not pid:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    store.close()
"""


def test_without_redis_py_the_error_says_what_to_install():
    run_python(
        """
        import sys
        sys.modules["redis"] = None
        import sslsession.stores
        try:
            sslsession.stores.RedisStore
        except ImportError as error:
            assert "pip install 'sslsession[redis]'" in str(error), error
        else:
            raise AssertionError
        """
    )
