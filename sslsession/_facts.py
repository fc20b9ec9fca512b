"""The facts that only a live connection knows and OpenSSL's DER drops, decoded from what C captured."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple

from sslsession import _certificates, registry
from sslsession._libssl import ffi, lib
from sslsession.policy import Policy, from_native

TLS1_3 = 0x0304
KEY_TYPES = {"rsaEncryption": "RSA", "rsassaPss": "RSA-PSS", "id-ecPublicKey": "EC", "dsaEncryption": "DSA"}


class Facts(NamedTuple):
    """What the connection knew when the session was taken; chains are DER, leaf first."""

    policy: Policy
    verified: bool
    """Whether its handshake was verified; to be told, never to be trusted: out of an envelope it proves nothing."""
    verify_result: int
    curve: int | None
    extended_master_secret: bool | None
    encrypt_then_mac: bool | None
    point_format: int
    private_key: tuple[str, int] | None
    groups: tuple[int, ...]
    signature_schemes: tuple[int, ...]
    alpn: str | None
    server_name: str | None
    own_chain: tuple[bytes, ...]
    peer_chain: tuple[bytes, ...]
    verified_chain: tuple[bytes, ...]


def decode(native: Any, server_name: str | None, version: int) -> Facts:
    """The facts of an ``sslsession_facts``; server_name: what the client's socket was wrapped with."""
    alpn = bytes(ffi.buffer(native.alpn, native.alpn_length)).decode(errors="replace") or None
    if server_name is None and native.has_servername:
        server_name = ffi.string(native.servername).decode(errors="replace")
    extended = native.extended_master_secret
    tls13 = version >= TLS1_3
    return Facts(
        policy=from_native(native.policy).named(server_name, alpn),
        verified=bool(native.verified),
        verify_result=native.verify_result,
        curve=registry.group_of_openssl(native.curve) or None,
        extended_master_secret=True if tls13 else None if extended < 0 else bool(extended),
        encrypt_then_mac=None if native.encrypt_then_mac < 0 else bool(native.encrypt_then_mac),
        point_format=native.point_format,
        private_key=_private_key(native),
        groups=tuple(registry.group_of_openssl(number) for number in native.groups[0 : native.groups_count]),
        signature_schemes=tuple(native.sigalgs[0 : native.sigalgs_count]),
        alpn=alpn,
        server_name=server_name,
        own_chain=_chain(native.own, native.own_chain),
        peer_chain=_chain(native.peer, native.peer_chain),
        verified_chain=_certificates.ders(native.verified_chain),
    )


def _private_key(native: Any) -> tuple[str, int] | None:
    if not native.key_type:
        return None
    name = ffi.string(lib.OBJ_nid2sn(native.key_type)).decode()
    return KEY_TYPES.get(name, name), native.key_bits


def _chain(leaf: Any, chain: Any) -> tuple[bytes, ...]:
    """A chain with its leaf first: OpenSSL's chains leave it out on servers, and hold it on clients."""
    certificates = _certificates.ders(chain)
    if leaf == ffi.NULL:
        return certificates
    first = _certificates.der(leaf)
    return certificates if certificates[:1] == (first,) else (first, *certificates)


def to_plain(facts: Facts) -> dict[str, Any]:
    """The facts as plain values, for the envelope."""
    policy = facts.policy._asdict()
    return {**facts._asdict(), "policy": {**policy, "verify_mode": int(facts.policy.verify_mode)}}


def from_plain(plain: Any) -> Facts:
    """The facts out of an envelope. Errors: ``ValueError`` where a value is missing or of another type."""
    values = _checked(plain, FACT_KINDS)
    policy = _checked(values["policy"], POLICY_KINDS)
    policy["verify_mode"] = ssl.VerifyMode(policy["verify_mode"])
    return Facts(**{**values, "policy": Policy(**policy)})


NONE = type(None)
NUMBER, TEXT, FLAG = (int,), (str, NONE), (bool, NONE)
POLICY_KINDS: dict[str, tuple[type, ...]] = {
    "server": (bool,),
    "verify_mode": NUMBER,
    "verify_flags": NUMBER,
    "check_hostname": FLAG,
    "host_flags": NUMBER,
    "depth": NUMBER,
    "security_level": NUMBER,
    "minimum_version": NUMBER,
    "maximum_version": NUMBER,
    "options": NUMBER,
    "ciphers": (bytes,),
    "certificate": (bytes, NONE),
    "unseen": NUMBER,
    "server_name": TEXT,
    "alpn": TEXT,
}
WIDE = ("verify_flags", "host_flags", "options", "unseen")
LISTS: dict[str, type] = {
    "groups": int,
    "signature_schemes": int,
    "own_chain": bytes,
    "peer_chain": bytes,
    "verified_chain": bytes,
}
FACT_KINDS: dict[str, tuple[type, ...]] = {
    "policy": (dict,),
    "verified": (bool,),
    "verify_result": NUMBER,
    "curve": (int, NONE),
    "extended_master_secret": FLAG,
    "encrypt_then_mac": FLAG,
    "point_format": NUMBER,
    "private_key": (tuple, NONE),
    "alpn": TEXT,
    "server_name": TEXT,
    **dict.fromkeys(LISTS, (tuple,)),
}


def _checked(plain: Any, kinds: dict[str, tuple[type, ...]]) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise ValueError("no dictionary")
    for name, allowed in kinds.items():
        if type(plain.get(name, ...)) not in allowed:
            raise ValueError(f"{name} is missing or of another type")
        if type(plain[name]) is int and not -(2**31) <= plain[name] < (2**64 if name in WIDE else 2**31):
            raise ValueError(f"{name} is no number that OpenSSL could have given")
        if name in LISTS and not all(type(item) is LISTS[name] for item in plain[name]):
            raise ValueError(f"{name} holds a value of another type")
    key = plain.get("private_key")
    if key is not None and [type(part) for part in key] != [str, int]:
        raise ValueError("private_key is no pair of a type and bits")
    return {name: plain[name] for name in kinds}
