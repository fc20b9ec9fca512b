"""What a ``TLSConnection`` can be told, each thing checked as it is told, until the connection begins."""

from __future__ import annotations

import enum
import os
import ssl
from typing import Any, Callable

from sslsession import validators
from sslsession.errors import SessionError


class MaxBufferSize(enum.Enum):
    """How much application data one record may have; the values are Sming's and, from 1 to 4, RFC 6066's codes."""

    Default = 0
    """What TLS allows: 16384 bytes."""
    B512 = 1
    K1 = 2
    K2 = 3
    K4 = 4
    K8 = 5
    K16 = 6

    @property
    def bytes(self) -> int:
        """The most that a record carries."""
        return 256 << self.value if self.value else 16384

    @property
    def code(self) -> int:
        """What a client asks its server for (RFC 6066 4); 0: nothing, for the extension knows no 8 kB."""
        return self.value if self.value <= MaxBufferSize.K4.value else 0


class CipherSuites(enum.Enum):
    """Suites up to TLS 1.2 as OpenSSL's strings; those of TLS 1.3 are always on (Sming's ``CipherSuites``)."""

    basic = "AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA"
    """RSA key exchange with CBC, without forward secrecy: for peers that have nothing else."""
    full = (
        "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:RSA+AESGCM:"
        + basic
        + ":!aNULL:!eNULL"
    )
    """The same, after all that is better."""


def _server_hostname(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"server_hostname is text or None, not {type(value).__name__}")
    if not value or set(value) & set("/@ \t\r\n\0") or value.count(":") == 1:
        raise ValueError(f"{value!r} is no host: give its name or address alone, without scheme or port")
    return value


def _flag(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, bool):
            raise TypeError(f"{name} is True or False, not {type(value).__name__}")
        return value

    return check


def _context(value: Any) -> Any:
    if value is not None and not isinstance(value, ssl.SSLContext):
        raise TypeError(f"context is an ssl.SSLContext or None, not {type(value).__name__}")
    return value


class Certificate:
    """The files of a certificate's chain and of its key, and the key's password, which nothing shows."""

    def __init__(self, chain: Any, key: Any, password: Any = None) -> None:
        for name, path in (("chain", chain), ("key", key)):
            if not isinstance(path, (str, os.PathLike)):
                raise TypeError(
                    f"certificate: the {name} is the path of a PEM file, not {type(path).__name__}"
                )
        if password is not None and not isinstance(password, (str, bytes, bytearray)):
            raise TypeError(f"certificate: the password is text or bytes, not {type(password).__name__}")
        self.chain, self.key, self._password = os.fspath(chain), os.fspath(key), password

    def load(self, context: ssl.SSLContext) -> None:
        """Makes connections of the context show it. Errors: ``OSError``; ``ssl.SSLError``; ``ValueError``."""
        for path in (self.chain, self.key):
            with open(path, "rb"):
                pass  # ssl's own error does not say which file it is
        try:
            context.load_cert_chain(self.chain, self.key, self._given_password)
        except ssl.SSLError as error:
            raise type(error)(
                error.errno,
                f"the certificate of {self.chain} with the key of {self.key} cannot be used: {error.strerror}. "
                "Both are PEM, the leaf comes first, and the key is the leaf's; an encrypted one needs its password",
            ) from None

    def _given_password(self) -> Any:
        # Without one, OpenSSL would ask at the terminal.
        if self._password is None:
            raise ValueError(f"the key of {self.key} is encrypted: give certificate=(chain, key, password)")
        return self._password

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<certificate {self.chain}>"


def _certificate(value: Any) -> Any:
    if value is None or isinstance(value, Certificate):
        return value
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        raise TypeError(
            "certificate is (chain, key) or (chain, key, password), of which the first two are paths"
        )
    return Certificate(*value)


def _max_buffer_size(value: Any) -> Any:
    if not isinstance(value, MaxBufferSize):
        names = ", ".join(MaxBufferSize.__members__)
        raise TypeError(f"max_buffer_size is a MaxBufferSize ({names}), not {value!r}")
    return value


def _cipher_suites(value: Any) -> Any:
    if value is not None and not isinstance(value, (str, CipherSuites)):
        raise TypeError(
            f"cipher_suites is a CipherSuites, an OpenSSL string or None, not {type(value).__name__}"
        )
    return value


def _cache_size(value: Any) -> Any:
    if value is not None and type(value) is not int:
        raise TypeError(f"cache_size is a number or None, not {type(value).__name__}")
    if value is not None and not 0 <= value <= 2**31 - 1:
        raise ValueError(f"cache_size is 0 (none) or more, not {value}")
    return value


def _callback(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is not None and not callable(value):
            raise TypeError(f"{name} is callable or None, not {type(value).__name__}")
        return value

    return check


CHECKS: dict[str, Callable[[Any], Any]] = {
    "server_hostname": _server_hostname,
    "server_side": _flag("server_side"),
    "context": _context,
    "certificate": _certificate,
    "client_auth": _flag("client_auth"),
    "validators": validators.checked,
    "verify_later": _flag("verify_later"),
    "insecure": _flag("insecure"),
    "resume": _flag("resume"),
    "max_buffer_size": _max_buffer_size,
    "cipher_suites": _cipher_suites,
    "cache_size": _cache_size,
    "on_init": _callback("on_init"),
    "on_handshake": _callback("on_handshake"),
}


class Setting:
    """An attribute that is checked as it is set, and that stands once the connection has begun."""

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, connection: Any, owner: type | None = None) -> Any:
        return self if connection is None else connection._settings[self._name]

    def __set__(self, connection: Any, value: Any) -> None:
        if connection._settled is not None:
            raise SessionError(
                f"{self._name} is of a connection that has begun: set it before connect(), accept() or adopt()"
            )
        connection._settings[self._name] = self._check(value)


def is_verifying(context: ssl.SSLContext) -> bool:
    """Whether connections of the context look at their peer's certificate during the handshake."""
    return context.verify_mode != ssl.CERT_NONE
