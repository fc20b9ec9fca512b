"""``SessionHooks``: OpenSSL's three session callbacks for a context, as Python functions."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Callable, Optional, Union

from sslsession._attachment import Attachment, User
from sslsession._borrow import Owner
from sslsession.session import Session

NewHook = Callable[[Owner, Session], Optional[bool]]
RemoveHook = Callable[[Optional[ssl.SSLContext], Session], None]
GetHook = Callable[[Owner, bytes], Optional[Union[Session, bytes]]]


class SessionHooks:
    """The three ``SSL_CTX_sess_set_*_cb`` of ``ctx``, on clients and servers, until :meth:`close`.

    new(conn, session)
        A session came: inside the handshake in TLS 1.2, with each ticket in TLS 1.3 (on a client: inside a read).
        False means that it is not kept: it leaves OpenSSL's internal cache. A TLS 1.2 server that issues tickets makes
        no session of its own and does not call.
    remove(ctx, session)
        OpenSSL removed a session: it expired, was evicted, its connection was not closed cleanly, or its context was
        freed. Called once for each session, *later*: from a thread of this library, or from ``close()``. ``ctx`` is
        None where the Python context is gone.
    get(conn, session_id)
        Servers only: a client proposed an id that is not in the internal cache. Returns a :class:`Session`, its bytes
        (``to_bytes`` or ``to_der``), or None. Not called for tickets that the server can read by itself, nor for more
        than eight ids of a handshake: whoever proposes them has shown nothing yet. Where the context asks for client
        certificates, the session's is verified again, and a session without one that is required is passed over.

    ``conn`` is the ``SSLSocket`` or ``SSLObject``, or None where it is gone; read its settings and session, and leave
    its reading, writing and closing to its owner. An exception in a hook never breaks a handshake: it goes to
    ``sys.unraisablehook`` (or to the caller of a function of this library that led to it), and nothing is kept or
    resumed. Several ``SessionHooks`` on one context are all called; callbacks that were set before are called too, and
    are back after ``close()``. A hook that refers to ``ctx`` keeps it alive until ``close()``.

    Source: SSL_CTX_sess_set_new_cb(3), SSL_CTX_sess_set_remove_cb(3), SSL_CTX_sess_set_get_cb(3).

    Errors: ``TypeError`` for what is no context or not callable; :class:`UnsupportedInterpreter`.
    """

    def __init__(
        self,
        ctx: ssl.SSLContext,
        new: NewHook | None = None,
        remove: RemoveHook | None = None,
        get: GetHook | None = None,
    ) -> None:
        for name, hook in (("new", new), ("remove", remove), ("get", get)):
            if hook is not None and not callable(hook):
                raise TypeError(f"the {name} hook must be callable or None, not {type(hook).__name__}")
        self._user = User()
        self._user.new, self._user.remove, self._user.get = new, remove, get
        self._attachment: Attachment | None = Attachment.join(ctx, self._user)

    @property
    def new(self) -> NewHook | None:
        """The hook for new sessions (SSL_CTX_sess_get_new_cb); None where none is set, or after ``close()``."""
        return self._user.new if self._attachment else None

    @property
    def remove(self) -> RemoveHook | None:
        """The hook for removed sessions (SSL_CTX_sess_get_remove_cb)."""
        return self._user.remove if self._attachment else None

    @property
    def get(self) -> GetHook | None:
        """The hook for sessions that clients propose (SSL_CTX_sess_get_get_cb)."""
        return self._user.get if self._attachment else None

    def close(self) -> None:
        """Delivers the removals that are due, and takes the hooks off the context. Closing again does nothing.

        It may call the remove hook, or wait for one that runs: hold no lock that the hook wants.
        """
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.leave(self._user)

    def __enter__(self) -> SessionHooks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
