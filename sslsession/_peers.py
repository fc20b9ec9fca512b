"""Whom a session is for: the key under which a client keeps it, near and in a store, and what it looks like there.

A key is the host name that was verified, or the address where there is no name; the port where it is known; the policy
of the handshake; and the partition. Over a memory BIO (asyncio) no port is known: such connections have keys of their
own, without one. In a store a value begins with its key's digest, so that an entry under another's key is noticed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
from typing import Any, NamedTuple

from sslsession import _borrow
from sslsession._libssl import ffi
from sslsession.errors import InvalidSession
from sslsession.policy import from_native
from sslsession.session import Session

PREFIX = "client/1"
TICKETS, SESSION = "tickets", "session"
ADDRESS = "@"
"""What the host of a peer without a name begins with: its address follows."""
MAGIC = b"SSE1"
DIGEST_SIZE = 32
PORTABLE = ffi.offsetof("sslsession_policy", "server")
"""Where in a policy the fields begin that mean the same in every process."""
PORTABLE_SIZE = ffi.sizeof("sslsession_policy") - PORTABLE
ANY_POLICY = bytes(PORTABLE_SIZE)
"""In the place of a policy, for what a user added: no connection has it."""


class Peer(NamedTuple):
    """The other end, as far as it is known; the port "" where it is not."""

    host: str
    port: str


class StoredKey(NamedTuple):
    """What the key of a store's entry tells."""

    kind: str
    peer: Peer
    partition: str
    policy: str


def peer_of(borrowed: _borrow.Borrowed) -> Peer | None:
    """The peer of a client's connection; None where nothing tells it from others."""
    # The name that OpenSSL was given: the owner's own attribute of that name is anybody's to change.
    name, owner = getattr(borrowed.keeper, "server_hostname", None), borrowed.owner
    if name is not None and (not name or name[0] == ADDRESS):
        return None
    if not isinstance(owner, ssl.SSLSocket):
        return Peer(name.lower(), "") if name else None
    try:
        address = owner.getpeername()
    except OSError:
        return None  # a port that cannot be told just now is not the same as one that is never known
    if isinstance(address, tuple):
        return Peer(name.lower() if name else f"{ADDRESS}{address[0]}", str(address[1]))
    path = f"unix:{hashlib.sha256(os.fsencode(address)).hexdigest()[:32]}" if address else ""
    if name:
        return Peer(name.lower(), path)
    return Peer(f"{ADDRESS}{path}", "") if path else None


def named_peer(host: str, port: int | None) -> Peer:
    """The peer that a user names. Errors: ``TypeError``, ``ValueError``."""
    if not isinstance(host, str):
        raise TypeError(f"host must be text, not {type(host).__name__}")
    if not host or host[0] in (ADDRESS, "."):
        raise ValueError(f"{host!r} is no host: give the name that connections use as server_hostname")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
        raise TypeError(f"port must be a number or None, not {type(port).__name__}")
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"there is no port {port}")
    name = host if host.isascii() else host.encode("idna").decode()  # as ssl does
    return Peer(name.lower(), "" if port is None else str(port))


def near_key(native: Any, peer: Peer) -> bytes:
    """The key of a session in this process, as ``peers.c`` makes it; native: an ``sslsession_policy *``, or None."""
    policy = ANY_POLICY if native is None else bytes(ffi.buffer(native)[PORTABLE:])
    return b"%b%b\0%b\0" % (policy, peer.host.encode(), peer.port.encode())


def peer_in(key: bytes) -> Peer:
    """The peer of such a key."""
    host, port, _ = key[PORTABLE_SIZE:].decode(errors="replace").split("\0")
    return Peer(host, port)


def name_of(peer: Peer) -> str | None:
    """The host name that connections to the peer have; None where they have none."""
    return None if peer.host.startswith(ADDRESS) else peer.host


def policy_digest(native: Any) -> str:
    """The same for a store's keys."""
    return from_native(native).digest


def session_policy_digest(session: Session) -> str | None:
    """The same, of the handshake that made a session; None where DER or PEM did not keep it."""
    policy = session.policy
    return None if policy is None else policy.named(None, None).digest


def partition_digest(partition: str) -> str:
    """A partition as a store sees it."""
    return hashlib.sha256(partition.encode()).hexdigest()[:32] if partition else ""


def stored_key(key: StoredKey) -> bytes:
    """The key of a store's entry."""
    host, port = (part.replace("%", "%25").replace("/", "%2F") for part in key.peer)
    return "/".join((PREFIX, key.kind, host, port, key.partition, key.policy)).encode()


def parse_key(key: bytes) -> StoredKey | None:
    """The parts of such a key; None for what is none."""
    prefix = f"{PREFIX}/".encode()
    parts = key[len(prefix) :].decode(errors="replace").split("/") if key.startswith(prefix) else []
    if len(parts) != 5 or parts[0] not in (TICKETS, SESSION):
        return None
    host, port = (part.replace("%2F", "/").replace("%25", "%") for part in parts[1:3])
    return StoredKey(parts[0], Peer(host, port), parts[3], parts[4])


def pack(key: bytes, envelope: bytes) -> bytes:
    """The value of a store's entry."""
    return MAGIC + hashlib.sha256(key).digest() + envelope


def unpack(key: bytes, value: bytes) -> bytes:
    """The session's envelope. Errors: :class:`InvalidSession` for another key's value, or what is none of ours."""
    if value[: len(MAGIC)] != MAGIC:
        raise InvalidSession("the store's entry is no session of this version of sslsession")
    digest, envelope = value[len(MAGIC) :][:DIGEST_SIZE], value[len(MAGIC) + DIGEST_SIZE :]
    if not hmac.compare_digest(digest, hashlib.sha256(key).digest()):
        raise InvalidSession("the store's entry was made for another peer: it was moved or is damaged")
    return envelope
