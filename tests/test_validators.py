"""Validators: pins, callables, and what is neither yes nor no."""

from __future__ import annotations

import base64
import hashlib
import io
import ssl
import warnings

import pytest

from sslsession import (
    CertificateRefused,
    PeerCertificate,
    PinCertificateSHA1,
    PinCertificateSHA256,
    PinPublicKeySHA256,
)
from sslsession.validators import checked, require


@pytest.fixture(scope="module")
def peer(server_identity):
    return PeerCertificate(server_identity.leaf_der)


@pytest.fixture(scope="module")
def spki(server_identity) -> bytes:
    """As another implementation finds it."""
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    x509 = pytest.importorskip("cryptography.x509")
    key = x509.load_der_x509_certificate(server_identity.leaf_der).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def spellings(digest: bytes) -> list[str | bytes]:
    digits = digest.hex()
    colons = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
    return [digest, bytearray(digest), digits, digits.upper(), colons, f" {colons.upper()}\n"]


def test_a_pin_of_the_certificate_sha256(peer):
    for spelling in spellings(hashlib.sha256(peer.der).digest()):
        assert PinCertificateSHA256(spelling)(peer) is True
    assert PinCertificateSHA256(bytes(32))(peer) is False
    assert PinCertificateSHA256(bytes(32), hashlib.sha256(peer.der).digest())(peer) is True


def test_a_pin_of_the_certificate_sha1(peer):
    for spelling in spellings(hashlib.new("sha1", peer.der, usedforsecurity=False).digest()):
        assert PinCertificateSHA1(spelling)(peer) is True
    assert PinCertificateSHA1(bytes(20))(peer) is False


def test_a_pin_of_the_public_key_sha256(peer, spki):
    """RFC 7469 2.4: of the SubjectPublicKeyInfo, in base64."""
    assert peer.public_key == spki
    digest = hashlib.sha256(spki).digest()
    text = base64.b64encode(digest).decode()
    for spelling in (*spellings(digest), text, f"sha256/{text}"):
        assert PinPublicKeySHA256(spelling)(peer) is True
    assert PinPublicKeySHA256(hashlib.sha256(peer.der).digest())(peer) is False


def test_the_public_key_of_another_certificate_of_the_same_key(ca, peer, spki):
    assert PinPublicKeySHA256(hashlib.sha256(spki).digest())(PeerCertificate(ca.der)) is False


@pytest.mark.parametrize("kind", [PinCertificateSHA256, PinPublicKeySHA256, PinCertificateSHA1])
def test_what_is_no_pin(kind):
    with pytest.raises(ValueError, match="needs a digest"):
        kind()
    for wrong in ("", "ab", "zz" * 32, bytes(31), b"", "sha256/", "é" * 64, "=" * 44):
        with pytest.raises(ValueError, match="pin is of"):
            kind(wrong)
    for wrong in (None, 5, [bytes(32)]):
        with pytest.raises(TypeError, match="a pin is"):
            kind(wrong)


def test_pins_are_compared_and_shown_by_value():
    assert PinCertificateSHA256(bytes(32)) == PinCertificateSHA256("00" * 32)
    assert PinCertificateSHA256(bytes(32)) != PinPublicKeySHA256(bytes(32))
    assert len({PinCertificateSHA256(bytes(32)), PinCertificateSHA256("00" * 32)}) == 1
    assert repr(PinCertificateSHA1(bytes(20))) == f"PinCertificateSHA1('{'00' * 20}')"


def test_a_validator_can_be_used_again(peer):
    pin = PinCertificateSHA256(hashlib.sha256(peer.der).digest())
    assert [pin(peer) for _ in range(3)] == [True] * 3


def test_any_of_them_in_order_and_the_first_success_ends_it(peer):
    asked = []

    def judge(name, answer):
        return lambda certificate: asked.append(name) or answer

    require([judge("a", False), judge("b", True), judge("c", True)], peer.der, None)
    assert asked == ["a", "b"]


@pytest.mark.parametrize("answer", [None, 1, "yes", [1], object()])
def test_only_true_is_a_yes(peer, answer):
    with pytest.raises(CertificateRefused) as caught:
        require([lambda certificate: answer], peer.der, None)
    assert "returns True or False" in str(caught.value.__cause__)


def test_a_coroutine_is_no_yes(peer):
    async def judge(certificate):
        return True

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CertificateRefused, match="asked: judge"):
            require([judge], peer.der, None)


def test_what_a_validator_returns_is_left_alone(peer):
    """Such as the database that it asked."""
    returned = io.BytesIO()
    with pytest.raises(CertificateRefused):
        require([lambda certificate: returned], peer.der, None)
    assert not returned.closed


def test_an_exception_is_a_no_and_the_next_is_asked(peer):
    def fails(certificate):
        raise KeyError("list of pins")

    require([fails, lambda certificate: True], peer.der, None)
    with pytest.raises(CertificateRefused) as caught:
        require([fails], peer.der, None)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("missing", [None, b""])
def test_a_missing_certificate_is_refused_unasked(missing):
    with pytest.raises(CertificateRefused, match="showed no certificate"):
        require([lambda certificate: True], missing, None)


def test_a_refusal_is_what_ssl_raises(peer):
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        require([], peer.der, None)
    error = caught.value
    assert error.reason == "CERTIFICATE_VERIFY_FAILED"
    assert error.library == "SSL"
    assert (
        hashlib.sha256(peer.der).hexdigest()
        in str(error)
        == error.verify_message.join(["[SSL: CERTIFICATE_VERIFY_FAILED] ", ""])
    )


def test_a_certificate_that_cannot_be_read_has_no_key():
    with pytest.raises(CertificateRefused) as caught:
        require([PinPublicKeySHA256(bytes(32))], b"no certificate", None)
    assert caught.value.__cause__ is not None


def test_lists_of_validators():
    pin = PinCertificateSHA256(bytes(32))
    assert checked((pin,)) == checked(iter([pin])) == [pin]
    for wrong in (pin, "pin", None, 5):
        with pytest.raises(TypeError, match="list of callables"):
            checked(wrong)
    for wrong in ("pin", None, PinCertificateSHA256):
        with pytest.raises(TypeError, match="takes a PeerCertificate"):
            checked([wrong])
