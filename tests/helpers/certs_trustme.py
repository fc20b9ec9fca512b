"""The certificate backend over trustme."""

from __future__ import annotations

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from helpers.certs import LeafRequest


class TrustmeIssuer:
    """A trustme CA; without `ca`, a new root."""

    def __init__(self, ca: trustme.CA | None = None) -> None:
        self._ca = ca or trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.pem = self._ca.cert_pem.bytes().decode()

    def child(self) -> TrustmeIssuer:
        """An intermediate CA below this one."""
        return TrustmeIssuer(self._ca.create_child_ca(key_type=trustme.KeyType.ECDSA))

    def issue(self, request: LeafRequest) -> tuple[str, str]:
        """Private key PEM, and the leaf followed by its intermediates as PEM."""
        key_type = trustme.KeyType.RSA if request.rsa else trustme.KeyType.ECDSA
        issued = self._ca.issue_cert(
            *request.names,
            common_name=request.names[0],
            not_before=request.not_before,
            not_after=request.not_after,
            key_type=key_type,
        )
        leaf, *others = (blob.bytes() for blob in issued.cert_chain_pems)
        if request.client:
            leaf = self._for_clients_only(leaf, request)
        chain = b"".join([leaf, *others])
        return issued.private_key_pem.bytes().decode(), chain.decode()

    def _for_clients_only(self, leaf: bytes, request: LeafRequest) -> bytes:
        """`leaf` signed again, its extended key usage being clientAuth alone."""
        old = x509.load_pem_x509_certificate(leaf)
        builder = x509.CertificateBuilder(
            issuer_name=old.issuer,
            subject_name=old.subject,
            public_key=old.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=request.not_before,
            not_valid_after=request.not_after,
        )
        for extension in old.extensions:
            value = extension.value
            if isinstance(value, x509.ExtendedKeyUsage):
                value = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            builder = builder.add_extension(value, extension.critical)
        key = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
