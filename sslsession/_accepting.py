"""Whether a server accepts early data: a ticket's first time, and what the server's own code says (RFC 8446 8.1).

A ticket that holds its session could come any number of times, at any worker: when it is issued a token is put into the
store, and whoever takes it accepts. A ticket that is an id was taken from the store already. A store that fails gives
nothing, and the handshake goes on without early data.
"""

from __future__ import annotations

import inspect
import time
from typing import Any, Callable

from sslsession import _borrow
from sslsession._libssl import ffi, lib
from sslsession._shelf import Behind, Near
from sslsession.session import Session

PREFIX = b"sslsession-early-1:"
TOKEN = b"1"
MOST = 2**32 - 1
Accept = Callable[[Any, Session], object]


class Accepting:
    """The answers of one server cache."""

    def __init__(
        self, shelf: Near | Behind, accept: Accept | None, lifetime: float, clock: Callable[[], float]
    ) -> None:
        self._shelf, self._accept, self._lifetime, self._clock = shelf, accept, lifetime, clock
        self._forked_at: float | None = None

    def issue(self, token: bytes) -> None:
        """A ticket is about to be sent."""
        self._shelf.put(PREFIX + token, TOKEN, self._clock() + self._lifetime, True)

    def asked(self, handle: Any, token: bytes) -> bool:
        """Whether the early data of this connection is accepted. token: empty for a ticket that is an id."""
        session = lib.SSL_get_session(handle)
        if self._forked_at is not None and lib.SSL_SESSION_get_time(session) <= self._forked_at:
            return False  # it is in the memory of other processes too
        if self._accept is not None:
            owner = _borrow.borrow_pointer(handle).owner
            native = lib.sslsession_capture(handle, session)
            if native == ffi.NULL or not _said_yes(self._accept(owner, Session._captured(native, None))):
                return False
        return not token or self._shelf.get(PREFIX + token, True) == TOKEN

    def after_fork(self) -> None:
        """In a child: what this process's memory held, its siblings have as well."""
        if isinstance(self._shelf, Near):
            self._forked_at = time.time()


def _said_yes(answer: object) -> bool:
    """What is neither yes nor no is an error, and no: most of it counts as true, coroutines too."""
    if inspect.iscoroutine(answer):
        answer.close()
    if not isinstance(answer, (bool, type(None))):
        raise TypeError(f"accept_early_data returns True or False, not {type(answer).__name__}")
    return bool(answer)


def check(most: Any, accept: Any) -> None:
    """Errors: ``TypeError``, ``ValueError`` for what no server can do."""
    if type(most) is not int or not 0 <= most <= MOST:
        raise ValueError(f"max_early_data is 0 to {MOST} bytes, not {most!r}")
    if accept is not None and not callable(accept):
        raise TypeError(
            f"accept_early_data is called with a connection and a Session, not {type(accept).__name__}"
        )
    if inspect.iscoroutinefunction(accept):
        raise TypeError("accept_early_data is asked in the middle of a handshake: it cannot be async")
    if accept is not None and not most:
        raise ValueError("accept_early_data is never asked while max_early_data is 0")
