"""``TLSConnection``: all TLS of one TCP connection, and no I/O: ciphertext in, plaintext out, and the other way round.

After Sming's ``Ssl::Session``. The life of one: its settings are open until it begins; ``connect()`` or ``accept()``
begins; the handshake goes on with each ``receive_data()``; ``close()`` ends it, and the same object may begin again, on
a new TCP connection, and resumes.
"""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Iterable
from typing import Any, Callable

from sslsession import _bios, _borrow, _settling, validators as _validators
from sslsession._connection_settings import CipherSuites, MaxBufferSize
from sslsession._describe_connection import describe
from sslsession._flow import Flow
from sslsession._libssl import lib
from sslsession._opening import State
from sslsession._watched import Gate
from sslsession.errors import SessionError
from sslsession.validators import Validator

_adopted: weakref.WeakSet[Any] = weakref.WeakSet()


class TLSConnection(Flow):
    """The TLS of one TCP connection after another, by this object's own settings.

    server_hostname
        Whom a client connects to: for SNI and for checking the certificate.
    server_side
        Whether this is the server.
    context
        An ``ssl.SSLContext`` to use as it is; None: one of this object's own, with ssl's defaults.
    certificate
        ``(chain, key)`` or ``(chain, key, password)``: paths of PEM files. A server needs one, a client may have one.
    client_auth
        A server asks its clients for a certificate and verifies it.
    validators
        Callables that take a :class:`PeerCertificate`, such as :class:`PinPublicKeySHA256`. Any that returns True is
        enough, in their order; they run beside the verification of the context, in each handshake, a resumed one too,
        and before any plaintext is handed over. None of them: the context's verification alone.
    verify_later
        A client does not verify during the handshake; the validators alone decide, when it is done.
    insecure
        Permits a client that verifies nothing at all.
    resume
        Keeps sessions for the next connection: of this object, and of all that use its context.
    max_buffer_size
        How much data a record may have, sent or received. Clients ask their server to send no more than 512 to 4096
        bytes (RFC 6066 4); servers cannot ask.
    cipher_suites
        Up to TLS 1.2: a :class:`CipherSuites`, or OpenSSL's string. None: the context's.
    cache_size
        How many sessions are kept: a client's TLS 1.3 tickets, a server's sessions. 0: none, so nothing is resumed.
    on_init
        Called once with this object as it begins, after what :meth:`register_init` has: it may change all settings.
        False, or an exception, ends the connection.
    on_handshake
        Called with this object and None when a handshake is done, or with its error. False, or an exception, ends it.

    All these are attributes, too, until the connection begins. It is used by one thread at a time. Source: Sming's
    Ssl::Session. Errors: ``TypeError``, ``ValueError`` for settings that are none or do not go together.
    """

    __slots__ = ("__weakref__",)

    def __init__(
        self,
        server_hostname: str | None = None,
        *,
        server_side: bool = False,
        context: ssl.SSLContext | None = None,
        certificate: tuple[Any, ...] | None = None,
        client_auth: bool = False,
        validators: Iterable[Validator] = (),
        verify_later: bool = False,
        insecure: bool = False,
        resume: bool = True,
        max_buffer_size: MaxBufferSize = MaxBufferSize.Default,
        cipher_suites: CipherSuites | str | None = None,
        cache_size: int | None = None,
        on_init: Callable[[TLSConnection], Any] | None = None,
        on_handshake: Callable[[TLSConnection, BaseException | None], Any] | None = None,
    ) -> None:
        super().__init__(locals())

    def connect(self) -> bool:
        """Begins as a client, after :meth:`close` once more; :meth:`data_to_send` has the first bytes.

        ``set_session`` and ``write_early_data`` have their place between the two. Returns True. Source: Sming's
        onConnect. Errors: :class:`SessionError` while it is connected, on a server, and where an initialisation
        callback returned False; what that raised; ``ValueError`` for settings that do not go together;
        ``ssl.SSLError``, ``OSError`` for a certificate that cannot be loaded.
        """
        if self._settings["server_side"]:
            raise SessionError("this is the server's side: call accept()")
        return self._begin()

    def accept(self, *, early_data: bool = False) -> bool:
        """Begins as the server of a TCP connection that was accepted; the same as :meth:`connect` else.

        early_data: :meth:`receive_data` leaves the handshake alone until ``read_early_data(self)`` has returned
        ``b""``, or ``wait_for_handshake(self)`` is through. Source: Sming's onAccept.
        """
        if not self._settings["server_side"]:
            self.server_side = True
        self._begin()
        self._early = early_data
        return True

    def another(self) -> TLSConnection:
        """A new connection of the same settings, context and cache, for another TCP connection at the same time.

        A server makes one for each that it accepts. Its initialisation callbacks are called for it, too.
        """
        settled = self._settle()
        asked = dict(self._settings)
        baked = {name: asked.pop(name) for name in ("certificate", "cipher_suites", "cache_size")}
        asked["resume"] = asked["resume"] and baked["cache_size"] != 0
        made = TLSConnection(**{**asked, "context": settled.context, "on_init": None})
        made._baked = {**baked, **{name: value for name, value in self._baked.items() if value is not None}}
        made.on_init = asked["on_init"]
        return made

    def adopt(self, sslobject: ssl.SSLObject) -> None:
        """Takes an established connection, such as that of a STARTTLS library; nobody else may use it from now on.

        The validators run at once. Its side and its name are its own, and so is what its handshake verified. Source:
        Sming's setConnection. Errors: ``TypeError`` for what is no ``ssl.SSLObject``; :class:`SessionError` where its
        handshake is not done, it is a TLSConnection's already, or this object has begun; :class:`CertificateRefused`;
        ``ValueError`` where nothing verified it.
        """
        if not isinstance(sslobject, ssl.SSLObject):
            raise TypeError(f"adopt() takes an ssl.SSLObject, not {type(sslobject).__name__}")
        if self._state is not State.NEW or self._settled is not None:
            raise SessionError("adopt() is for a TLSConnection that has not begun: make a new one")
        if sslobject in _adopted or getattr(sslobject, "_gate", None) is not None:
            raise SessionError(
                "this SSLObject is a TLSConnection's already, and two would read from it in turns"
            )
        handle = _borrow.borrow(sslobject).ssl
        if not lib.SSL_is_init_finished(handle):
            raise SessionError("adopt() takes an established connection: end its handshake first")
        incoming, outgoing = _bios.bios_of(sslobject)
        self._settings["context"] = sslobject.context
        self._settings["server_side"] = bool(sslobject.server_side)
        if not sslobject.server_side:
            self._settings["server_hostname"] = sslobject.server_hostname
        self._initialise()
        chosen = tuple(self._settings["validators"])
        verified = sslobject.server_side or _was_verified(handle)
        if not verified and not chosen and not self._settings["insecure"]:
            raise ValueError(
                "nothing verified the server of this connection: add validators, or say insecure=True"
            )
        gate = Gate(self, chosen, self._settings["on_handshake"])
        self._settings["validators"] = chosen
        _settling.hold_to(self._settings, handle)
        self._settled = _settling.Settled(sslobject.context, sslobject.context, False)
        self._limit = self._settings["max_buffer_size"].bytes
        self._gate = gate
        _adopted.add(sslobject)
        self._take(sslobject, incoming, outgoing)
        self._started = True
        try:
            gate.shake(sslobject, lambda: None)
        except BaseException as error:
            self._fail(error)
            raise

    @property
    def peer_closed(self) -> bool:
        """Whether the peer's close_notify came: it sends no more."""
        return self._peer_closed

    @property
    def connection(self) -> ssl.SSLObject | None:
        """The underlying ``SSLObject``, also of a connection that was closed; None before the first begins.

        For its ``version()``, ``cipher()``, ``getpeercert()``; it is read from and written to here alone.
        """
        found: ssl.SSLObject | None = self._object
        return found

    def validate_certificate(self) -> bool:
        """Whether the validators accept the peer's certificate; without any, whether the context verified it.

        It was asked when the handshake was done. Source: Sming's validateCertificate. Errors: :class:`SessionError`
        where there is no connection.
        """
        if not self.is_connected:
            raise SessionError(
                "there is no connection whose certificate could be validated: see is_connected"
            )
        if not self._settings["validators"]:
            return _was_verified(self._handle()) and bool(self._object.getpeercert(True))
        try:
            _validators.require(self._settings["validators"], self._object.getpeercert(True), self)
        except ssl.SSLError:
            return False
        return True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio's transports: ``ssl_object``, ``sslcontext``, ``peercert``, ``cipher``, ``compression``.

        So ``get_session``, ``set_session`` and their like take this object. Errors: :class:`SessionError` where
        ``ssl_object`` is asked for before the connection begins.
        """
        if name == "sslcontext":
            return self.context
        if self._object is None:
            if name == "ssl_object":
                raise SessionError("this TLSConnection has not begun: call connect() or accept() first")
            return default
        if name == "ssl_object":
            return self._object
        if name in ("peercert", "cipher", "compression"):
            ask = self._object.getpeercert if name == "peercert" else getattr(self._object, name)
            return ask()
        return default

    def describe(self) -> str:
        """All settings, and what is known of the connection, a line each; no key and no password. Sming's printTo."""
        return describe(self)

    def __str__(self) -> str:
        return self.describe()

    def __repr__(self) -> str:
        side = (
            "server" if self._settings["server_side"] else f"client of {self._settings['server_hostname']!r}"
        )
        state = "connected" if self.is_connected else "failed" if self._error else self._state.value
        return f"<TLSConnection {side}, {state}>"


def _was_verified(handle: Any) -> bool:
    """Whether the peer was, in this handshake or in the one that it resumes, which may have been under a laxer mode."""
    return bool(lib.SSL_get_verify_mode(handle)) and lib.SSL_get_verify_result(handle) == 0
