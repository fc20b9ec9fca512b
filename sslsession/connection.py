"""``TLSConnection``: all TLS of one TCP connection, and no I/O: ciphertext in, plaintext out, and the other way round.

After Sming's ``Ssl::Session``. The life of one: its settings are open until it begins; ``connect()`` or ``accept()``
begins; the handshake goes on with each ``receive_data()``; ``close()`` ends it, and the same object may begin again, on
a new TCP connection, and resumes.
"""

from __future__ import annotations

import enum
import ssl
import weakref
from collections.abc import Iterable
from typing import Any, Callable, Union

from sslsession import _bios, _borrow, _settling, _watched, validators as _validators
from sslsession._connection_settings import CHECKS, CipherSuites, MaxBufferSize, Setting
from sslsession._describe_connection import describe
from sslsession._libssl import ffi, lib
from sslsession._watched import WAITING, Gate
from sslsession.errors import FragmentTooLarge, SessionError
from sslsession.validators import Validator

Data = Union[bytes, bytearray, memoryview]
RECORD = 16384
"""The most plaintext that a record has (RFC 8446 5.1), and that a read of OpenSSL's returns."""
WRITE_MOST = 1 << 30
_adopted: weakref.WeakSet[Any] = weakref.WeakSet()


class State(enum.Enum):
    """Where a connection is."""

    NEW = "not begun"
    BEGUN = "in its handshake or connected"
    CLOSED = "closed"


