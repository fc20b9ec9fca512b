"""An authority that ends before the certificates it issued; pytest skips who imports this without `cryptography`."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest

from helpers.certs import Identity

x509 = pytest.importorskip("cryptography.x509", reason="makes the certificates")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402


class BriefAuthority:
    """A root that ends at a time, and `client`, whom it issued a certificate that lasts for a year."""

    def __init__(self, directory: Path, ends: datetime.datetime) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = self._certificate("brief", key, "brief", key, ends, ca=True)
        year = ends + datetime.timedelta(days=365)
        leaf = self._certificate("client.example", leaf_key, "brief", key, year, ca=False)
        self.pem = root.public_bytes(serialization.Encoding.PEM).decode()
        certificate, key_path = directory / "leaf.pem", directory / "leaf.key"
        certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(
            leaf_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        der = leaf.public_bytes(serialization.Encoding.DER)
        self.client = Identity(("client.example",), certificate, key_path, (der,))

    @staticmethod
    def _certificate(
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        issuer_key: ec.EllipticCurvePrivateKey,
        ends: datetime.datetime,
        *,
        ca: bool,
    ) -> x509.Certificate:
        begins = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begins).not_valid_after(ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return builder.sign(issuer_key, hashes.SHA256())

    def trust(self, context: ssl.SSLContext) -> None:
        """Make `context` accept what this authority issued."""
        context.load_verify_locations(cadata=self.pem)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
