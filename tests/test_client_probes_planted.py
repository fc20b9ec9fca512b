"""An attacker who may write to the store plants a session whose secrets he knows: facts 39, 40, 56 and 61.

In each case the honest twin, the same store without him, does resume.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity
from helpers.clients import Home, entries, not_offered, planted, refill, visit
from helpers.openssl_calls import Unraisables
from helpers.peers import client_context, server_context
from helpers.sessions import take, with_facts
from sslsession import ClientSessionCache, Session, StoreError, _peers
from sslsession.stores import EncryptedStore, Entry, MemoryStore, SQLiteStore

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


class TestPlanted:
    """The attacker has a server of his own, and may write to the store."""

    @pytest.fixture
    def impostor(self, other_ca: Authority) -> ssl.SSLContext:
        return server_context(other_ca.issue("localhost"))

    @pytest.fixture
    def his(self, ca: Authority, impostor: ssl.SSLContext, tls_version: str) -> Session:
        """A session that he knows the secrets of."""
        return take(client_context(ca, version=tls_version, verify=False), impostor)

    @pytest.fixture
    def his_with_their_chain(self, his: Session, server_identity: Identity) -> Session:
        """The same beside the public chain of the server whose part he wants to play."""
        return planted(his, server_identity)

    def plant(self, session: Session, keys: list[bytes], expires_at: float) -> list[Entry]:
        return [Entry(key, _peers.pack(key, session.to_bytes()), expires_at) for key in keys]

    @pytest.fixture
    def keys(self, client: ssl.SSLContext, server: ssl.SSLContext) -> list[bytes]:
        """Where the victim looks: no secret, and anybody can know."""
        store = MemoryStore()
        filled(store, client, server)
        return list(dict.fromkeys(entry.key for entry in entries(store)))

    def test_with_his_own_chain(
        self,
        store: MemoryStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        impostor: ssl.SSLContext,
        his: Session,
        keys: list[bytes],
    ) -> None:
        """It is verified again, and his authority is not trusted."""
        refill(store, self.plant(his, keys, his.expires_at))
        with pytest.raises(ssl.SSLCertVerificationError):
            resumes_from(store, client, impostor)
        refill(store, self.plant(his, keys, his.expires_at))
        assert not resumes_from(store, client, server)
        assert resumes_from(store, client, server)

    def test_whatever_the_session_says_of_its_verification(
        self,
        store: MemoryStore,
        client: ssl.SSLContext,
        impostor: ssl.SSLContext,
        his: Session,
        keys: list[bytes],
    ) -> None:
        """Facts 40 and 56: nothing that comes out of a store is believed."""
        lies = with_facts(his, verified=True, verify_result=0, server_name="localhost")
        refill(store, self.plant(lies, keys, his.expires_at))
        with pytest.raises(ssl.SSLCertVerificationError):
            resumes_from(store, client, impostor)

    def test_without_any_certificate(
        self,
        store: MemoryStore,
        client: ssl.SSLContext,
        impostor: ssl.SSLContext,
        his: Session,
        keys: list[bytes],
    ) -> None:
        bare = planted(his, None)
        assert bare.peer_certificate_chain == []
        refill(store, self.plant(bare, keys, his.expires_at))
        with pytest.raises(ssl.SSLCertVerificationError):
            resumes_from(store, client, impostor)

    def test_fact_61_with_the_chain_of_the_server_he_plays(
        self,
        store: MemoryStore,
        client: ssl.SSLContext,
        impostor: ssl.SSLContext,
        his_with_their_chain: Session,
        keys: list[bytes],
    ) -> None:
        """Verifying again does not help there: a store that others can write to needs a secret."""
        refill(store, self.plant(his_with_their_chain, keys, his_with_their_chain.expires_at))
        assert resumes_from(store, client, impostor), "the danger"
        for secret in (None, OTHER_SECRET):
            refill(store, [])
            into = store if secret is None else EncryptedStore(store, secret)
            refill(into, self.plant(his_with_their_chain, keys, his_with_their_chain.expires_at))
            with pytest.raises(ssl.SSLCertVerificationError):
                resumes_from(EncryptedStore(store, SECRET), client, impostor)

    def test_in_place_of_what_a_secret_sealed(
        self,
        store: MemoryStore,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        impostor: ssl.SSLContext,
        his_with_their_chain: Session,
        keys: list[bytes],
        unraisables: Unraisables,
    ) -> None:
        """He sees the names of the entries, and can overwrite them: with his own in the clear, or sealed by himself."""
        sealed = EncryptedStore(store, SECRET)
        filled(sealed, client, server)
        names = entries(store)
        clear = self.plant(his_with_their_chain, keys, his_with_their_chain.expires_at)[0].value
        own = MemoryStore()
        EncryptedStore(own, OTHER_SECRET).add(keys[0], clear, expires_at=his_with_their_chain.expires_at)
        for value in (clear, entries(own)[0].value):
            refill(store, [entry._replace(value=value) for entry in names])
            with pytest.raises(ssl.SSLCertVerificationError):
                resumes_from(sealed, client, impostor)
        assert {type(error) for error in unraisables.errors} == {StoreError}
        refill(store, names)
        assert resumes_from(sealed, client, server)

    @pytest.mark.skipif(os.name != "posix", reason="file modes mean nothing here")
    @pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
    def test_a_file_that_others_may_read_or_write(
        self, client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path, mode: int
    ) -> None:
        path = tmp_path / "private" / "sessions.db"
        url = f"sqlite://{path}"
        with ClientSessionCache(url) as cache:
            cache.attach(client)
            visit(client, server)
        path.chmod(mode)
        with pytest.raises(StoreError, match="chmod 600"):
            ClientSessionCache(url)
        path.chmod(0o600)
        assert self.resumes_from_file(url, client, server)

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
    def test_a_file_of_another_user(
        self, client: ssl.SSLContext, server: ssl.SSLContext, tmp_path: Path
    ) -> None:
        path = tmp_path / "private" / "sessions.db"
        url = f"sqlite://{path}"
        with ClientSessionCache(url) as cache:
            cache.attach(client)
            visit(client, server)
        os.chown(path, 12345, -1)
        with pytest.raises(StoreError, match="another user"):
            ClientSessionCache(url)
        os.chown(path, 0, -1)
        assert self.resumes_from_file(url, client, server)

    @pytest.mark.skipif(os.name != "posix", reason="file modes mean nothing here")
    def test_a_directory_that_others_may_write_to(self, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir(mode=0o777)
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(StoreError, match="others can write"):
            ClientSessionCache(SQLiteStore(tmp_path / "open" / "sessions.db"))
        SQLiteStore(tmp_path / "private" / "sessions.db").close()

    @staticmethod
    def resumes_from_file(url: str, client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
        with ClientSessionCache(url) as cache:
            cache.attach(client)
            return visit(client, server).reused
