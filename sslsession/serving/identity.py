"""A self-signed certificate for localhost, made on the spot by ``cryptography`` or by the ``openssl`` command."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import subprocess
from pathlib import Path

from sslsession.errors import SessionError

NAME = "localhost"
ADDRESSES = ("127.0.0.1", "::1")
DAYS = 30


def make(directory: Path) -> Path:
    """A PEM file in ``directory`` with a new certificate and its key, ECDSA P-256, good for ``DAYS`` from now.

    Errors: :class:`SessionError` where there is nothing to make it with.
    """
    path = directory / "server.pem"
    try:
        path.write_bytes(_by_cryptography())
    except ImportError:
        _by_command(path)
    return path


def _by_cryptography() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in ADDRESSES]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + DAYS * day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME), *addresses]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    return secret + certificate.public_bytes(encoding)


def _by_command(path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise SessionError(
            "a certificate cannot be made here: name one with --cert and --key, or install the openssl command"
            " or cryptography (pip install 'sslsession[crypto]')"
        )
    names = ",".join([f"DNS:{NAME}", *(f"IP:{each}" for each in ADDRESSES)])
    done = subprocess.run(
        [
            *(program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", str(DAYS), "-subj", f"/CN={NAME}", "-addext", f"subjectAltName={names}"),
            *("-keyout", str(path), "-out", "-"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        told = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise SessionError(f"the openssl command made no certificate: {told}; name one with --cert and --key")
    with path.open("ab") as file:
        file.write(done.stdout)
