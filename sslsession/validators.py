"""Validators: what a ``TLSConnection`` asks about its peer's certificate, beside or instead of the authorities.

Any of them is enough, in their order (Sming's ``ValidatorList``). A validator is any callable that takes a
:class:`PeerCertificate` and returns True or False. What it raises, or returns instead, is a no: a coroutine or a number
that happens to be true must not let anybody in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import inspect
from collections.abc import Iterable
from typing import Any, Callable, NamedTuple, Union

from sslsession import _certificates
from sslsession.errors import CertificateRefused

CERTIFICATE_VERIFY_FAILED = 1
Pin = Union[str, bytes]


class PeerCertificate(NamedTuple):
    """What validators look at. The peer proved to have its key, in this handshake or in the one it resumes."""

    der: bytes
    """The leaf certificate (RFC 5280 4.1)."""
    connection: Any = None
    """The ``TLSConnection`` that it came on."""

    @property
    def public_key(self) -> bytes:
        """DER of its SubjectPublicKeyInfo (RFC 5280 4.1.2.7), which stays when a certificate is renewed."""
        return _certificates.public_key(_certificates.parse(self.der))


Validator = Callable[[PeerCertificate], bool]


class _Pinned:
    """One digest or several, of which any will do."""

    algorithm = "sha256"

    def __init__(self, *pins: Pin) -> None:
        if not pins:
            raise ValueError(f"{type(self).__name__} needs a digest: without one it would refuse everybody")
        self.pins = tuple(_digest(pin, self.algorithm) for pin in pins)

    def __call__(self, certificate: PeerCertificate) -> bool:
        found = hashlib.new(self.algorithm, self._pinned(certificate)).digest()
        return any(hmac.compare_digest(found, pin) for pin in self.pins)

    def _pinned(self, certificate: PeerCertificate) -> bytes:
        return certificate.der

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.pins == getattr(other, "pins", None)

    def __hash__(self) -> int:
        return hash((type(self), self.pins))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(pin.hex()) for pin in self.pins)})"


class PinCertificateSHA256(_Pinned):
    """Accepts the certificates of these SHA-256 digests: of the whole DER, so a renewed certificate needs a new pin.

    pins: 32 bytes, or hexadecimal digits with or without colons, as ``openssl x509 -fingerprint -sha256`` prints them.
    Source: Sming's PinCertificateSha256. Errors: ``ValueError``, ``TypeError`` for what is no such digest.
    """


class PinPublicKeySHA256(_Pinned):
    """Accepts the keys of these SHA-256 digests, whichever certificate they are in.

    pins: of the DER SubjectPublicKeyInfo: 32 bytes, hexadecimal digits, or base64 as in ``pin-sha256``, with or without
    ``sha256/`` before it. Source: RFC 7469 2.4; Sming pins the bare key, which other tools cannot compute.
    Errors: as :class:`PinCertificateSHA256`.
    """

    def _pinned(self, certificate: PeerCertificate) -> bytes:
        return certificate.public_key


class PinCertificateSHA1(_Pinned):
    """Accepts the certificates of these SHA-1 digests: 20 bytes, or hexadecimal digits.

    For lists of pins that are there already. Whoever can have a certificate of his making issued may make two of one
    SHA-1 digest, so new pins are better SHA-256. Source: Sming's PinCertificateSha1. Errors: as
    :class:`PinCertificateSHA256`.
    """

    algorithm = "sha1"


def _digest(pin: Pin, algorithm: str) -> bytes:
    size = hashlib.new(algorithm).digest_size
    if isinstance(pin, (bytes, bytearray, memoryview)):
        found = bytes(pin)
    elif isinstance(pin, str):
        found = _parsed(pin.strip(), size)
    else:
        raise TypeError(f"a pin is {size} bytes, hexadecimal digits or base64, not {type(pin).__name__}")
    if len(found) != size:
        raise ValueError(f"a {algorithm.upper()} pin is of {size} bytes, and {pin!r} is none")
    return found


def _parsed(pin: str, size: int) -> bytes:
    digits, start = pin.replace(":", ""), len("sha256/") * pin.startswith("sha256/")
    try:
        if len(digits) == 2 * size:
            return bytes.fromhex(digits)
        return base64.b64decode(pin[start:], validate=True)
    except (ValueError, binascii.Error):
        return b""


def checked(validators: Any) -> list[Validator]:
    """A list of validators out of what a user gives. Errors: ``TypeError``."""
    if callable(validators) or isinstance(validators, (str, bytes)) or not isinstance(validators, Iterable):
        raise TypeError(f"validators is a list of callables, not {type(validators).__name__}")
    found = list(validators)
    for each in found:
        if not callable(each) or isinstance(each, type):
            what = each.__name__ if isinstance(each, type) else type(each).__name__
            raise TypeError(f"a validator is a callable that takes a PeerCertificate, not {what}")
    return found


def require(validators: Iterable[Validator], der: bytes | None, connection: Any) -> None:
    """Raises :class:`CertificateRefused` unless a validator accepts the certificate; the first success ends it."""
    if not der:
        raise _refused("the peer showed no certificate, and this connection has validators that want one")
    certificate, cause, asked = PeerCertificate(der, connection), None, []
    for validator in validators:
        asked.append(getattr(validator, "__name__", None) or type(validator).__name__)
        try:
            answer: Any = validator(certificate)
        except Exception as error:
            cause = error
            continue
        if answer is True:
            return
        if answer is not False:
            cause = TypeError(
                f"{asked[-1]} returned {type(answer).__name__}; a validator returns True or False"
            )
            if inspect.iscoroutine(answer):
                answer.close()  # one that nobody awaits says so as a warning
    found = hashlib.sha256(der).hexdigest()
    raise _refused(
        f"no validator accepted the peer's certificate (SHA-256 {found}); asked: {', '.join(asked)}"
    ) from cause


def _refused(text: str) -> CertificateRefused:
    error = CertificateRefused(CERTIFICATE_VERIFY_FAILED, f"[SSL: CERTIFICATE_VERIFY_FAILED] {text}")
    error.library, error.reason = "SSL", "CERTIFICATE_VERIFY_FAILED"
    error.verify_code, error.verify_message = 50, text  # X509_V_ERR_APPLICATION_VERIFICATION
    return error
