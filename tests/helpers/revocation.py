"""Certificate revocation lists of an `Authority`; pytest skips whoever imports this where `cryptography` is missing."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from helpers.certs import Authority, Identity

x509 = pytest.importorskip("cryptography.x509", reason="makes the revocation lists")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402

HOUR = datetime.timedelta(hours=1)


def revocation_list(authority: Authority, path: Path, *revoked: Identity, age: int) -> Path:
    """A list of `age` hours that names the given certificates."""
    if not hasattr(authority._issuer, "_ca"):
        pytest.skip("trustme made no certificates here")
    issuer = x509.load_pem_x509_certificate(authority.pem.encode())
    key = serialization.load_pem_private_key(authority._issuer._ca.private_key_pem.bytes(), None)
    made = datetime.datetime.now(datetime.timezone.utc) - age * HOUR
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
    builder = builder.last_update(made).next_update(made + 24 * HOUR)
    for identity in revoked:
        serial = x509.load_der_x509_certificate(identity.leaf_der).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(made).build()
        builder = builder.add_revoked_certificate(entry)
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path
