"""Certificate authorities and leaf certificates for tests.

An `Authority` issues an `Identity`: files that `ssl`, nginx and `openssl` all read.
Keys are EC P-256 unless RSA is asked for. trustme makes them; where it cannot be
imported (PyPy), or with SSLSESSION_TEST_CERTS=openssl, the `openssl` command does.
"""

from __future__ import annotations

import datetime
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BACKEND_VARIABLE = "SSLSESSION_TEST_CERTS"
PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True)
class LeafRequest:
    """What a leaf certificate shall say; `names` are DNS names, IPs or e-mails."""

    names: tuple[str, ...]
    client: bool
    rsa: bool
    not_before: datetime.datetime
    not_after: datetime.datetime


class Issuer(Protocol):
    """What makes certificates: one CA of one backend."""

    @property
    def pem(self) -> str:
        """The CA's own certificate."""

    def child(self) -> Issuer:
        """An intermediate CA below this one."""

    def issue(self, request: LeafRequest) -> tuple[str, str]:
        """Private key PEM, and the leaf followed by its intermediates as PEM."""


@dataclass(frozen=True)
class Identity:
    """A key and its certificate chain, in files.

    `cert_pem_path` holds the leaf and then any intermediates, without the root;
    `chain` is the same as DER.
    """

    names: tuple[str, ...]
    cert_pem_path: Path
    key_path: Path
    chain: tuple[bytes, ...]

    @property
    def leaf_der(self) -> bytes:
        """The leaf certificate, DER."""
        return self.chain[0]

    def load(self, ctx: ssl.SSLContext) -> None:
        """Make `ctx` present this identity."""
        ctx.load_cert_chain(self.cert_pem_path, self.key_path)


class Authority:
    """A root CA whose certificates are files below `directory`."""

    def __init__(self, directory: Path, *, name: str = "ca", backend: str | None = None) -> None:
        """`backend` is "trustme" or "openssl"; None: the variable, else what works."""
        self.directory = directory
        self.name = name
        self._issuer = _new_issuer(directory, backend)
        self._intermediate: Issuer | None = None
        self._issued = 0
        self.pem = self._issuer.pem
        self.der = ssl.PEM_cert_to_DER_cert(self.pem)
        self.pem_path = directory / f"{name}.pem"
        self.pem_path.write_text(self.pem)

    def trust(self, ctx: ssl.SSLContext) -> None:
        """Make `ctx` accept what this authority issued."""
        ctx.load_verify_locations(cafile=str(self.pem_path))

    def issue(
        self,
        *names: str,
        client: bool = False,
        intermediate: bool = False,
        rsa: bool = False,
        days: float = 365,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
    ) -> Identity:
        """A new key and certificate for `names`.

        `client`: good for TLS clients only; otherwise good for both sides.
        `intermediate`: issued by an intermediate CA, which is part of the chain.
        It ends `days` from now (negative: it has ended), or at `not_after`; it
        begins a day ago, or a day before an end that is earlier. Times are UTC.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        end = not_after or now + days * day
        begin = not_before or min(now, end) - day
        issuer = self._issuer
        if intermediate:
            if self._intermediate is None:
                self._intermediate = issuer.child()
            issuer = self._intermediate
        key, chain = issuer.issue(LeafRequest(names, client, rsa, begin, end))
        self._issued += 1
        stem = f"{self.name}-{self._issued}"
        cert_pem_path = self.directory / f"{stem}.pem"
        key_path = self.directory / f"{stem}.key"
        cert_pem_path.write_text(chain)
        key_path.touch(mode=0o600)
        key_path.write_text(key)
        ders = tuple(map(ssl.PEM_cert_to_DER_cert, PEM_CERTIFICATE.findall(chain)))
        return Identity(names, cert_pem_path, key_path, ders)


def _new_issuer(directory: Path, backend: str | None) -> Issuer:
    backend = backend or os.environ.get(BACKEND_VARIABLE)
    if backend not in (None, "trustme", "openssl"):
        raise ValueError(f"no such certificate backend: {backend}")
    if backend != "openssl":
        try:
            from helpers.certs_trustme import TrustmeIssuer
        except ImportError:
            if backend == "trustme":
                raise
        else:
            return TrustmeIssuer()
    from helpers.certs_openssl import OpenSSLIssuer

    return OpenSSLIssuer(directory)
