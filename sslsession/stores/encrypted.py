"""Values sealed before another store sees them, under names that say nothing.

Who can write to a store could plant a session whose master secret he knows and stand in the middle, and who can read
it could decrypt connections. Sealed, the most that he can do is to remove values, or to put back an old one.

A sealed value is, its head being in the clear and authenticated along with the name that it is kept under:

    version  1 byte, 1
    key id   8 bytes, which secret
    expiry   8 bytes, seconds since the epoch as a big-endian double
    nonce   12 bytes, random
    AES-256-GCM of: length of the key, 4 bytes big-endian; the key; the value
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Union

from sslsession.errors import StoreError
from sslsession.stores.base import Entry, Key, Store, as_key, checked

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as _error:
    raise ImportError(
        "an encrypted store needs cryptography: pip install 'sslsession[crypto]'", name=_error.name
    ) from _error

MIN_SECRET = 32
MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
VERSION = 1

Secret = Union[str, bytes]
Secrets = Union[Secret, Sequence[Secret]]

_HEAD = struct.Struct(">B8sd")
_LENGTH = struct.Struct(">I")
_NONCE = 12
_SHORTEST = _HEAD.size + _NONCE + _LENGTH.size + 16


class EncryptedStore(Store):
    """What `store` keeps, sealed with AES-256-GCM and under names that are HMAC-SHA-256 of the keys.

    A value that was altered, moved to another name or given another expiry is StoreError; so is one in `entries` that
    was sealed with a secret that is not given. `take` and `peek` find nothing under names of another secret.
    What this cannot see is a value that was taken and put back later: where that matters (0-RTT), the store itself
    must be one that nobody else can write to.

    The nonces are random, so that one secret may seal 2**32 values (NIST SP 800-38D, section 8.3): at a hundred in a
    second, more than a year. Needs the extra `crypto`.
    """

    sealed = True
    is_remote = False

    def __init__(self, store: Store, secret: Secrets, *, clock: Callable[[], float] = time.time) -> None:
        """`secret`: at least 32 bytes of random material, which
        `python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes; or several: the first seals, all open.
        To rotate secrets, put the new one first everywhere, and drop the old one when what it sealed has expired.
        """
        if not isinstance(store, Store):
            raise TypeError(f"EncryptedStore seals what a Store keeps, not {type(store).__name__}")
        several = [secret] if isinstance(secret, (str, bytes)) else list(secret)
        if not several:
            raise ValueError(f"no secret was given; {MAKE_ONE}")
        self.timeout = store.timeout
        self._store = store
        self._seals = [_Seal(each) for each in several]
        self._clock = clock

    def __repr__(self) -> str:
        return f"<EncryptedStore over {self._store!r}>"

    def add(self, key: Key, value: bytes, *, expires_at: float, keep: int = 1) -> None:
        """See `Store.add`; what older secrets sealed under `key` goes."""
        key = checked(key, value, expires_at, keep)
        first, *others = self._seals
        self._store.add(first.name(key), first.seal(key, value, expires_at), expires_at=expires_at, keep=keep)
        for other in others:
            self._store.discard(other.name(key))

    def peek(self, key: Key) -> bytes | None:
        """See `Store.peek`."""
        key = as_key(key)
        for seal in self._seals:
            name = seal.name(key)
            sealed = self._store.peek(name)
            if sealed is not None:
                entry = seal.open(name, sealed)
                if entry.expires_at > self._clock():
                    return entry.value
        return None

    def take(self, key: Key) -> bytes | None:
        """See `Store.take`; exactly once as far as the store that it is in keeps that."""
        key = as_key(key)
        for seal in self._seals:
            name = seal.name(key)
            while (sealed := self._store.take(name)) is not None:
                entry = seal.open(name, sealed)
                if entry.expires_at > self._clock():
                    return entry.value
        return None

    def discard(self, key: Key) -> None:
        """See `Store.discard`."""
        key = as_key(key)
        for seal in self._seals:
            self._store.discard(seal.name(key))

    def purge(self, now: float | None = None) -> int:
        """See `Store.purge`; values of other secrets too."""
        return self._store.purge(now)

    def clear(self) -> None:
        """See `Store.clear`; values of other secrets too."""
        self._store.clear()

    def entries(self) -> Iterator[Entry]:
        """See `Store.entries`; StoreError at the first that was altered, or sealed with another secret."""
        seals = {seal.key_id: seal for seal in self._seals}
        for name, sealed, _ in self._store.entries():
            entry = seals.get(sealed[1:9], self._seals[0]).open(name, sealed)
            if entry.expires_at > self._clock():
                yield entry

    def close(self) -> None:
        """Close the store that it is in."""
        self._store.close()


class _Seal:
    """The keys made of one secret (HKDF, RFC 5869), and what is done with them."""

    def __init__(self, secret: Secret) -> None:
        if not isinstance(secret, (str, bytes)):
            raise TypeError(f"a secret is str or bytes, not {type(secret).__name__}")
        material = secret.encode() if isinstance(secret, str) else secret
        if len(material) < MIN_SECRET:
            raise ValueError(
                f"a secret must have at least {MIN_SECRET} bytes, not {len(material)}; {MAKE_ONE}"
            )
        # A copy of these is cheaper than an HMAC that is made anew.
        name_key = _derived(material, b"names", 64)
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in name_key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in name_key))
        self.key_id = _derived(material, b"key id", 8)
        self._cipher = AESGCM(_derived(material, b"values", 32))

    def name(self, key: bytes) -> bytes:
        """What `key` is called in the store: 32 bytes, its HMAC-SHA-256 (RFC 2104)."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(key)
        outer.update(inner.digest())
        return outer.digest()

    def seal(self, key: bytes, value: bytes, expires_at: float) -> bytes:
        """What the store gets."""
        head = _HEAD.pack(VERSION, self.key_id, expires_at)
        nonce = os.urandom(_NONCE)
        inside = _LENGTH.pack(len(key)) + key + value
        return head + nonce + self._cipher.encrypt(nonce, inside, head + self.name(key))

    def open(self, name: bytes, sealed: bytes) -> Entry:
        """What `seal` was given, `sealed` being what the store has under `name`."""
        if len(sealed) < _SHORTEST:
            raise StoreError(
                "a value in the store is not a sealed one: damaged, or added without a secret; clear it"
            )
        version, key_id, expires_at = _HEAD.unpack_from(sealed)
        if version != VERSION:
            raise StoreError(
                f"a value in the store is of version {version}, and this sslsession opens version {VERSION} alone:"
                " of another version, damaged, or added without a secret; clear the store"
            )
        if key_id != self.key_id:
            raise StoreError(
                f"a value in the store was made with another secret (key id {key_id.hex()}); give that one too,"
                " after the first, or clear the store"
            )
        head, nonce = sealed[: _HEAD.size], sealed[_HEAD.size : _HEAD.size + _NONCE]
        try:
            inside = self._cipher.decrypt(nonce, sealed[_HEAD.size + _NONCE :], head + name)
        except InvalidTag:
            raise StoreError(
                "a value in the store was damaged or moved, and is not used; find out who else writes to the store"
            ) from None
        end = _LENGTH.size + _LENGTH.unpack_from(inside)[0]
        return Entry(inside[_LENGTH.size : end], inside[end:], expires_at)


def _derived(material: bytes, purpose: bytes, length: int) -> bytes:
    salt = b"sslsession store, version 1"
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=purpose).derive(material)
