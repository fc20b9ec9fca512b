"""open_store: what each URL opens, where its secret comes from, and that no error shows what may be a password."""

from __future__ import annotations

import os

import pytest

from helpers.children import run_python
from helpers.stores import OTHER_SECRET, SECRET
from sslsession import stores
from sslsession.errors import InsecureStoreError, StoreError
from sslsession.stores import MemoryStore, SQLiteStore, open_store
from sslsession.stores.contract import Clock

pytest.importorskip("cryptography")
EncryptedStore = stores.EncryptedStore

VARIABLE = "SSLSESSION_TEST_SECRET"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, SECRET)


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text(OTHER_SECRET + "\n")
    return path


def kept(store):
    """What it takes to open again what `store` sealed."""
    store.add(b"key", b"value", expires_at=9e9)
    return store.take(b"key") == b"value"


@pytest.mark.parametrize("url", ["memory:", "memory://", "MEMORY:"])
def test_memory(url):
    with open_store(url) as store:
        assert type(store) is MemoryStore
        assert kept(store)


def test_memory_with_bounds():
    assert repr(open_store("memory:?max_entries=3")).endswith("at most 3>")
    with pytest.raises(StoreError, match="max_bytes=10"):
        open_store("memory:?max_bytes=10").add(b"key", bytes(20), expires_at=9e9)
    assert repr(open_store("memory:", max_entries=4)).endswith("at most 4>")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:store.db", "store.db"),
        ("sqlite:sub/store.db", "sub/store.db"),
        ("sqlite:./a%20%23%3F.db", "a #?.db"),
        ("sqlite://{here}/store.db", "store.db"),
        ("sqlite:{here}/store.db", "store.db"),
        ("sqlite:store.db?timeout=2&max_entries=7", "store.db"),
    ],
)
def test_sqlite(url, path, tmp_path):
    here = tmp_path.as_posix()
    with open_store(url.format(here=here if here.startswith("/") else f"/{here}")) as store:
        assert type(store) is SQLiteStore
        assert (tmp_path / path).is_file()
        if "?timeout" in url:
            assert (store.timeout, store._max_entries) == (2, 7)


def test_a_windows_path_has_its_drive_after_three_slashes(monkeypatch):
    from sslsession.stores.urls import _path

    monkeypatch.setattr(os, "name", "nt")
    assert _path("sqlite:///C:/cache/x.db") == "C:/cache/x.db"
    assert _path("sqlite:x.db") == "x.db"
    monkeypatch.setattr(os, "name", "posix")
    assert _path("sqlite:///C:/x.db") == "/C:/x.db"


@pytest.mark.parametrize(
    "url",
    ["sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x.db", "sqlite:x#y", "memory:x", "memory://host"],
)
def test_a_place_that_is_none_is_a_value_error(url):
    with pytest.raises(ValueError, match=r"sqlite:|memory:"):
        open_store(url)


@pytest.mark.parametrize("scheme", ["redis://h:1/2", "rediss://h:1", "unix:///path"])
def test_redis(scheme):
    pytest.importorskip("redis")
    with open_store(f"{scheme}?insecure=1&timeout=0.5&prefix=p%3A") as store:
        assert type(store) is stores.RedisStore
        assert (store.timeout, store._plain._prefix, store.sealed) == (0.5, b"p:", False)
    with open_store(f"{scheme}?secret=env:{VARIABLE}") as store:
        assert (store.timeout, store.sealed) == (0.05, True)


def test_redis_is_given_the_rest_of_its_url():
    pytest.importorskip("redis")
    url = f"rediss://user:hunter2@h:1/5?ssl_ca_certs=/a%20b&secret=env:{VARIABLE}&client_name=me"
    settings = open_store(url)._plain._client.connection_pool.connection_kwargs
    assert settings["ssl_ca_certs"] == "/a b"
    assert (settings["db"], settings["username"], settings["client_name"]) == (5, "user", "me")
    assert settings["ssl_cert_reqs"] == "required"
    assert settings["ssl_check_hostname"] is True
    assert "secret" not in settings


def test_memcached():
    pytest.importorskip("pymemcache")
    with open_store("memcached://a:1,b?insecure=1&timeout=2") as store:
        assert type(store) is stores.MemcachedStore
        assert store.timeout == 2
        assert [server.name for server in store._plain._servers] == ["a:1", "b:11211"]


@pytest.mark.parametrize("url", ["redis://h", "memcached://h", "redis://h?insecure=0"])
def test_on_a_network_a_secret_is_needed(url):
    pytest.importorskip("redis")
    pytest.importorskip("pymemcache")
    with pytest.raises(InsecureStoreError, match=r"\?secret=env:NAME"):
        open_store(url)
    open_store(url.partition("?")[0], insecure=True).close()
    open_store(url.partition("?")[0], secret=SECRET).close()


# Secrets


