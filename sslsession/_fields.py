"""The fields of a session, by Pike's names and OpenSSL's."""

from __future__ import annotations

import ssl
import time
from typing import Any

from sslsession import _certificates, _der, _facts, registry, resumption
from sslsession._libssl import features, ffi, lib
from sslsession._records import CertData, CipherSpec, PrivateKeyInfo, cipher_spec
from sslsession.policy import Policy
from sslsession.registry import Code

MASTER_KEY_MOST = 256
FRAGMENT_UNSET = (0, 255)


class Fields:
    """All that is read of a ``Session``."""

    __slots__ = ()

    _pointer: Any
    _name: str | None
    _resumable: bool
    _version: int
    _last_activity: int

    @property
    def _facts(self) -> _facts.Facts | None: ...

    # Pike's fields

    @property
    def version(self) -> ssl.TLSVersion:
        """The protocol version (SSL_SESSION_get_protocol_version)."""
        return ssl.TLSVersion(self._version)

    @property
    def cipher_suite(self) -> Code | None:
        """The suite's IANA number, an int with a name; None before a suite was chosen."""
        spec = self.cipher_spec
        return Code(spec.id, spec.standard_name) if spec else None

    @property
    def cipher_spec(self) -> CipherSpec | None:
        """All that OpenSSL knows of the suite (SSL_SESSION_get0_cipher)."""
        pointer = lib.SSL_SESSION_get0_cipher(self._pointer)
        return cipher_spec(pointer) if pointer != ffi.NULL else None

    @property
    def compression_algorithm(self) -> int:
        """0: null (SSL_SESSION_get_compress_id)."""
        return int(lib.SSL_SESSION_get_compress_id(self._pointer))

    @property
    def identity(self) -> bytes:
        """What names the session to the server, up to 32 bytes; the same as :attr:`id`."""
        length = ffi.new("unsigned int *")
        return bytes(ffi.buffer(lib.SSL_SESSION_get_id(self._pointer, length), length[0]))

    id = identity

    @property
    def master_secret(self) -> bytes:
        """Secret. 48 bytes; in TLS 1.3 the resumption secret, as long as the suite's hash (RFC 8446 4.6.1)."""
        buffer = ffi.new("unsigned char[]", MASTER_KEY_MOST)
        return bytes(
            ffi.buffer(buffer, lib.SSL_SESSION_get_master_key(self._pointer, buffer, MASTER_KEY_MOST))
        )

    @property
    def ticket(self) -> bytes | None:
        """Secret. The server's ticket, on clients (RFC 5077, RFC 8446 4.6.1); None without one."""
        data, size = ffi.new("unsigned char **"), ffi.new("size_t *")
        lib.SSL_SESSION_get0_ticket(self._pointer, data, size)
        return bytes(ffi.buffer(data[0], size[0])) if size[0] else None

    @property
    def ticket_expiry_time(self) -> int | None:
        """Epoch seconds: when the ticket's lifetime hint ends (at most 7 days on in TLS 1.3); None without a ticket."""
        hint = self.lifetime_hint
        return (
            None if hint is None else resumption.ticket_expiry(self._version, self.time, self.timeout, hint)
        )

    @property
    def last_activity(self) -> int:
        """Epoch seconds: when the session was last made, used or offered, as of the moment it was taken."""
        return self._last_activity

    @property
    def max_packet_size(self) -> int:
        """Bytes: the largest fragment negotiated, 16384 where none was (RFC 6066 4)."""
        code = lib.SSL_SESSION_get_max_fragment_length(self._pointer)
        return 16384 if code in FRAGMENT_UNSET else 256 << code

    @property
    def server_name(self) -> str | None:
        """The server's name: what the client's socket was wrapped with, or the SNI seen (RFC 6066 3)."""
        if self._name is not None:
            return self._name
        if self._facts is not None and self._facts.server_name is not None:
            return self._facts.server_name
        name = lib.SSL_SESSION_get0_hostname(self._pointer)
        return ffi.string(name).decode(errors="replace") if name != ffi.NULL else None

    @property
    def peer_certificate_chain(self) -> list[bytes]:
        """The peer's certificates as DER, leaf first; DER and PEM keep the leaf alone (SSL_get_peer_cert_chain)."""
        if self._facts is not None:
            return list(self._facts.peer_chain)
        peer = lib.SSL_SESSION_get0_peer(self._pointer)
        return [_certificates.der(peer)] if peer != ffi.NULL else []

    @property
    def peer_public_key(self) -> bytes | None:
        """The peer's DER SubjectPublicKeyInfo; ``cryptography``'s ``load_der_public_key`` reads it."""
        chain = self.peer_certificate_chain
        return _certificates.public_key(_certificates.parse(chain[0])) if chain else None

    @property
    def cert_data(self) -> CertData | None:
        """The peer's certificate and its verification (live: SSL_get_verify_result); None without a certificate."""
        chain, facts = self.peer_certificate_chain, self._facts
        if not chain or facts is None:
            return None
        leaf = _certificates.parse(chain[0])
        result = facts.verify_result
        return CertData(
            verified=facts.verified,
            verify_result=result,
            error=ffi.string(lib.X509_verify_cert_error_string(result)).decode() if result else None,
            self_signed=_certificates.is_self_signed(leaf),
            subject=_certificates.subject(leaf),
            issuer=_certificates.issuer(leaf),
            chain=list(facts.verified_chain),
        )

    @property
    def certificate_chain(self) -> list[bytes]:
        """Live: this side's own certificates as DER, leaf first (SSL_get_certificate)."""
        return list(self._facts.own_chain) if self._facts else []

    @property
    def private_key(self) -> PrivateKeyInfo | None:
        """Live: that this side has a private key, and its kind (SSL_get_privatekey)."""
        key = self._facts.private_key if self._facts else None
        return PrivateKeyInfo(*key) if key else None

    @property
    def curve(self) -> Code | None:
        """The named group of the key exchange (SSL_get_negotiated_group; alone: DER tag 19); None without one."""
        number = self._facts.curve if self._facts else self._tagged(_der.GROUP_TAG)
        return registry.group(number) if number else None

    @property
    def ecc_curves(self) -> list[Code]:
        """Live, servers: every group the client supports, in its order (SSL_get1_groups); clients never learn."""
        return [registry.group(number) for number in self._facts.groups] if self._facts else []

    @property
    def ffdhe_groups(self) -> list[Code]:
        """Live, servers: the finite-field groups among :attr:`ecc_curves` (RFC 7919)."""
        return [group for group in self.ecc_curves if registry.is_ffdhe(group)]

    @property
    def ecc_point_format(self) -> int | None:
        """Live: 0 uncompressed, -1 where the peer's formats leave none (RFC 8422 5.1.2; SSL_get0_ec_point_formats)."""
        return self._facts.point_format if self._facts else None

    @property
    def signature_algorithms(self) -> list[Code]:
        """Live: the signature schemes the peer supports (SSL_get_sigalgs); empty where it did not say."""
        return (
            [registry.signature_scheme(number) for number in self._facts.signature_schemes]
            if self._facts
            else []
        )

    @property
    def encrypt_then_mac(self) -> bool | None:
        """RFC 7366. False for AEAD suites; live for others, and None where nobody watched the handshake."""
        spec = self.cipher_spec
        if spec is None or spec.aead:
            return False
        return self._facts.encrypt_then_mac if self._facts else None

    @property
    def extended_master_secret(self) -> bool | None:
        """RFC 7627; TLS 1.3 always binds the transcript (SSL_get_extms_support; alone: DER tag 13). None while the
        handshake goes on."""
        if self._version >= resumption.TLS1_3:
            return True
        if self._facts is not None:
            return self._facts.extended_master_secret
        return bool((self._tagged(_der.FLAGS_TAG) or 0) & 1)

    @property
    def heartbeat_mode(self) -> int:
        """0: OpenSSL has had no heartbeat since 1.1.1."""
        return 0

    @property
    def truncated_hmac(self) -> bool:
        """False: OpenSSL never implemented it (RFC 6066 7)."""
        return False

    # OpenSSL's fields

    @property
    def id_context(self) -> bytes:
        """The session id context (SSL_SESSION_get0_id_context)."""
        length = ffi.new("unsigned int *")
        return bytes(ffi.buffer(lib.SSL_SESSION_get0_id_context(self._pointer, length), length[0]))

    @property
    def time(self) -> int:
        """Epoch seconds: when the session was made (SSL_SESSION_get_time)."""
        get = lib.SSL_SESSION_get_time_ex if features["SSL_SESSION_get_time_ex"] else lib.SSL_SESSION_get_time
        return int(get(self._pointer))

    @property
    def timeout(self) -> int:
        """Seconds that this side keeps the session (SSL_SESSION_get_timeout)."""
        return int(lib.SSL_SESSION_get_timeout(self._pointer))

    @property
    def lifetime_hint(self) -> int | None:
        """Seconds that the server keeps the ticket, by its word; None without a ticket."""
        if not lib.SSL_SESSION_has_ticket(self._pointer):
            return None
        return int(lib.SSL_SESSION_get_ticket_lifetime_hint(self._pointer))

    @property
    def alpn(self) -> str | None:
        """The application protocol (live, or SSL_SESSION_get0_alpn_selected; RFC 7301)."""
        if self._facts is not None and self._facts.alpn is not None:
            return self._facts.alpn
        data, size = ffi.new("unsigned char **"), ffi.new("size_t *")
        lib.SSL_SESSION_get0_alpn_selected(self._pointer, data, size)
        return bytes(ffi.buffer(data[0], size[0])).decode(errors="replace") if size[0] else None

    @property
    def max_early_data(self) -> int:
        """Bytes of early data that the server takes on this session (RFC 8446 4.2.10)."""
        return int(lib.SSL_SESSION_get_max_early_data(self._pointer))

    @property
    def verify_result(self) -> int | None:
        """``X509_V_*`` of the first handshake (live: SSL_get_verify_result)."""
        return self._facts.verify_result if self._facts else self._tagged(5, 0)

    @property
    def ticket_appdata(self) -> bytes | None:
        """What the server put into its ticket, on servers (SSL_SESSION_get0_ticket_appdata)."""
        data, size = ffi.new("void **"), ffi.new("size_t *")
        lib.SSL_SESSION_get0_ticket_appdata(self._pointer, data, size)
        return bytes(ffi.buffer(data[0], size[0])) if size[0] else None

    @property
    def is_resumable(self) -> bool:
        """Whether the session could be resumed when it was taken (SSL_SESSION_is_resumable)."""
        return self._resumable

    @property
    def expires_at(self) -> int:
        """Epoch seconds: when the session is not to be offered any more (RFC 8446 4.6.1, RFC 5077 3.3)."""
        return resumption.expires_at(self._version, self.time, self.timeout, self.lifetime_hint)

    @property
    def is_expired(self) -> bool:
        """Whether :attr:`expires_at` is now or past. OpenSSL still offers such a session; this library does not."""
        return time.time() >= self.expires_at

    @property
    def single_use(self) -> bool:
        """Whether the session may be used once only: TLS 1.3 tickets (RFC 8446 C.4)."""
        return self._version >= resumption.TLS1_3

    @property
    def policy(self) -> Policy | None:
        """Live: the policy of the handshake that made the session."""
        return self._facts.policy if self._facts else None

    def _tagged(self, tag: int, default: int | None = None) -> int | None:
        if lib.SSL_SESSION_get0_cipher(self._pointer) == ffi.NULL:
            return default  # OpenSSL writes no DER of a session whose handshake chose no suite yet
        return _der.integers(_der.write(self._pointer)).get(tag, default)
