"""The ``SSLObject`` of a ``TLSConnection``: whoever drives it, nothing passes before the validators have run.

``send_replayable``, ``wait_for_handshake`` and applications drive the handshake at the object itself, and OpenSSL
would do so inside a read. So the object asks its :class:`Gate`, not the ``TLSConnection``. The class is made from the
one that the context has for its objects: truststore verifies in such a class, too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable

from sslsession import validators
from sslsession._settling import earned_under_validators
from sslsession.errors import SessionError

if TYPE_CHECKING:
    from sslsession._settling import Settled

WAITING = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
_making = threading.Lock()


class Gate:
    """Closed until the handshake is done, the validators have accepted the peer, and ``on_handshake`` agreed."""

    def __init__(
        self, connection: Any, chosen: tuple[Any, ...], on_handshake: Callable[..., Any] | None
    ) -> None:
        self._connection = weakref.ref(connection)
        self._on_handshake = on_handshake
        self.validators = chosen
        self.accepted = self.passed = False
        self.error: BaseException | None = None

    def shake(self, sslobject: Any, handshake: Callable[[], None]) -> None:
        """Goes on with the handshake; returns when all is well, and never again lets through what failed once."""
        if self.error is not None:
            raise self.error
        try:
            handshake()
            if not self.passed:
                self.check(sslobject)
        except WAITING:
            raise
        except BaseException as error:
            self.fail(error)
            raise

    def check(self, sslobject: Any) -> None:
        """After the handshake: raises unless the peer is accepted."""
        connection = self._connection()
        if self.validators:
            validators.require(self.validators, sslobject.getpeercert(True), connection)
        self.accepted = self.passed = True
        if self._on_handshake is not None and self._on_handshake(connection, None) is False:
            raise SessionError("on_handshake returned False, which ends the connection")

    def fail(self, error: BaseException) -> None:
        """Closes for good; who waits for the handshake is told, once."""
        told, self.passed, self.error = self.passed or self.error is not None, False, error
        if self._on_handshake is not None and not told:
            self._on_handshake(self._connection(), error)


class Watched:
    """What is put before the context's class of SSLObjects; without a gate it is that class."""

    _gate: Gate | None = None
    _fragments = 16384
    """What a client asks its server for, in bytes."""

    def do_handshake(self) -> None:
        gate = self._gate
        if gate is None:
            super().do_handshake()  # type: ignore[misc]
        else:
            gate.shake(self, super().do_handshake)  # type: ignore[misc]

    def read(self, *arguments: Any) -> Any:
        self._pass()
        return super().read(*arguments)  # type: ignore[misc]

    def write(self, data: Any) -> Any:
        self._pass()
        return super().write(data)  # type: ignore[misc]

    def _pass(self) -> None:
        if self._gate is not None and not self._gate.passed:
            self.do_handshake()

    @property
    def session(self) -> Any:
        return super().session  # type: ignore[misc]

    @session.setter
    def session(self, session: Any) -> None:
        if self._gate is not None and self._gate.validators:
            raise SessionError(
                "this connection has validators, and an ssl.SSLSession does not tell whether it was earned under any: "
                "use sslsession.set_session"
            )
        vars(ssl.SSLObject)["session"].fset(self, session)

    @property
    def holds_early_data_back(self) -> bool:
        """Whether early data may be read only when the handshake is done, and none may be sent."""
        return self._gate is not None and bool(self._gate.validators) and not self._gate.passed

    def objection_to(self, session: Any) -> str:
        """Why the session may not be offered; empty where it may.

        Validators do not believe what was earned without any, and OpenSSL's servers end a handshake that resumes a
        session of another fragment length (RFC 6066 4).
        """
        if self._gate is not None and self._gate.validators and not earned_under_validators(session):
            return "it was earned without validators, and this connection has some"
        if session.max_packet_size != self._fragments:
            return f"its records have {session.max_packet_size} bytes, and this connection asks for {self._fragments}"
        return ""


@functools.lru_cache(maxsize=64)
def _watched(base: Any) -> type:
    return type(f"Watched{base.__name__}", (Watched, base), {})


def wrap(settled: Settled, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **named: Any) -> Any:
    """A watched object of the context, whose own class for its objects is as before."""
    inner = settled.inner
    with _making:
        base: Any = inner.sslobject_class
        before = vars(inner).get("sslobject_class")
        inner.sslobject_class = _watched(base)
        try:
            made = settled.context.wrap_bio(incoming, outgoing, **named)
        finally:
            if before is not None:
                inner.sslobject_class = before
            else:
                with contextlib.suppress(AttributeError):
                    del inner.sslobject_class
    if not isinstance(made, Watched):
        raise SessionError(
            f"{type(settled.context).__name__} makes its connections in a way of its own: give an ssl.SSLContext"
        )
    return made


def _after_fork() -> None:
    global _making
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
