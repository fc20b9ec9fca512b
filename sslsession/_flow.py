"""What flows through a ``TLSConnection``: from ciphertext to plaintext and back, until an error or its end.

Large transfers take the short way through ``receive_data`` and ``send``: where nothing is special about a connection
(``_quick``), no more is done for a piece than handing it to OpenSSL and taking out what there is.
"""

from __future__ import annotations

import ssl
from typing import Any, Union

from sslsession import _borrow, _settling, _watched
from sslsession._libssl import ffi, lib
from sslsession._opening import Opening, State
from sslsession._watched import WAITING, Gate
from sslsession.errors import FragmentTooLarge, SessionError

Data = Union[bytes, bytearray, memoryview]
RECORD = 16384
"""The most plaintext that a record has (RFC 8446 5.1), and that a read of OpenSSL's returns."""
WRITE_MOST = 1 << 30


class Flow(Opening):
    """The bytes of one TCP connection after another."""

    __slots__ = (
        *("_backlog", "_early", "_error", "_gate", "_incoming", "_kept_id", "_object", "_outgoing"),
        *("_peer_closed", "_quick", "_read", "_started", "_state", "_write"),
    )

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self._state, self._kept_id = State.NEW, b""
        self._gate: Gate | None = None
        self._object: Any = None
        self._incoming: Any = None
        self._outgoing: Any = None
        self._forget_transport()

    def _forget_transport(self) -> None:
        self._error: BaseException | None = None
        self._quick = self._started = self._peer_closed = self._early = False
        self._backlog = bytearray()

    def _begin(self) -> bool:
        if self._state is State.BEGUN:
            raise SessionError("this connection has begun: close() it before it begins again")
        settled, settings = self._settle(), self._settings
        _settling.require_verification(settings, settled.context)
        _settling.require_no_cache(settings, settled.inner)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        made = _watched.wrap(
            settled,
            incoming,
            outgoing,
            server_side=settings["server_side"],
            server_hostname=settings["server_hostname"],
        )
        _settling.prepare(settings, settled, _borrow.borrow(made).ssl)
        made._fragments = settings["max_buffer_size"].bytes if settings["max_buffer_size"].code else RECORD
        made._gate = self._gate = Gate(self, settings["validators"], settings["on_handshake"])
        self._take(made, incoming, outgoing)
        return True

    def _take(self, sslobject: Any, incoming: Any, outgoing: Any) -> None:
        self._forget_transport()
        self._object, self._incoming, self._outgoing = sslobject, incoming, outgoing
        # Past the Python layer of SSLObject: the gate is asked here, once, and not for each record.
        self._read, self._write = sslobject._sslobj.read, sslobject._sslobj.write
        self._state = State.BEGUN

    def receive_data(self, data: Data | None = None) -> bytes:
        """Takes what the TCP connection received, as much or as little as it is; returns the plaintext in it.

        ``b""`` as data: the TCP connection has ended. Without data it goes on with what came before, which somebody
        else has left there: after ``read_early_data``, ``wait_for_handshake`` or :meth:`adopt`. After the peer's
        close_notify there is no more plaintext, and ``peer_closed`` is True; after :meth:`close`, what still comes is
        dropped. There may be something to send afterwards, after an error too: an alert. Source: Sming's read.

        Errors: ``ssl.SSLError``, of which :class:`CertificateRefused` and :class:`FragmentTooLarge` are kinds, and
        ``ssl.SSLEOFError`` where the end comes without close_notify, so that what was received may not be all; the same
        again with each further call. What came whole before the error is returned first. ``TypeError`` for what is no
        bytes.
        """
        parts = self.receive_records(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def receive_records(self, data: Data | None = None) -> list[bytes]:
        """The same as :meth:`receive_data`, the plaintext of each record for itself: large data is copied once less."""
        if not self._quick or data is None or not 0 < len(data) <= WRITE_MOST:
            return self._receive_with_care(None if data is None else _bytes_like(data))
        incoming, read = self._incoming, self._read
        parts: list[bytes] = []
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
            if not parts or not isinstance(error, Exception):
                raise
        return parts

    def _receive_with_care(self, data: Any) -> list[bytes]:
        """All but large amounts of data on a connection with which nothing is special: the same, seldom."""
        if self._state is State.NEW:
            self._begin()
        if self._state is State.CLOSED:
            return []
        if self._error is not None:
            raise self._error
        if self._peer_closed:
            return []
        parts: list[bytes] = []
        made = self._object
        try:
            for at in range(0, len(data or ()), WRITE_MOST):
                self._incoming.write(data[at : at + WRITE_MOST])
            if self._passes() and self._goes_on(made):
                self._send_backlog()
                self._read_all(parts)
        except WAITING:
            pass
        except BaseException as error:
            self._fail(error, made)
            if not parts or not isinstance(error, Exception):
                raise
        if not self._goes_on(made):
            return parts
        if data is not None and not len(data):
            self._end(parts)
        largest = max(map(len, parts), default=0)
        if largest > self._limit:
            raise self._too_large(largest)
        self._quick = self._is_ordinary()
        return parts

    def _goes_on(self, made: Any) -> bool:
        """Whether it is still this connection: callbacks may close it, and begin the next one."""
        return self._object is made and self._state is State.BEGUN

    def _is_ordinary(self) -> bool:
        return self.is_connected and not self._peer_closed and not self._backlog and self._limit == RECORD

    def _end(self, parts: list[bytes]) -> None:
        """No close_notify came. Not OpenSSL says so: before Python 3.10, ssl has it take the end for one."""
        if self._peer_closed or self._error is not None:
            return
        error = ssl.SSLEOFError(
            ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol: without close_notify"
        )
        made = self._object
        try:
            if self._gate is not None and not self._gate.passed:
                self._gate.fail(error)
        finally:
            self._fail(error, made)
        if not parts:
            raise error

    def _read_all(self, parts: list[bytes]) -> None:
        while self._incoming.pending:
            part = self._read(RECORD)
            if not part:
                self._peer_closed = True
                return
            parts.append(part)

    def _passes(self) -> bool:
        """Whether the handshake is done and the peer accepted; goes on with it where it is not."""
        if self._gate is not None and self._gate.passed:
            return True
        handle = self._handle()
        if self._early and not (lib.SSL_is_init_finished(handle) or lib.sslsession_early_of(handle).ended):
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
        if not self._quick and (
            self._state is not State.BEGUN or self._gate is None or not self._gate.passed
        ):
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
            made = self._object
            try:
                made.do_handshake()
            except WAITING:
                pass
            except BaseException as error:
                self._fail(error, made)
                raise
        return self._outgoing.read(size) if self._outgoing is not None else b""

    def _fail(self, error: BaseException, failed: Any = None) -> None:
        """failed: whose error it is, where a callback may have begun the next connection since."""
        if failed is not None and failed is not self._object:
            return
        known = isinstance(error, Exception)
        self._error = error if known else SessionError(f"{type(error).__name__} interrupted the connection")
        self._quick = False
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

    @property
    def is_connected(self) -> bool:
        """Whether the handshake is done and the peer accepted, until :meth:`close` or a failure."""
        return (
            self._state is State.BEGUN
            and self._error is None
            and self._gate is not None
            and self._gate.passed
        )

    def _handle(self) -> Any:
        return _borrow.borrow(self._object).ssl


def _bytes_like(data: Any) -> Any:
    if isinstance(data, (bytes, bytearray)):
        return data
    try:
        return memoryview(data).cast("B")
    except TypeError:
        raise TypeError(f"bytes are needed, not {type(data).__name__}") from None
