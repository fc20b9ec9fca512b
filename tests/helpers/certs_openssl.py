"""The certificate backend over the `openssl` command (1.1.1 and later).

`openssl ca` signs, since it alone takes dates in the past in every version.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import tempfile
from pathlib import Path

from helpers.certs import LeafRequest
from helpers.processes import find_program, run

CA_CONFIG = """\
[ca]
default_ca = this
[this]
database = {here}/index
new_certs_dir = {here}
certificate = {here}/ca.pem
private_key = {here}/ca.key
rand_serial = yes
default_md = sha256
unique_subject = no
copy_extensions = none
policy = policy
[policy]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""

INTERMEDIATE_EXTENSIONS = """\
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

LEAF_EXTENSIONS = """\
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = {usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""

EC_KEY: tuple[str, ...] = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA_KEY: tuple[str, ...] = ("-newkey", "rsa:2048")


class OpenSSLIssuer:
    """A CA kept in a new directory below `directory`; without `parent`, a root."""

    def __init__(self, directory: Path, parent: OpenSSLIssuer | None = None) -> None:
        self._directory = directory
        self._here = Path(tempfile.mkdtemp(prefix="ca-", dir=directory))
        self._config = self._here / "ca.cnf"
        self._config.write_text(CA_CONFIG.format(here=self._here.as_posix()))
        (self._here / "index").touch()
        certificate, key = self._here / "ca.pem", self._here / "ca.key"
        subject = f"/CN=test CA {secrets.token_hex(8)}"
        if parent is None:
            self._openssl(
                *("req", "-x509", "-days", "3650", "-nodes", *EC_KEY),
                *("-config", self._config, "-extensions", "root"),
                *("-subj", subject, "-keyout", key, "-out", certificate),
            )
            self._above = ""
        else:
            pem, key_pem = parent.sign(subject, INTERMEDIATE_EXTENSIONS)
            certificate.write_text(pem)
            key.write_text(key_pem)
            self._above = pem + parent._above
        self.pem = certificate.read_text()

    def child(self) -> OpenSSLIssuer:
        """An intermediate CA below this one."""
        return OpenSSLIssuer(self._directory, self)

    def issue(self, request: LeafRequest) -> tuple[str, str]:
        """Private key PEM, and the leaf followed by its intermediates as PEM."""
        extensions = LEAF_EXTENSIONS.format(
            usage="clientAuth" if request.client else "serverAuth,clientAuth",
            names=",".join(map(_general_name, request.names)),
        )
        leaf, key = self.sign(
            f"/CN={request.names[0]}",
            extensions,
            rsa=request.rsa,
            begin=request.not_before,
            end=request.not_after,
        )
        return key, leaf + self._above

    def sign(
        self,
        subject: str,
        extensions: str,
        *,
        rsa: bool = False,
        begin: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
    ) -> tuple[str, str]:
        """A certificate for a new key, and that key; without dates, ten years."""
        with tempfile.TemporaryDirectory(dir=self._here) as work:
            key, csr = Path(work, "key"), Path(work, "csr")
            wanted, signed = Path(work, "ext"), Path(work, "pem")
            wanted.write_text(extensions)
            self._openssl(
                *("req", "-new", "-nodes"),
                *(RSA_KEY if rsa else EC_KEY),
                *("-config", self._config, "-subj", subject),
                *("-keyout", key, "-out", csr),
            )
            dates: list[str] = [] if end else ["-days", "3650"]
            if begin:
                dates += ["-startdate", _time(begin)]
            if end:
                dates += ["-enddate", _time(end)]
            self._openssl(
                *("ca", "-batch", "-notext"),
                *("-config", self._config),
                *("-extfile", wanted, "-in", csr, "-out", signed),
                *dates,
            )
            return signed.read_text(), key.read_text()

    def _openssl(self, *args: str | Path) -> None:
        run(find_program("openssl"), *args)


def _general_name(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"email:{name}" if "@" in name else f"DNS:{name}"


def _time(when: datetime.datetime) -> str:
    if when.tzinfo is not None:
        when = when.astimezone(datetime.timezone.utc)
    return when.strftime("%Y%m%d%H%M%SZ")