class TLSConnection:
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

    __slots__ = (
        "_backlog", "_baked", "_early", "_error", "_gate", "_incoming", "_initialised", "_kept_id", "_limit",
        "_object", "_outgoing", "_own_context", "_peer_closed", "_quick", "_read", "_settings", "_settled", "_started", "_state",
        "_write", "__weakref__",
    )  # fmt: skip
    _inits: list[Callable[[TLSConnection], Any]] = []  # noqa: RUF012

    server_hostname = Setting(CHECKS["server_hostname"])
    server_side = Setting(CHECKS["server_side"])
    certificate = Setting(CHECKS["certificate"])
    client_auth = Setting(CHECKS["client_auth"])
    validators = Setting(CHECKS["validators"])
    verify_later = Setting(CHECKS["verify_later"])
    insecure = Setting(CHECKS["insecure"])
    resume = Setting(CHECKS["resume"])
    max_buffer_size = Setting(CHECKS["max_buffer_size"])
    cipher_suites = Setting(CHECKS["cipher_suites"])
    cache_size = Setting(CHECKS["cache_size"])
    on_init = Setting(CHECKS["on_init"])
    on_handshake = Setting(CHECKS["on_handshake"])

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
        given = locals()
        self._settings: dict[str, Any] = {name: check(given[name]) for name, check in CHECKS.items()}
        self._settled: _settling.Settled | None = None
        self._own_context: ssl.SSLContext | None = None
        self._baked: dict[str, Any] = {}
        self._initialised: bool | BaseException = False
        self._state, self._kept_id = State.NEW, b""
        self._gate: Gate | None = None
        self._object: Any = None
        self._incoming: Any = None
        self._outgoing: Any = None
        self._forget_transport()
        if on_init is None and not self._inits:
            _settling.refuse_contradictions(self._settings, self._baked)

    def _forget_transport(self) -> None:
        self._error: BaseException | None = None
        self._quick = self._started = self._peer_closed = self._early = False
        self._backlog = bytearray()

    # Beginning

    @classmethod
    def register_init(cls, callback: Callable[[TLSConnection], Any]) -> Callable[[TLSConnection], Any]:
        """Has every connection that begins from now on call this first, as ``on_init``; :meth:`unregister_init` ends it.

        Source: Sming's session initialisation callbacks. Errors: ``TypeError``.
        """
        if not callable(callback):
            raise TypeError(f"an initialisation callback is callable, not {type(callback).__name__}")
        cls._inits.append(callback)
        return callback

    @classmethod
    def unregister_init(cls, callback: Callable[[TLSConnection], Any]) -> None:
        """Takes back what :meth:`register_init` did, once. Errors: ``ValueError`` where it was not registered."""
        if callback not in cls._inits:
            raise ValueError("this initialisation callback is not registered")
        cls._inits.remove(callback)

    @property
    def context(self) -> ssl.SSLContext:
        """The context: the one that was given, else this object's own, for ``on_init`` to change."""
        if self._settled is not None:
            return self._settled.context
        given: ssl.SSLContext | None = self._settings["context"]
        if given is not None:
            return given
        if self._own_context is None:
            asked = self._settings
            self._own_context = _settling.new_context(
                asked["server_side"], asked["client_auth"], asked["verify_later"]
            )
        return self._own_context

    @context.setter
    def context(self, context: ssl.SSLContext | None) -> None:
        if self._settled is not None:
            raise SessionError("context is of a connection that has begun: set it before connect() or accept()")
        self._settings["context"] = CHECKS["context"](context)

    def connect(self) -> bool:
        """Begins as a client, after :meth:`close` once more; :meth:`data_to_send` has the first bytes.

        ``set_session`` and ``write_early_data`` have their place between the two. Returns True. Source: Sming's
        onConnect. Errors: :class:`SessionError` while it is connected, on a server, and where an initialisation callback
        returned False; what that raised; ``ValueError`` for settings that do not go together; ``ssl.SSLError``.
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
        made = TLSConnection(**{**asked, "context": settled.context, "on_init": None})
        made._baked = {**baked, **{name: value for name, value in self._baked.items() if value is not None}}
        made.on_init = asked["on_init"]
        return made

    def _initialise(self) -> None:
        if self._initialised is True:
            return
        if self._initialised is not False:
            raise self._initialised
        self._initialised = SessionError("an initialisation callback may change settings, and begins nothing")
        try:
            for callback in (*self._inits, self.on_init):
                if callback is not None and callback(self) is False:
                    raise SessionError("an initialisation callback returned False, which ends the connection")
        except BaseException as error:
            self._initialised = error
            raise
        self._initialised = True

    def _settle(self) -> _settling.Settled:
        if self._settled is None:
            self._initialise()
            settings = self._settings
            _settling.refuse_contradictions(
                {**settings, "certificate": settings["certificate"] or self._own_context}, self._baked
            )
            own = self.context if settings["context"] is None else None
            settled = _settling.settle(settings, own, self._baked)
            settings["validators"] = tuple(settings["validators"])
            self._limit = settings["max_buffer_size"].bytes
            self._settled = settled
        return self._settled

    def _begin(self) -> bool:
        if self._state is State.BEGUN:
            raise SessionError("this connection has begun: close() it before it begins again")
        settled, settings = self._settle(), self._settings
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        made = _watched.wrap(
            settled,
            incoming,
            outgoing,
            server_side=settings["server_side"],
            server_hostname=settings["server_hostname"],
        )
        _settling.prepare(settings, settled, _borrow.borrow(made).ssl)
        made._gate = self._gate = Gate(self, settings["validators"], settings["on_handshake"])
        self._take(made, incoming, outgoing)
        return True

    def _take(self, sslobject: Any, incoming: Any, outgoing: Any) -> None:
        self._forget_transport()
        self._object, self._incoming, self._outgoing = sslobject, incoming, outgoing
        # Past the Python layer of SSLObject: the gate is asked here, once, and not for each record.
        self._read, self._write = sslobject._sslobj.read, sslobject._sslobj.write
        self._state = State.BEGUN

    def adopt(self, sslobject: ssl.SSLObject) -> None:
        """Takes an established connection, such as that of a STARTTLS library; nobody else may use it from now on.

        The validators run at once. Its side and its name are its own, and so is what its handshake verified. Source:
        Sming's setConnection. Errors: ``TypeError`` for what is no ``ssl.SSLObject``; :class:`SessionError` where its
        handshake is not done, it was adopted before, or this object has begun; :class:`CertificateRefused`;
        ``ValueError`` where nothing verified it.
        """
        if not isinstance(sslobject, ssl.SSLObject):
            raise TypeError(f"adopt() takes an ssl.SSLObject, not {type(sslobject).__name__}")
        if self._state is not State.NEW or self._settled is not None:
            raise SessionError("adopt() is for a TLSConnection that has not begun: make a new one")
        if sslobject in _adopted:
            raise SessionError("this SSLObject was adopted before, and two would read from it in turns")
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
        if not chosen and not sslobject.server_side and not lib.SSL_get_verify_mode(handle):
            if not self._settings["insecure"]:
                raise ValueError(
                    "nothing verified the server of this connection: add validators, or say insecure=True"
                )
        gate = Gate(self, chosen, self._settings["on_handshake"])
        self._settings["validators"] = chosen
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

    # Bytes

    def receive_data(self, data: Data) -> bytes:
        """Takes what the TCP connection received, as much or as little as it is; returns the plaintext in it.

        ``b""`` as data: the TCP connection has ended. After the peer's close_notify there is no more plaintext, and
        ``peer_closed`` is True; after :meth:`close`, what still comes is dropped. There may be something to send
        afterwards, after an error too: an alert. Source: Sming's read. Errors: ``ssl.SSLError``, of which
        :class:`CertificateRefused` and :class:`FragmentTooLarge` are kinds, and ``ssl.SSLEOFError`` where the end comes
        without close_notify, so that what was received may not be all; the same again with each further call.
        What came whole before the error is returned first. ``TypeError`` for what is no bytes.
        """
        if not self._quick or not 0 < len(data) <= WRITE_MOST:
            return self._receive_with_care(_bytes_like(data))
        incoming, read, parts = self._incoming, self._read, []
        incoming.write(data)
        try:
            while incoming.pending:
                part = read(RECORD)
                if not part:
                    self._peer_closed, self._quick = True, False
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except BaseException as error:
            self._fail(error)
            if not parts:
                raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _receive_with_care(self, data: Any) -> bytes:
        """All but large amounts of data on a connection with which nothing is special: the same, seldom."""
        if self._state is State.NEW:
            self._begin()
        if self._state is State.CLOSED:
            return b""
        if self._error is not None:
            raise self._error
        if self._peer_closed:
            return b""
        parts: list[bytes] = []
        try:
            for at in range(0, len(data), WRITE_MOST):
                self._incoming.write(data[at : at + WRITE_MOST])
            if not len(data):
                self._incoming.write_eof()
            if self._passes():
                self._send_backlog()
                self._read_all(parts, not len(data))
        except WAITING:
            pass
        except BaseException as error:
            self._fail(error)
            if not parts:
                raise
        largest = max(map(len, parts), default=0)
        if largest > self._limit:
            raise self._too_large(largest)
        self._quick = self.is_connected and not self._peer_closed and not self._backlog and self._limit == RECORD
        return b"".join(parts)

    def _read_all(self, parts: list[bytes], ended: bool) -> None:
        while self._incoming.pending or ended:
            part = self._read(RECORD)
            if not part:
                self._peer_closed = True
                return
            parts.append(part)

    def _passes(self) -> bool:
        """Whether the handshake is done and the peer accepted; goes on with it where it is not."""
        if self._gate is not None and self._gate.passed:
            return True
        if self._early and not lib.SSL_is_init_finished(self._handle()):
            if not lib.sslsession_early_of(self._handle()).ended:
                return False
        self._started = True
        self._object.do_handshake()
        return True

    def send(self, data: Data) -> int:
        """Encrypts all of it, for :meth:`data_to_send`; how many bytes. Send large data in pieces, such as 64 kB.

        Still possible after the peer's close_notify. Source: Sming's write. Errors: :class:`SessionError` before the
        handshake is done and after :meth:`close`; ``ssl.SSLError`` where the connection failed; ``TypeError``.
        """
        if self._error is not None:
            raise self._error
        if not self._quick and (self._state is not State.BEGUN or self._gate is None or not self._gate.passed):
            what = "closed" if self._state is State.CLOSED else "not through its handshake"
            raise SessionError(f"the connection is {what}, so nothing can be sent: see is_connected")
        view = memoryview(_bytes_like(data)).cast("B")
        size, at, write = len(view), 0, self._write
        try:
            while at < size and not self._backlog:
                at += write(view[at:] if at else view)
        except WAITING:
            pass  # a renegotiation goes on, and its next message has to come first
        except BaseException as error:
            self._fail(error)
            raise
        if at < size:
            self._backlog += view[at:]
            self._quick = False
        return size

    def _send_backlog(self) -> None:
        while self._backlog:
            del self._backlog[: self._write(bytes(self._backlog[:RECORD]))]

    def data_to_send(self, size: int = -1) -> bytes:
        """Ciphertext for the TCP connection, at most ``size`` bytes unless that is negative; ``b""``: none.

        Ask after each other call, an exception too. A client's first call makes its first bytes.
        """
        if self._quick:
            return self._outgoing.read(size)  # type: ignore[no-any-return]
        if self._state is State.NEW:
            self._begin()
        if not self._started and self._state is State.BEGUN and not self._settings["server_side"]:
            self._started = True
            try:
                self._object.do_handshake()
            except WAITING:
                pass
            except BaseException as error:
                self._fail(error)
                raise
        return self._outgoing.read(size) if self._outgoing is not None else b""

    def _fail(self, error: BaseException) -> None:
        self._error, self._quick = error, False
        self._say_goodbye()
        if self._gate is not None and not self._gate.accepted and lib.SSL_is_init_finished(self._handle()):
            from sslsession.client import forget_peer

            forget_peer(self._object)

    def _too_large(self, found: int) -> FragmentTooLarge:
        error = FragmentTooLarge(
            ssl.SSL_ERROR_SSL,
            f"the peer sent {found} bytes in one record, and max_buffer_size allows {self._limit}. "
            "It does not keep to the length that it was asked for: use a larger max_buffer_size",
        )
        self._fail(error)
        return error

    # Ending

    def close(self) -> None:
        """Ends the connection: close_notify is what :meth:`data_to_send` has last. Closing again does nothing.

        Then :meth:`connect` or :meth:`accept` may begin anew, and resumes. Errors: none.
        """
        if self._state is not State.BEGUN:
            return
        if self._settings["resume"]:
            self._kept_id = self.session_id
        self._say_goodbye()
        self._state, self._quick = State.CLOSED, False

    def _say_goodbye(self) -> None:
        try:
            self._object.unwrap()
        except (ssl.SSLError, ValueError, OSError):
            pass  # the peer's close_notify is not waited for; a connection that failed has said so by an alert

    # Looking

    @property
    def is_connected(self) -> bool:
        """Whether the handshake is done and the peer accepted, until :meth:`close` or a failure."""
        return (
            self._state is State.BEGUN
            and self._error is None
            and self._gate is not None
            and self._gate.passed
        )

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

    @property
    def session_id(self) -> bytes:
        """The session's id, ``b""`` where there is none; with ``resume``, that of the last connection after its end.

        In TLS 1.3 a client has one with the first ticket. Source: SSL_SESSION_get_id(3), Sming's getSessionId.
        """
        if self._state is State.BEGUN and lib.SSL_is_init_finished(self._handle()):
            session, length = lib.SSL_get_session(self._handle()), ffi.new("unsigned int *")
            if session != ffi.NULL:
                found = lib.SSL_SESSION_get_id(session, length)
                return bytes(ffi.buffer(found, length[0]))
        return self._kept_id

    def validate_certificate(self) -> bool:
        """Whether the validators accept the peer's certificate; without any, whether the context verified it.

        It was asked when the handshake was done. Source: Sming's validateCertificate. Errors: :class:`SessionError`
        where there is no connection.
        """
        if self._state is not State.BEGUN or not lib.SSL_is_init_finished(self._handle()):
            raise SessionError("there is no connection whose certificate could be validated: see is_connected")
        if not self._settings["validators"]:
            return bool(lib.SSL_get_verify_mode(self._handle())) and bool(self._object.getpeercert(True))
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
        side = "server" if self._settings["server_side"] else f"client of {self._settings['server_hostname']!r}"
        state = "connected" if self.is_connected else "failed" if self._error else self._state.value
        return f"<TLSConnection {side}, {state}>"

    def _handle(self) -> Any:
        return _borrow.borrow(self._object).ssl


def _bytes_like(data: Any) -> Any:
    if isinstance(data, (bytes, bytearray)):
        return data
    try:
        return memoryview(data).cast("B")
    except TypeError:
        raise TypeError(f"bytes are needed, not {type(data).__name__}") from None
