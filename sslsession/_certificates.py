"""Certificates as DER bytes, out of OpenSSL's stacks and back into them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sslsession._libssl import ffi, lib
from sslsession.errors import InvalidSession

READABLE_NAME = 0x01110313
"""``XN_FLAG_RFC2253`` without the escaping of UTF-8: ``CN=...,O=...`` as RFC 4514 orders it."""


def der(certificate: Any) -> bytes:
    """The DER of an ``X509 *``."""
    return encoded(lib.i2d_X509, certificate)


def encoded(i2d: Any, value: Any) -> bytes:
    """What one of OpenSSL's ``i2d`` functions writes of ``value``."""
    length = i2d(value, ffi.NULL)
    if length <= 0:
        return b""
    buffer = ffi.new("unsigned char[]", length)
    i2d(value, ffi.new("unsigned char **", buffer))
    return bytes(ffi.buffer(buffer))


def ders(stack: Any) -> tuple[bytes, ...]:
    """Each certificate of a ``STACK_OF(X509) *``, in its order; NULL is empty."""
    if stack == ffi.NULL:
        return ()
    return tuple(
        der(ffi.cast("X509 *", lib.OPENSSL_sk_value(stack, index)))
        for index in range(lib.OPENSSL_sk_num(stack))
    )


def parse(data: bytes) -> Any:
    """An ``X509 *`` of its own from DER. Errors: :class:`InvalidSession`."""
    buffer = ffi.from_buffer(data)
    position = ffi.new("unsigned char **", ffi.cast("unsigned char *", buffer))
    certificate = lib.d2i_X509(ffi.NULL, position, len(data))
    if certificate == ffi.NULL:
        lib.ERR_clear_error()
        raise InvalidSession("the session's certificate chain holds a certificate that is not valid DER")
    return ffi.gc(certificate, lib.X509_free)


def stack(certificates: Iterable[bytes]) -> Any:
    """A ``STACK_OF(X509) *`` of its own."""
    made = ffi.gc(lib.OPENSSL_sk_new_null(), lib.sslsession_chain_free)
    for data in certificates:
        certificate = parse(data)
        lib.X509_up_ref(certificate)
        if not lib.OPENSSL_sk_push(made, certificate):
            lib.X509_free(certificate)
            raise MemoryError
    return made


def name(pointer: Any) -> str:
    """An ``X509_NAME *`` as RFC 4514 writes it."""
    memory = ffi.gc(lib.BIO_new(lib.BIO_s_mem()), lib.BIO_free)
    length = lib.X509_NAME_print_ex(memory, pointer, 0, READABLE_NAME)
    buffer = ffi.new("char[]", max(length, 0) + 1)
    lib.BIO_read(memory, buffer, max(length, 0))
    return str(ffi.string(buffer).decode(errors="replace"))


def subject(certificate: Any) -> str:
    """The subject's name of an ``X509 *``."""
    return name(lib.X509_get_subject_name(certificate))


def issuer(certificate: Any) -> str:
    """The issuer's name of an ``X509 *``."""
    return name(lib.X509_get_issuer_name(certificate))


def is_self_signed(certificate: Any) -> bool:
    """Whether the certificate names itself as its issuer (X509_check_issued)."""
    return bool(lib.X509_check_issued(certificate, certificate) == 0)


def public_key(certificate: Any) -> bytes:
    """The DER SubjectPublicKeyInfo of an ``X509 *`` (RFC 5280 4.1.2.7)."""
    return encoded(lib.i2d_X509_PUBKEY, lib.X509_get_X509_PUBKEY(certificate))
