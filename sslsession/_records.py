"""The records among a session's fields."""

from __future__ import annotations

from typing import Any, NamedTuple

from sslsession._libssl import ffi, lib


class CertData(NamedTuple):
    """What is known of the peer's certificate, and of its verification."""

    verified: bool
    """Whether its chain and name were verified under a policy that asks for it, by this session's first handshake."""
    verify_result: int
    """``X509_V_*`` (SSL_get_verify_result)."""
    error: str | None
    """The result in words; None for 0."""
    self_signed: bool
    subject: str
    """RFC 4514."""
    issuer: str
    chain: list[bytes]
    """The verified chain as DER, leaf and root included; empty where the handshake was resumed."""


class PrivateKeyInfo(NamedTuple):
    """That this side has a private key, and its kind; never its bytes."""

    type: str
    bits: int


class CipherSpec(NamedTuple):
    """A cipher suite, as OpenSSL's ``SSL_CIPHER_*`` functions tell it."""

    id: int
    """IANA number."""
    name: str
    """OpenSSL's name."""
    standard_name: str
    """IANA's name."""
    protocol: str
    """The oldest protocol that has it."""
    bits: int
    """Secret bits of the cipher."""
    aead: bool
    cipher: str | None
    digest: str | None
    """Of the MAC; None for AEAD suites."""
    key_exchange: str | None
    authentication: str | None
    handshake_digest: str | None


def cipher_spec(pointer: Any) -> CipherSpec:
    """The record of an ``SSL_CIPHER *``."""
    digest = lib.SSL_CIPHER_get_handshake_digest(pointer)
    return CipherSpec(
        id=lib.SSL_CIPHER_get_protocol_id(pointer),
        name=_text(lib.SSL_CIPHER_get_name(pointer)),
        standard_name=_text(lib.SSL_CIPHER_standard_name(pointer)),
        protocol=_text(lib.SSL_CIPHER_get_version(pointer)),
        bits=lib.SSL_CIPHER_get_bits(pointer, ffi.NULL),
        aead=bool(lib.SSL_CIPHER_is_aead(pointer)),
        cipher=_short_name(lib.SSL_CIPHER_get_cipher_nid(pointer)),
        digest=_short_name(lib.SSL_CIPHER_get_digest_nid(pointer)),
        key_exchange=_short_name(lib.SSL_CIPHER_get_kx_nid(pointer)),
        authentication=_short_name(lib.SSL_CIPHER_get_auth_nid(pointer)),
        handshake_digest=_short_name(lib.EVP_MD_get_type(digest)) if digest != ffi.NULL else None,
    )


def _text(pointer: Any) -> str:
    return ffi.string(pointer).decode() if pointer != ffi.NULL else ""


def _short_name(nid: int) -> str | None:
    return _text(lib.OBJ_nid2sn(nid)) if nid else None
