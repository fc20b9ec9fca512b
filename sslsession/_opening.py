"""A ``TLSConnection`` before it begins: its settings, who may change them, and the context that comes out of them."""

from __future__ import annotations

import enum
import ssl
import threading
from typing import TYPE_CHECKING, Any, Callable

from sslsession import _settling
from sslsession._connection_settings import CHECKS, Setting
from sslsession.errors import SessionError

if TYPE_CHECKING:
    from sslsession.connection import TLSConnection


class State(enum.Enum):
    """Where a connection is."""

    NEW = "not begun"
    BEGUN = "in its handshake or connected"
    CLOSED = "closed"


class Opening:
    """The settings, open until :meth:`_settle`."""

    __slots__ = ("_baked", "_initialised", "_limit", "_lock", "_own_context", "_settings", "_settled")
    _inits: list[Callable[[Any], Any]] = []  # noqa: RUF012

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

    def __init__(self, given: dict[str, Any]) -> None:
        self._settings: dict[str, Any] = {name: check(given[name]) for name, check in CHECKS.items()}
        self._settled: _settling.Settled | None = None
        self._own_context: ssl.SSLContext | None = None
        self._baked: dict[str, Any] = {}
        """What the context was made with that :meth:`another` gave on."""
        self._lock = threading.RLock()
        """A server's connection is the pattern of others in many threads, and settled once."""
        self._initialised: bool | BaseException = False
        if given["on_init"] is None and not self._inits:
            _settling.refuse_contradictions(self._settings, self._baked)

    @classmethod
    def register_init(cls, callback: Callable[[TLSConnection], Any]) -> Callable[[TLSConnection], Any]:
        """Has every connection that begins from now on call this first; :meth:`unregister_init` ends it.

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
            raise SessionError(
                "context is of a connection that has begun: set it before connect() or accept()"
            )
        self._settings["context"] = CHECKS["context"](context)

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
            with self._lock:
                return self._settle_once()
        return self._settled

    def _settle_once(self) -> _settling.Settled:
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