def test_a_secret_from_the_environment_or_from_a_file_seals(secret_file):
    for url, secret in (
        (f"sqlite:one.db?secret=env:{VARIABLE}", SECRET),
        (f"sqlite:two.db?secret=file:{secret_file.as_posix()}", OTHER_SECRET),
    ):
        with open_store(url) as store:
            assert type(store) is EncryptedStore
            store.add(b"key", b"value", expires_at=9e9)
        with EncryptedStore(SQLiteStore(url[7:13]), secret) as same:
            assert same.take(b"key") == b"value"


def test_several_secrets_are_a_rotation(secret_file):
    with open_store("sqlite:x.db", secret=OTHER_SECRET) as store:
        store.add(b"old", b"value", expires_at=9e9)
    with open_store(f"sqlite:x.db?secret=env:{VARIABLE}&secret=file:{secret_file.as_posix()}") as store:
        store.add(b"new", b"value", expires_at=9e9)
        assert store.take(b"old") == b"value"
    with open_store("sqlite:x.db", secret=SECRET) as store:
        assert store.take(b"new") == b"value"


@pytest.mark.parametrize("bare", ["hunter2-hunter2-hunter2-hunter2-hunter2", "env", "", "base64:hunter2"])
def test_a_bare_secret_is_refused_with_the_reason_and_not_shown(bare):
    with pytest.raises(ValueError, match="URLs end up in logs") as caught:
        open_store(f"memory:?secret={bare}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_an_error_that_names_it(monkeypatch, value):
    monkeypatch.delenv(VARIABLE)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(StoreError, match=f"{VARIABLE}, which is not set"):
        open_store(f"memory:?secret=env:{VARIABLE}")


def test_a_secret_that_is_too_short_is_an_error_and_leaves_no_open_file(monkeypatch):
    monkeypatch.setenv(VARIABLE, "hunter2")
    with pytest.raises(ValueError, match="at least 32 bytes") as caught:
        open_store(f"sqlite:x.db?secret=env:{VARIABLE}")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="cannot be read"):
        open_store("memory:?secret=file:nowhere")


@pytest.mark.skipif(os.name != "posix", reason="modes mean nothing here")
def test_a_file_that_others_can_read_is_an_error(secret_file):
    secret_file.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        open_store(f"memory:?secret=file:{secret_file}")


def test_a_secret_is_given_once():
    with pytest.raises(ValueError, match="give it once"):
        open_store(f"memory:?secret=env:{VARIABLE}", secret=SECRET)


def test_a_clock_goes_to_the_seal_and_to_what_it_seals():
    clock = Clock()
    with open_store("memory:", secret=SECRET, clock=clock) as store:
        store.add(b"key", b"value", expires_at=clock() + 5)
        clock.advance(5)
        assert store.take(b"key") is None


# What is wrong


def test_an_unknown_scheme_is_an_error_that_lists_what_there_is():
    for url in ("mysql://user:hunter2@host", "", "store.db", "C:\\store.db"):
        with pytest.raises(ValueError, match=r"memory: sqlite: redis: rediss: unix: memcached:") as caught:
            open_store(url)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("memory:?timeout=hunter2", "max_bytes, max_entries"),
        ("sqlite:x.db?prefix=hunter2", "max_entries, timeout"),
        ("redis://u:hunter2@h?max_entries=1", "insecure, prefix, timeout, secret, client_name, db"),
        ("memcached://h?db=hunter2", "insecure, prefix, timeout, secret"),
    ],
)
def test_an_unknown_parameter_is_an_error_that_lists_what_there_is(url, known):
    pytest.importorskip("redis")
    with pytest.raises(ValueError, match=known) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("memory:", {"timeout": 1}),
        ("sqlite:x.db", {"insecure": True}),
        ("memory:", {"prefix": "p"}),
        ("sqlite:x", {"x": 1}),
    ],
)
def test_an_unknown_option_is_one_too(url, options):
    with pytest.raises(ValueError, match="has no option"):
        open_store(url, **options)


@pytest.mark.parametrize(
    "query", ["max_entries=x", "max_entries=", "timeout=x", "timeout=0", "timeout=nan", "max_entries=-1"]
)
def test_a_value_that_is_none_is_an_error_that_names_the_parameter(query):
    with pytest.raises(ValueError, match=query.partition("=")[0]):
        open_store(f"sqlite:x.db?{query}")


def test_insecure_is_0_or_1():
    with pytest.raises(ValueError, match="insecure"):
        open_store("memcached://h?insecure=yes")


# What is imported when


def test_importing_stores_is_cheap_and_needs_no_extra():
    run_python(
        """
        import sys
        for name in ("redis", "pymemcache", "cryptography"):
            sys.modules[name] = None
        before = "sqlite3" in sys.modules  # coverage needs it, where it watches
        import sslsession.stores as stores
        assert ("sqlite3" in sys.modules) == before
        assert set(stores.__all__) <= set(dir(stores))
        stores.SQLiteStore, stores.open_store("memory:").close()
        for name in ("RedisStore", "MemcachedStore", "EncryptedStore"):
            try:
                getattr(stores, name)
            except ImportError as error:
                assert "pip install 'sslsession[" in str(error), error
            else:
                raise AssertionError(name)
        try:
            stores.NoSuchStore
        except AttributeError:
            pass
        else:
            raise AssertionError
        """
    )
