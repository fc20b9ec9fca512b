"""``Session``: one TLS session, who owns it, and its bytes."""

from __future__ import annotations

import time
from typing import Any, NoReturn

from sslsession import _certificates, _der, _envelope, _facts
from sslsession._fields import Fields
from sslsession._libssl import ffi, lib
from sslsession.errors import InvalidSession


class Session(Fields):
    """One TLS session. Its values never change, and it owns its own copy of OpenSSL's object.

    Sessions come from :func:`sslsession.get_session`, a hook, :meth:`from_der`, :meth:`from_pem` or
    :meth:`from_bytes`. Fields that only the live connection knew (marked *live*) are None, or empty, in a session that
    was read from DER or PEM; :meth:`to_bytes` keeps them. ``is_resumable`` and ``last_activity`` are of the moment that
    the session was taken.
    """

    __slots__ = (
        "_facts_cache",
        "_held",
        "_last_activity",
        "_name",
        "_native",
        "_pointer",
        "_resumable",
        "_version",
    )

    _native: Any
    _facts_cache: _facts.Facts | None
    _held: Any

    def __init__(self, *_: object) -> None:
        raise TypeError("sessions come from get_session(conn), from_bytes(), from_der() or from_pem()")

    @classmethod
    def _own(cls, pointer: Any) -> Session:
        """Takes over a reference to an ``SSL_SESSION`` that no connection has."""
        self = cls.__new__(cls)
        self._pointer = ffi.gc(pointer, lib.SSL_SESSION_free)
        self._native = self._facts_cache = self._held = self._name = None
        self._resumable = bool(lib.SSL_SESSION_is_resumable(pointer))
        self._version = lib.SSL_SESSION_get_protocol_version(pointer)
        self._last_activity = int(time.time())
        return self

    @classmethod
    def _copy_of(cls, pointer: Any) -> Session:
        """A session of a copy of ``pointer``."""
        copy = lib.SSL_SESSION_dup(pointer)
        if copy == ffi.NULL:
            raise MemoryError("OpenSSL could not copy the session")
        return cls._own(copy)

    @classmethod
    def _captured(cls, native: Any, name: str | None) -> Session:
        """Takes over an ``sslsession_facts``, the session in it too; name: what a client's socket was wrapped with."""
        if native == ffi.NULL:
            raise MemoryError("OpenSSL could not copy the session")
        return cls._of_facts(ffi.gc(native, lib.sslsession_facts_free), name)

    @classmethod
    def _of_facts(cls, native: Any, name: str | None) -> Session:
        """The same, where the facts are freed with ``native`` itself."""
        self = cls.__new__(cls)
        self._native = native
        self._pointer = native.session
        self._facts_cache = self._held = None
        self._name = name
        self._resumable, self._version = bool(native.resumable), native.version
        self._last_activity = int(time.time())
        return self

    @property
    def _has_facts(self) -> bool:
        """Whether more is known than OpenSSL's DER keeps."""
        return self._native is not None or self._facts_cache is not None

    def _chain(self) -> Any:
        """The peer's chain as ``STACK_OF(X509) *``, alive while the session or the returned object is; or NULL."""
        if self._native is not None:
            return self._native.peer_chain
        return (
            _certificates.stack(self._facts_cache.peer_chain) if self._facts_cache is not None else ffi.NULL
        )

    @property
    def _facts(self) -> _facts.Facts | None:
        if self._facts_cache is None and self._native is not None:
            self._facts_cache = _facts.decode(self._native, self._name, self._version)
        return self._facts_cache

    def reusable_as(self, other: Session) -> bool:
        """Whether this session may stand in for ``other``: what was negotiated and certified is the same in both."""
        return all(getattr(self, name) == getattr(other, name) for name in NEGOTIATED)

    # Bytes and text

    def to_der(self) -> bytes:
        """Secret. OpenSSL's own format (i2d_SSL_SESSION); of a client's session without its id context."""
        if self._is_clients():
            return _der.write_for_clients(self._pointer)
        return _der.write(self._pointer)

    def _is_clients(self) -> bool:
        if self._native is not None:
            return not self._native.policy.server
        if self._facts is not None:
            return not self._facts.policy.server
        return self.ticket is not None

    @classmethod
    def from_der(cls, data: bytes) -> Session:
        """A session from OpenSSL's DER. Errors: :class:`InvalidSession`."""
        return cls._read(data)

    def to_pem(self) -> str:
        """Secret. OpenSSL's own text format, as ``openssl s_client -sess_out`` writes it."""
        return _der.to_pem(self.to_der())

    @classmethod
    def from_pem(cls, text: str | bytes) -> Session:
        """A session from OpenSSL's PEM. Errors: :class:`InvalidSession`."""
        return cls._read(_der.from_pem(text))

    def to_bytes(self) -> bytes:
        """Secret. Our versioned envelope: the DER and all that it drops."""
        facts = self._facts
        return _envelope.pack(
            {
                "der": _der.write(self._pointer),
                "resumable": self._resumable,
                "last_activity": self._last_activity,
                "facts": _facts.to_plain(facts) if facts else None,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Session:
        """A session from :meth:`to_bytes`. Errors: :class:`InvalidSession`, saying what is wrong with the bytes."""
        body = _envelope.unpack(bytes(data))
        try:
            facts = None if body["facts"] is None else _facts.from_plain(body["facts"])
            resumable, last_activity, der = body["resumable"], body["last_activity"], body["der"]
            if (type(resumable), type(last_activity), type(der)) != (bool, int, bytes):
                raise ValueError("a value is of another type")
        except (KeyError, ValueError) as error:
            raise InvalidSession(f"the session envelope is damaged: {error}") from error
        self = cls._read(der)
        if facts is not None and facts.peer_chain[:1] != tuple(self.peer_certificate_chain):
            raise InvalidSession(
                "the session envelope is damaged: its certificate chain is another session's"
            )
        self._facts_cache, self._last_activity = facts, last_activity
        self._resumable = self._resumable and resumable
        return self

    @classmethod
    def _read(cls, data: bytes) -> Session:
        self = cls._own(_der.read(bytes(data)))
        self._last_activity = self.time
        return self

    def describe(self, *, secrets: bool = False) -> str:
        """Every field on a line of its own; master secret and tickets are masked unless ``secrets`` is True."""
        from sslsession._describe import describe

        return describe(self, secrets=secrets)

    def __repr__(self) -> str:
        suite = self.cipher_suite
        name = f" for {ascii(self.server_name)[1:-1]}" if self.server_name else ""
        state = "resumable" if self._resumable else "not resumable"
        return f"<Session {self.version.name} {suite.name if suite else 'no suite'}{name}, {state}>"

    def __copy__(self) -> Session:
        return self

    def __deepcopy__(self, memo: object) -> Session:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Session holds secrets and is not pickled: keep Session.to_bytes() where secrets may be kept"
        )


NEGOTIATED = (
    "cipher_suite",
    "version",
    "certificate_chain",
    "compression_algorithm",
    "max_packet_size",
    "truncated_hmac",
    "server_name",
    "ecc_point_format",
    "encrypt_then_mac",
    "extended_master_secret",
)
