"""Connections of ``ssl`` that carry early data for who knows nothing of it, such as asyncio's transports."""

from __future__ import annotations

import functools
import ssl
from typing import TYPE_CHECKING, Any, Callable

from sslsession import _borrow
from sslsession._libssl import lib
from sslsession.early_data import READ_SIZE, Data, read_early, send_replayable, write_early_data

if TYPE_CHECKING:
    from ssl import SSLObject as Base
else:
    Base = object


class EarlyClient(Base):
    """A client whose first request is part of its handshake; whoever steps that sends it, and again if need be."""

    _request: Data | None = None

    def do_handshake(self) -> None:
        """As ssl's own."""
        request, self._request = self._request, None
        if request is None:
            super().do_handshake()
            return
        try:
            send_replayable(self, request)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._request = request
            raise


class EarlyServer(Base):
    """A server whose handshake counts as done as soon as there is early data: it is read, and answered, as any other.

    The rest of the handshake happens while it reads. Before that the client's certificate is not told.
    """

    reads_early_data = True
    _read_first = b""
    _waiting: tuple[Callable[[bool], None], ...] = ()
    _lost = False
    _paced: Any = None

    @property
    def _done(self) -> bool:
        return bool(lib.SSL_is_init_finished(_borrow.borrow(self).ssl))

    def do_handshake(self) -> None:
        """As ssl's own, and done with the first early data."""
        if not self._read_first:
            self._read_first = read_early(_borrow.borrow(self), READ_SIZE)
        if not self._read_first:
            super().do_handshake()

    def _go_on(self) -> bytes:
        """More early data; nothing once the handshake is done."""
        early, self._read_first = self._read_first, b""
        if early or self._done:
            return early
        early = read_early(_borrow.borrow(self), READ_SIZE)
        if not early:
            super().do_handshake()
            self._tell(True)
        return early

    def _tell(self, done: bool) -> None:
        """Its handshake is done, or will never be."""
        self._lost = not done
        waiting, self._waiting = self._waiting, ()
        for each in waiting:
            each(done)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002
        """As ssl's own; early data first."""
        early = self._go_on()
        if not early:
            return super().read(len) if buffer is None else super().read(len, buffer)
        if buffer is None:
            now, self._read_first = early[: max(len, 1)], early[max(len, 1) :]
            return now
        place = memoryview(buffer).cast("B")
        size = min(len if len > 0 else place.nbytes, place.nbytes)
        view, self._read_first = memoryview(early)[:size], early[size:]
        place[: view.nbytes] = view
        return view.nbytes

    def pending(self) -> int:
        """As ssl's own, by which uvloop knows whether there is anything to read."""
        return len(self._read_first) + super().pending()

    def write(self, data: Any) -> int:
        """As ssl's own; before the handshake is done, to a client that has proved nothing but its session."""
        return super().write(data) if self._done else write_early_data(self, data)

    def getpeercert(self, binary_form: bool = False) -> Any:
        """As ssl's own; None before the handshake is done."""
        return super().getpeercert(binary_form) if self._done else None

    def unwrap(self) -> None:
        """As ssl's own, once the handshake is done."""
        while not self._done:
            self._go_on()
        super().unwrap()


@functools.cache
def _kind(mixin: Any, own: Any) -> Any:
    return type(own.__name__, (mixin, own), {"__module__": own.__module__})


class EarlyContext:
    """A context as asyncio uses one, whose connections carry early data. request: a client's; None for a server."""

    def __init__(self, context: ssl.SSLContext, request: Data | None) -> None:
        self._context, self._request = context, request

    def wrap_bio(self, *arguments: Any, **settings: Any) -> Any:
        """As ssl's own."""
        made: Any = self._context.wrap_bio(*arguments, **settings)
        kind: Any = EarlyServer if self._request is None else EarlyClient
        own: Any = type(made)
        made.__class__ = _kind(kind, own)
        if self._request is not None:
            made._request = self._request
        return made

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # uvloop's servers take nothing that is no SSLContext.
        return ssl.SSLContext

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
