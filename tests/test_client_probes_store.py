"""What was moved or altered in a store must not resume; its honest twin, the same store untouched, does."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from helpers.certs import Authority
from helpers.clients import Home, copied, entries, not_offered, refill
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context
from sslsession import InvalidSession, StoreError, _peers
from sslsession.stores import EncryptedStore, MemoryStore

pytestmark = pytest.mark.binding
SECRET, OTHER_SECRET = "a secret of thirty-two bytes and more", "another secret of thirty-two bytes or more"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def unraisables() -> Iterator[Unraisables]:
    with Unraisables() as caught:
        yield caught


def filled(
    store: MemoryStore | EncryptedStore, client: ssl.SSLContext, server: ssl.SSLContext, *names: str
) -> None:
    """A store with the sessions of these names."""
    home = Home(store)
    for name in names or ("localhost",):
        home.visit(client, server, name)
    home.close()


def resumes_from(
    store: MemoryStore | EncryptedStore,
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    name: str = "localhost",
) -> bool:
    """Whether the first connection of another process resumes."""
    home = Home(store)
    done = home.visit(client, server, name)
    assert done.reused or not_offered(done)
    home.close()
    return done.reused


class TestMoved:
    def test_an_entry_under_another_peer_s_key(
        self, store: MemoryStore, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        filled(store, client, server, "a.example", "b.example")
        keys = {_peers.parse_key(entry.key).peer.host: entry.key for entry in entries(store)}
        other = {keys["a.example"]: keys["b.example"], keys["b.example"]: keys["a.example"]}
        swapped = [entry._replace(key=other[entry.key]) for entry in entries(store)]
        moved = copied(store)
        refill(moved, swapped)
        for name in ("a.example", "b.example"):
            assert not resumes_from(moved, client, server, name)
        assert {type(error) for error in unraisables.errors} == {InvalidSession}
        assert "another peer" in str(unraisables.errors[0])
        assert all(resumes_from(store, client, server, name) for name in ("a.example", "b.example"))

    def test_with_the_key_s_digest_put_right(
        self, ca: Authority, store: MemoryStore, server: ssl.SSLContext, tls_version: str
    ) -> None:
        """An attacker can do that where nothing is sealed: the session itself is for another name."""
        for verify in (True, False):
            client = client_context(ca, version=tls_version, verify=verify)
            store.clear()
            filled(store, client, server, "a.example")
            forged = MemoryStore()
            for key, value, expires_at in entries(store):
                key_there = key.replace(b"a.example", b"b.example")
                envelope = _peers.unpack(key, value)
                forged.add(key_there, _peers.pack(key_there, envelope), expires_at=expires_at, keep=8)
            assert not resumes_from(forged, client, server, "b.example")
            assert resumes_from(store, client, server, "a.example")

    @pytest.mark.parametrize("made_of", ["1.2", "1.3"])
    def test_a_session_of_another_version_than_its_key_says(
        self, ca: Authority, server: ssl.SSLContext, unraisables: Unraisables, made_of: str
    ) -> None:
        """A TLS 1.3 ticket under the key of a TLS 1.2 session could be peeked at again and again."""
        store, client = MemoryStore(), client_context(ca)
        making = client_context(ca)
        making.maximum_version = ssl.TLSVersion.TLSv1_3
        if made_of == "1.2":
            server.maximum_version = ssl.TLSVersion.TLSv1_2
        filled(store, making, server)
        swapped = MemoryStore()
        for key, value, expires_at in entries(store):
            kinds = (b"/tickets/", b"/session/")
            there = key.replace(*(kinds if made_of == "1.3" else kinds[::-1]))
            assert there != key
            repacked = _peers.pack(there, _peers.unpack(key, value))
            swapped.add(there, repacked, expires_at=expires_at, keep=8)
        assert not resumes_from(swapped, client, server)
        assert "another version" in str(unraisables.errors[0])
        assert resumes_from(store, client, server)


class TestAltered:
    def test_a_flipped_bit_in_an_encrypted_entry(
        self, store: MemoryStore, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        sealed = EncryptedStore(store, SECRET)
        filled(sealed, client, server)
        originals = entries(store)
        size = min(len(entry.value) for entry in originals)
        for at in (0, 5, 10, 20, 30, size // 2, size - 1):
            for bit in (0, 7):
                changed = [entry._replace(value=flipped(entry.value, at, bit)) for entry in originals]
                refill(store, changed)
                home = Home(sealed)
                assert not_offered(home.visit(client, server)), f"bit {bit} of byte {at}"
                assert home.cache.stats()["store_errors"] >= 1
                home.close()
        assert {type(error) for error in unraisables.errors} == {StoreError}
        refill(store, originals)
        assert resumes_from(sealed, client, server)

    def test_a_flipped_bit_in_a_plain_entry(
        self, store: MemoryStore, client: ssl.SSLContext, server: ssl.SSLContext, unraisables: Unraisables
    ) -> None:
        """A checksum keeps accidents away; whoever means it needs a secret to be stopped."""
        filled(store, client, server)
        originals = entries(store)
        size = min(len(entry.value) for entry in originals)
        for at in range(0, size, 37):
            refill(store, [entry._replace(value=flipped(entry.value, at, at % 8)) for entry in originals])
            assert not resumes_from(store, client, server), f"byte {at}"
        assert {type(error) for error in unraisables.errors} == {InvalidSession}
        refill(store, originals)
        assert resumes_from(store, client, server)

    @pytest.mark.parametrize(
        "value", [b"", b"S", b"SSE1", b"SSE1" + bytes(32), bytes(1000), b"SSE2" + bytes(99)]
    )
    def test_what_is_no_session(
        self,
        store: MemoryStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        unraisables: Unraisables,
        value: bytes,
    ) -> None:
        filled(store, client, server)
        refill(store, [entry._replace(value=value) for entry in entries(store)])
        assert not resumes_from(store, client, server)
        assert [type(error) for error in unraisables.errors] == [InvalidSession]
        store.clear()
        filled(store, client, server)
        assert resumes_from(store, client, server)


def flipped(value: bytes, at: int, bit: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]
