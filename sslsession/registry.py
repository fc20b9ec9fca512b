"""IANA's names for the numbers in a session: named groups, signature schemes, and OpenSSL's numbers for them.

Sources: IANA "TLS Supported Groups" and "TLS SignatureScheme" registries; RFC 8446 4.2.3 and 4.2.7; RFC 8422 5.1.1.
"""

from __future__ import annotations

import functools

from sslsession._libssl import lib

UNKNOWN_TO_OPENSSL = 0x1000000

GROUPS = {
    0x0001: "sect163k1",
    0x0003: "sect163r2",
    0x0006: "sect233k1",
    0x0007: "sect233r1",
    0x0009: "sect283k1",
    0x000A: "sect283r1",
    0x000B: "sect409k1",
    0x000C: "sect409r1",
    0x000D: "sect571k1",
    0x000E: "sect571r1",
    0x0013: "secp192r1",
    0x0015: "secp224r1",
    0x0016: "secp256k1",
    0x0017: "secp256r1",
    0x0018: "secp384r1",
    0x0019: "secp521r1",
    0x001A: "brainpoolP256r1",
    0x001B: "brainpoolP384r1",
    0x001C: "brainpoolP512r1",
    0x001D: "x25519",
    0x001E: "x448",
    0x001F: "brainpoolP256r1tls13",
    0x0020: "brainpoolP384r1tls13",
    0x0021: "brainpoolP512r1tls13",
    0x0022: "GC256A",
    0x0023: "GC256B",
    0x0024: "GC256C",
    0x0025: "GC256D",
    0x0026: "GC512A",
    0x0027: "GC512B",
    0x0028: "GC512C",
    0x0100: "ffdhe2048",
    0x0101: "ffdhe3072",
    0x0102: "ffdhe4096",
    0x0103: "ffdhe6144",
    0x0104: "ffdhe8192",
    0x0200: "MLKEM512",
    0x0201: "MLKEM768",
    0x0202: "MLKEM1024",
    0x11EB: "SecP256r1MLKEM768",
    0x11EC: "X25519MLKEM768",
    0x11ED: "SecP384r1MLKEM1024",
}
NAMES_IN_OPENSSL = {"secp256r1": "prime256v1", "secp192r1": "prime192v1", "x25519": "X25519", "x448": "X448"}
SIGNATURE_SCHEMES = {
    0x0101: "rsa_pkcs1_md5",
    0x0201: "rsa_pkcs1_sha1",
    0x0202: "dsa_sha1",
    0x0203: "ecdsa_sha1",
    0x0301: "rsa_pkcs1_sha224",
    0x0302: "dsa_sha224",
    0x0303: "ecdsa_sha224",
    0x0401: "rsa_pkcs1_sha256",
    0x0402: "dsa_sha256",
    0x0403: "ecdsa_secp256r1_sha256",
    0x0501: "rsa_pkcs1_sha384",
    0x0502: "dsa_sha384",
    0x0503: "ecdsa_secp384r1_sha384",
    0x0601: "rsa_pkcs1_sha512",
    0x0602: "dsa_sha512",
    0x0603: "ecdsa_secp521r1_sha512",
    0x0804: "rsa_pss_rsae_sha256",
    0x0805: "rsa_pss_rsae_sha384",
    0x0806: "rsa_pss_rsae_sha512",
    0x0807: "ed25519",
    0x0808: "ed448",
    0x0809: "rsa_pss_pss_sha256",
    0x080A: "rsa_pss_pss_sha384",
    0x080B: "rsa_pss_pss_sha512",
    0x081A: "ecdsa_brainpoolP256r1tls13_sha256",
    0x081B: "ecdsa_brainpoolP384r1tls13_sha384",
    0x081C: "ecdsa_brainpoolP512r1tls13_sha512",
    0x0904: "mldsa44",
    0x0905: "mldsa65",
    0x0906: "mldsa87",
}


class Code(int):
    """A number of an IANA registry that knows its ``name``; it compares and computes as the number."""

    name: str

    def __new__(cls, value: int, name: str) -> Code:
        code = super().__new__(cls, value)
        code.name = name
        return code

    def __repr__(self) -> str:
        return f"<0x{int(self):04x} {self.name}>"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Code], tuple[int, str]]:
        return Code, (int(self), self.name)


def group(number: int) -> Code:
    """The named group of an IANA number."""
    return Code(number, GROUPS.get(number, "unknown"))


def signature_scheme(number: int) -> Code:
    """The signature scheme of an IANA number (TLS 1.2: hash and signature bytes, the same numbers)."""
    return Code(number, SIGNATURE_SCHEMES.get(number, "unknown"))


def is_ffdhe(number: int) -> bool:
    """Whether a group is of the finite-field range (RFC 7919 2)."""
    return 0x0100 <= number <= 0x01FF


@functools.lru_cache(maxsize=1)
def _groups_by_nid() -> dict[int, int]:
    found: dict[int, int] = {}
    # A name that is not found leaves an error behind, which ssl would take for that of its next read.
    lib.ERR_set_mark()
    for number, name in GROUPS.items():
        nid = lib.OBJ_txt2nid(NAMES_IN_OPENSSL.get(name, name).encode())
        if nid:
            found.setdefault(nid, number)
    lib.ERR_pop_to_mark()
    return found


def group_of_openssl(number: int) -> int:
    """The IANA number of a group as OpenSSL's controls give it: a NID, or 0x1000000 and the IANA number; 0 for none."""
    if number & UNKNOWN_TO_OPENSSL:
        return number & 0xFFFF
    return _groups_by_nid().get(number, 0)
